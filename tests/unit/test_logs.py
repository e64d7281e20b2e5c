"""Log lines: what machines and people get, one an incident, and no secret."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable

import pytest
from opentelemetry.trace import SpanKind

from shared.model.settings import Settings
from shared.telemetry import incidents, tracing
from shared.telemetry.incidents import TELL_AGAIN_EVERY_S, Incident, Seldom
from shared.telemetry.logs import JsonFormatter, TextFormatter, hiding, secrets_of
from tests.harness.spans import recorded_spans

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def a_record(
    message: str = "it is %s", *arguments: object, error: Exception | None = None, **extra: object
) -> logging.LogRecord:
    record = logging.makeLogRecord(
        {"name": "a.b", "levelname": "WARNING", "msg": message, "args": arguments or ("so",), "created": 0.0, **extra}
    )
    if error is not None:
        try:
            raise error
        except Exception:
            record.exc_info = sys.exc_info()
    return record


def test_json_is_one_object_a_line() -> None:
    line = JsonFormatter().format(a_record(reason="two\nlines", position=7))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.000+00:00", "level": "warning", "logger": "a.b", "message": "it is so",
        "reason": "two\nlines", "position": 7,
    }  # fmt: skip


def test_a_traceback_is_part_of_its_line() -> None:
    line = JsonFormatter().format(a_record(error=ValueError("why")))
    assert "\n" not in line
    assert "ValueError: why" in json.loads(line)["exception"]


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_the_trace_that_it_was_written_in_is_told(formatter: logging.Formatter) -> None:
    context = tracing.context_of(TRACEPARENT)
    with recorded_spans(), tracing.span("work", SpanKind.SERVER, {}, parent=context):
        assert "4bf92f3577b34da6a3ce929d0e0e4736" in formatter.format(a_record())
    assert "trace_id" not in formatter.format(a_record())


def test_text_is_for_people() -> None:
    line = TextFormatter().format(a_record(event="order-7", trace="4bf9"))
    assert line.partition(" ")[2] == "WARNING a.b: it is so  event=order-7  trace=4bf9"
    assert TextFormatter().format(a_record(error=ValueError("why"))).endswith("\nValueError: why")


SECRETS = {
    "amqp_url": "amqp://carillon:p%40ss-of-rabbit@rabbit.internal:5672/",
    "mongo_url": "mongodb://carillon:pass-of-mongo@db.internal/?replicaSet=rs0",
    "producer_keys": "shop=key-of-shop,ci=key/of\"ci",
    "operator_keys": "ops=key-of-ops",
    "viewer_keys": "eyes=key-of-eyes",
    "jwt_secret": "jwt-" + "s" * 32,
    "session_secret": "session-" + "s" * 32,
    "session_secret_previous": "previous-" + "s" * 32,
    "oidc_client_secret": "secret-of-client",
    "otlp_headers": "authorization=Bearer header-of-otlp",
}  # fmt: skip
HIDDEN = (
    "p%40ss-of-rabbit", "p@ss-of-rabbit", "pass-of-mongo", "key-of-shop", 'key/of"ci', "key-of-ops", "jwt-" + "s" * 32,
    "session-" + "s" * 32, "previous-" + "s" * 32, "secret-of-client", "Bearer header-of-otlp",
)  # fmt: skip


@pytest.mark.parametrize("make", [JsonFormatter, TextFormatter])
@pytest.mark.parametrize("secret", HIDDEN)
def test_no_secret_of_the_settings_is_in_a_line(make: Callable[..., logging.Formatter], secret: str) -> None:
    """However it got there: in a message, an extra, a driver's error, a traceback."""
    formatter = make(hiding(secrets_of(Settings.load(**SECRETS))))
    line = formatter.format(
        a_record("%s fails", f"x{secret}y", error=ValueError(f"with {secret}"), about={"a": secret})
    )
    assert secret not in line
    assert json.dumps(secret)[1:-1] not in line
    assert line.count("***") == 3


def test_what_is_no_secret_stays() -> None:
    hide = hiding(secrets_of(Settings.load(**SECRETS)))
    told = "the broker at rabbit.internal does not answer carillon, nor db.internal?replicaSet=rs0"
    assert hide(told) == told
    assert hiding(secrets_of(Settings.load()))("guest") == "guest", "a default is nobody's secret"


def test_every_secret_setting_is_hidden() -> None:
    held = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert held == SECRETS.keys(), "give new ones a value above"


def test_an_incident_is_told_when_it_begins_once_a_minute_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [100.0]
    incident = Incident(logging.getLogger("test"), "the append", lambda: now[0])
    with caplog.at_level(logging.INFO):
        incident.over()
        for _ in range(2):
            for _ in range(int(TELL_AGAIN_EVERY_S * 2)):
                incident.trouble("the log is away")
                now[0] += 0.75
            incident.over()
            incident.over()
    told = [(record.levelname, record.message) for record in caplog.records]
    assert (
        told
        == [
            ("WARNING", "the append is interrupted: the log is away"),
            ("WARNING", "the append is interrupted still: the log is away"),
            ("INFO", "the append goes on"),
        ]
        * 2
    )
    assert [getattr(record, "failures", None) for record in caplog.records[:3]] == [None, 80, 120]
    assert [getattr(record, "seconds", None) for record in caplog.records[:3]] == [None, 60.0, 90.0]


def test_what_comes_from_outside_is_told_once_a_minute_for_each_key() -> None:
    now = [1000.0]
    seldom = Seldom(lambda: now[0])

    def at(seconds: float, key: str = "one") -> int | None:
        now[0] = 1000.0 + seconds
        return seldom.untold(key)

    assert [at(0), at(1), at(1, "other"), at(59), at(60), at(61)] == [0, None, 0, None, 2, None]


def test_what_was_told_is_remembered_of_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "MAX_REMEMBERED", 2)
    seldom = Seldom(lambda: 0.0)
    assert [seldom.untold(key) for key in ("a", "b", "a", "c", "a", "b")] == [0, 0, None, 0, None, 0]
