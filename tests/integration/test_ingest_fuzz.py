"""Ingest's doors under whatever anybody sends: never a 500, never a traceback, and every answer as described."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.ingest import openapi
from tests.harness.asgi import Answer, Headers
from tests.harness.own_ingest import KEY, OwnIngest, own_ingest
from tests.integration.described import CHECKS, as_bytes, as_httpx, cases_of, encoded, prepared
from tests.integration.fuzzing import Complaints, watching

FUZZ = settings(
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
PLAIN: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.created"}
EVENTS = b"/v1/events"


@dataclass
class Fuzzed:
    """An ingest under attack."""

    own: OwnIngest
    complaints: Complaints

    async def ask(self, method: str, target: bytes, headers: Headers, body: bytes, key: str | None = KEY) -> Answer:
        """One request, whose answer is in order whatever it was."""
        answer = await self.own.ask(method, target, body, headers, key)
        assert 200 <= answer.status < 500, answer
        if answer.status >= 400 and method != "HEAD":
            # JSON-RPC tells of some in its own words.
            assert answer.headers["content-type"] == "application/json" or answer.problem
        self.complaints.check_none()
        return answer


@pytest.fixture
async def fuzzed() -> AsyncIterator[Fuzzed]:
    with watching() as complaints:
        async with own_ingest({"rules": "github", "max_event_bytes": 20_000}) as own:
            yield Fuzzed(own, complaints)


@settings(FUZZ, max_examples=150)
@given(case=cases_of(openapi.document()), key=st.sampled_from([KEY, KEY, KEY, None, "wrong"]))
async def test_every_answer_is_as_described(fuzzed: Fuzzed, case: Any, key: str | None) -> None:
    sent = prepared(case)
    generated = [(name.lower().encode(), encoded(value)) for name, value in sent.headers.items()]
    # Ours first: whoever is known gets past the door, and what was generated is tried behind it.
    own = [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
    headers = [*own, *((name, value) for name, value in generated if not own or name != b"authorization")]
    answer = await fuzzed.ask(str(sent.method), str(sent.path_url).encode(), headers, as_bytes(sent.body), key=None)
    case.validate_response(as_httpx(answer, sent), checks=CHECKS)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["", "\x00", "a\nb", "control:alice", "everyone", "user:alice", "x" * 3000, "\ud800", "null", "1e999"]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
names = st.one_of(
    st.sampled_from(
        [
            *PLAIN,
            "subject",
            "time",
            "audience",
            "traceparent",
            "data",
            "data_base64",
            "final",
            "expectedversion",
            "dataschema",
        ]
    ),
    st.text(max_size=8),
)
attributes = st.dictionaries(names, values, max_size=5)
events = st.builds(lambda changes: PLAIN | changes, attributes)


def lawful(value: bytes) -> bytes:
    return re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"?", value).strip()


def as_json(value: object) -> bytes:
    """As a careless sender writes it: NaN and lone surrogates go out."""
    return json.dumps(value).encode()


@settings(FUZZ, max_examples=200)
@given(event=events, charset=st.sampled_from(["", "; charset=utf-8", "; charset=utf-16", ';charset="', "; x"]))
@example(event=PLAIN | {"expectedversion": 10**30, "subject": "s"}, charset="")
@example(event=PLAIN | {"data": {"a": [10**400, -0.0]}}, charset="")
async def test_structured(fuzzed: Fuzzed, event: dict[str, Any], charset: str) -> None:
    content_type = f"application/cloudevents+json{charset}".encode()
    answer = await fuzzed.ask("POST", EVENTS, [(b"content-type", content_type)], as_json(event))
    assert answer.status in (202, 400, 409, 413, 415)


@settings(FUZZ, max_examples=150)
@given(batch=st.one_of(values, st.lists(st.one_of(events, values), max_size=8)))
@example(batch=[PLAIN] * 501)
@example(batch=[[[[]]]])
async def test_batches(fuzzed: Fuzzed, batch: object) -> None:
    headers = [(b"content-type", b"application/cloudevents-batch+json")]
    answer = await fuzzed.ask("POST", EVENTS, headers, as_json(batch))
    assert answer.status in (202, 207, 400, 409, 413)
    if isinstance(batch, list) and answer.status != 413 and b'"accepted"' in answer.body:
        told = json.loads(answer.body)
        assert len(told["accepted"]) + len(told.get("refused", [])) == len(batch), "each event is answered"


# What an HTTP parser lets through: RFC 9110, 5.5.
header_values = st.one_of(
    st.binary(max_size=20),
    st.text(max_size=20).map(lambda text: text.encode(errors="surrogatepass")),
    st.sampled_from([b"", b'"', b'"\\', b"%", b"%ff", b"%ed%a0%80", b"%00", b"%0d%0aid: 9", b"1.0", b"x" * 5000]),
).map(lawful)
ce_names = st.one_of(
    st.sampled_from(
        [b"ce-" + name.encode() for name in (*PLAIN, "subject", "time", "audience", "data", "datacontenttype")]
    ),
    st.text("abc019_-.", max_size=5).map(lambda name: b"ce-" + name.encode()),
)
plain_headers = [(f"ce-{name}".encode(), str(value).encode()) for name, value in PLAIN.items()]


@settings(FUZZ, max_examples=250)
@given(
    changes=st.lists(st.tuples(ce_names, header_values), max_size=4),
    media_type=st.one_of(
        st.sampled_from([b"application/json", b"text/plain", b"image/png", b"*/*", b""]), header_values
    ),
    body=st.one_of(st.binary(max_size=50), values.map(as_json)),
)
async def test_binary(fuzzed: Fuzzed, changes: list[tuple[bytes, bytes]], media_type: bytes, body: bytes) -> None:
    changed = dict(changes)
    headers = [(name, value) for name, value in plain_headers if name not in changed] + changes
    answer = await fuzzed.ask("POST", EVENTS, [*headers, (b"content-type", media_type)], body)
    assert answer.status in (202, 400, 409, 413, 415)


@settings(FUZZ, max_examples=150)
@given(
    authorization=st.one_of(
        header_values,
        st.sampled_from(
            [b"Bearer ck_", b"Bearer a.b.c", b"Bearer ..", b"Basic \xff", b"Bearer eyJhbGciOiJub25lIn0.e30."]
        ),
        st.binary(max_size=80).map(lambda raw: b"Bearer " + lawful(raw)),
    ),
    origin=st.one_of(st.none(), header_values),
    method=st.sampled_from(["POST", "OPTIONS", "GET", "PUT", "HEAD"]),
)
async def test_credentials_and_consent(fuzzed: Fuzzed, authorization: bytes, origin: bytes | None, method: str) -> None:
    asked = [] if origin is None else [(b"webhook-request-origin", origin)]
    answer = await fuzzed.ask(method, EVENTS, [(b"authorization", authorization), *asked], b"{}", key=None)
    assert answer.status in ((200,) if method == "OPTIONS" else (401, 405, 415))
