"""The command: help as golden text, statuses, one line an error, and what it prints."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from services.cli import commands
from shared.embedded.event_log import open_event_log
from shared.embedded.journeys import open_journey_store
from shared.model.entry import Entry
from shared.ports.event_log import DISPATCHED
from tests.harness.tokens import verify_token

GOLDEN = Path(__file__).parents[1] / "golden" / "cli_help.txt"
EVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "order.created", "subject": "job/1", "data": {"a": 1}}
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def carillon(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(commands, arguments, prog_name="carillon", env=environment)


def all_help(command: click.Command, *path: str) -> Iterator[str]:
    yield f"$ carillon {' '.join((*path, '--help'))}\n{carillon(*path, '--help', COLUMNS='80').output}"
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            yield from all_help(inner, *path, name)


def test_help_is_as_written_down() -> None:
    """After a change that is meant: UPDATE_GOLDEN=1 pytest tests/unit/test_cli.py, and read the difference."""
    shown = "\n".join(all_help(commands))
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(shown)
    assert shown == GOLDEN.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dev", "--prot", "3"], "No such option '--prot'"),
        (["nothing"], "No such command 'nothing'"),
        (["publish"], "Missing argument 'TYPE'"),
        (["publish", "x", "--to", "bob"], "'bob' is not a tag"),
        (["publish", "x", "--data", "{"], "--data: it is not JSON"),
        (["tail"], "name one of --user, --cookie and --ticket"),
        (["tail", "--user", "a", "--cookie", "b"], "name one of --user, --cookie and --ticket"),
        (["token", "--user", "alice", "--data", "nowhere"], "nowhere/secret: No such file"),
        (["token", "--user", "a b", "--data", "."], "it cannot be a user here"),
        (["log", "ls", "--data", "nowhere"], "there is no log in nowhere"),
        (["log", "show", "1", "2", "3"], "name a position, or a source and an id"),
    ],
)
def test_bad_input_is_status_2_and_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text("s" * 64)
    result = carillon(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.startswith("carillon: ")
    assert result.stderr.count("\n") == 1


def test_a_bad_setting_is_named() -> None:
    result = carillon("ingest", CARILLON_PORT="99999")
    assert result.exit_code == 2
    assert result.stderr.startswith("carillon: CARILLON_PORT: ")


def test_who_is_not_there_is_status_1() -> None:
    result = carillon("publish", "x", "--url", "http://127.0.0.1:9")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "does not answer" in result.stderr


# Tokens


def test_token_prints_the_token_alone(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("f" * 64)
    result = carillon("token", "--user", "alice", "--tag", "topic:builds", "--data", str(tmp_path))
    verified = verify_token(result.output.removesuffix("\n"), "f" * 64)
    assert (verified.sub, verified.tags) == ("alice", ("topic:builds",))


def test_a_named_folder_counts_before_the_environment_and_the_environment_before_the_default(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("f" * 64)
    environment = {"CARILLON_JWT_SECRET": "e" * 64, "CARILLON_JWT_ISSUER": "me"}
    assert verify_token(carillon("token", "--user", "a", **environment).output.strip(), "e" * 64, issuer="me")
    folder = ["--data", str(tmp_path)]
    assert verify_token(carillon("token", "--user", "a", *folder, **environment).output.strip(), "f" * 64)


# The log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    async def fill() -> None:
        async with open_journey_store(tmp_path / "journeys.db"):
            pass
        async with open_event_log(tmp_path / "log.db") as event_log:
            fence = await event_log.claim("test", 10, force=True)
            assert fence is not None
            entries = [
                Entry(
                    position,
                    None,
                    "/s",
                    f"e{position}",
                    "order.created",
                    None,
                    (f"user:{user}",),
                    False,
                    None,
                    None,
                    NOW,
                    json.dumps(EVENT | {"id": f"e{position}"}).encode(),
                )
                for position, user in enumerate(("alice", "bob", "alice"), 1)
            ]
            await event_log.append(fence, entries)

    asyncio.run(fill())
    return tmp_path


def test_log_ls(folder: Path) -> None:
    result = carillon("log", "ls", "--data", str(folder), "--tag", "user:alice")
    assert result.output.splitlines() == [
        "       1  2026-01-31T12:00:00.000Z  order.created  /s e1  user:alice",
        "       3  2026-01-31T12:00:00.000Z  order.created  /s e3  user:alice",
    ]


def test_log_ls_as_json_after_a_position(folder: Path) -> None:
    result = carillon("log", "ls", "--data", str(folder), "--after", "2", "--json")
    (shown,) = map(json.loads, result.output.splitlines())
    assert shown == {
        "position": 3,
        "version": None,
        "appended_at": "2026-01-31T12:00:00.000Z",
        "audience": ["user:alice"],
        "event": EVENT | {"id": "e3"},
    }


@pytest.mark.parametrize("what", [["2"], ["/s", "e2"]])
def test_log_show(folder: Path, what: list[str]) -> None:
    shown = json.loads(carillon("log", "show", *what, "--data", str(folder), "--json").output)
    assert (shown["position"], shown["event"]["id"]) == (2, "e2")


@pytest.mark.parametrize(
    ("what", "status"), [(["4"], 1), (["0"], 1), (["/s", "none"], 1), (["otherlog.2"], 2), (["x"], 2)]
)
def test_log_show_of_what_is_not_there(folder: Path, what: list[str], status: int) -> None:
    assert carillon("log", "show", *what, "--data", str(folder)).exit_code == status


# Doctor


def test_doctor_finds_a_healthy_folder(folder: Path) -> None:
    (folder / "secret").write_text("s" * 64)
    (folder / "secret").chmod(0o600)
    asyncio.run(dispatched(folder, 3))
    result = carillon("doctor", "--data", str(folder), "--json")
    found = json.loads(result.output)
    assert result.exit_code == 0
    names = [check["name"] for check in found["checks"]]
    assert names == ["settings", "folder", "log", "clock", "dispatch", "journeys"]


def test_doctor_finds_a_dispatch_that_stands_still(folder: Path) -> None:
    asyncio.run(dispatched(folder, 1))
    result = carillon("doctor", "--data", str(folder), "--json")
    by_name = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 1
    assert by_name["dispatch"]["found"].startswith("2 events and ")
    assert "persister" in by_name["dispatch"]["fix"]


def test_doctor_asks_services_how_they_are(folder: Path) -> None:
    asyncio.run(dispatched(folder, 3))
    checks = {"broker": "ok", "lag": "dispatch is 7 events and 90 s behind the log", "rules": "degraded: a bad file"}
    with serving((503, {}, json.dumps({"status": "unavailable", "checks": checks})), (200, {}, "[]")) as server:
        options = ["--service", server.url, "--service", f"{server.url}/other", "--service", "http://127.0.0.1:9"]
        result = carillon("doctor", "--data", str(folder), *options, "--json")
    found = {check["name"].replace(server.url, ""): check["ok"] for check in json.loads(result.stdout)["checks"]}
    assert {name: ok for name, ok in found.items() if name.startswith((" ", "/", "http"))} == {
        " broker": True, " lag": False, " rules": True, "/other": False, "http://127.0.0.1:9": False,
    }  # fmt: skip


def test_doctor_finds_a_collector_that_is_away(folder: Path) -> None:
    result = carillon("doctor", "--data", str(folder), "--json", CARILLON_OTLP_ENDPOINT="http://127.0.0.1:9")
    by_name = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert not by_name["otlp"]["ok"]
    assert by_name["otlp"]["found"] == "127.0.0.1:9: Connection refused"


async def dispatched(folder: Path, position: int) -> None:
    async with open_event_log(folder / "log.db") as event_log:
        fence = await event_log.claim("test", 10, force=True)
        assert fence is not None
        await event_log.move_checkpoint(fence, DISPATCHED, position)


def test_doctor_says_what_to_do(folder: Path) -> None:
    result = carillon("doctor", "--data", str(folder))
    assert result.exit_code == 1
    assert f"carillon dev --data {folder}" in result.stdout
    assert result.stderr == "carillon: failed: folder, dispatch\n"


def checks_of(*arguments: str, **environment: str) -> dict[str, Any]:
    """What the doctor found, by the names of the checks."""
    found = json.loads(carillon("doctor", "--json", *arguments, **environment).stdout)
    return {check["name"]: check for check in found["checks"]}


def test_doctor_reads_rules_and_catalogue_as_ingest_would(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("rules: [{name: a}]")
    good = checks_of("--data", str(folder), CARILLON_RULES="github", CARILLON_CATALOGUE=str(tmp_path))
    assert (good["rules"]["ok"], good["catalogue"]["ok"]) == (True, True)
    bad = checks_of("--data", str(folder), CARILLON_RULES=str(tmp_path / "rules.yaml"), CARILLON_CATALOGUE="nowhere")
    assert bad["rules"]["found"].endswith("rules.yaml:1: rule a does nothing")
    assert bad["catalogue"]["found"] == "nowhere: it is no folder"


def test_doctor_reads_the_sources_of_webhooks_and_their_secrets(folder: Path, tmp_path: Path) -> None:
    """Ingest would not have started, and the doctor found nothing."""
    file = tmp_path / "webhooks.yaml"
    file.write_text("sources: {github: {kind: github, secret: {env: HOOK_SECRET}}}")
    missing = checks_of("--data", str(folder), CARILLON_WEBHOOKS_FILE=str(file))["webhooks"]
    assert (missing["ok"], missing["found"]) == (False, f"{file}:1: github: the environment has no HOOK_SECRET")
    found = checks_of("--data", str(folder), CARILLON_WEBHOOKS_FILE=str(file), HOOK_SECRET="x")["webhooks"]
    assert (found["ok"], found["found"]) == (True, f"1 of {file}, and their secrets")


def test_doctor_asks_for_one_way_in_and_not_for_all() -> None:
    away = {
        "CARILLON_AMQP_URL": "amqp://127.0.0.1:9/", "CARILLON_MONGO_URL": "mongodb://127.0.0.1:9/?replicaSet=rs0",
        "CARILLON_BACKEND_TIMEOUT_S": "0.1", "CARILLON_SESSION_SECRET": "s" * 32,
    }  # fmt: skip
    nothing = checks_of(**away)
    assert not nothing["jwt_secret"]["ok"]
    assert (nothing["producers"]["ok"], nothing["producers"]["found"][:15]) == (False, "log unavailable")
    by_keys = checks_of(**away, CARILLON_JWT_JWKS_URL="https://id.example/keys")
    assert by_keys["jwt_jwks_url"]["ok"]
    assert "jwt_secret" not in by_keys


def test_doctor_names_a_bad_setting() -> None:
    result = carillon("doctor", "--json", CARILLON_JWT_SECRET="short")
    (check,) = json.loads(result.stdout)["checks"]
    assert result.exit_code == 1
    assert "CARILLON_JWT_SECRET" in check["found"]
    assert "short" not in result.output


# Against a server


@dataclass
class Server:
    """Answers with a script, and remembers what it was asked."""

    answers: list[tuple[int, dict[str, str], str]]
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(*answers: tuple[int, dict[str, str], str]) -> Iterator[Server]:
    server = Server(list(answers))

    class Answering(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            server.asked.append((self.path, dict(self.headers), body))
            status, headers, text = server.answers.pop(0)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = answer  # the names that http.server calls

        def log_message(self, format: str, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_port}"
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


STREAM = {"Content-Type": "text/event-stream"}
PROBLEM = {"Content-Type": "application/problem+json"}


def frame(cursor: str, event: dict[str, Any]) -> str:
    return f"id: {cursor}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"


def test_publish_sends_a_cloud_event_and_prints_the_receipt() -> None:
    answer = {"accepted": [{"source": "/s", "id": "7", "duplicate": True}], "traceparent": "00-a-b-01"}
    with serving((202, {}, json.dumps(answer))) as server:
        options = ["--to", "user:a", "--to", "everyone", "--subject", "job/1", "--data", '{"x": 1}', "--final"]
        result = carillon("publish", "t", *options, "--id", "7", "--source", "/s", "--key", "k", "--url", server.url)
    assert result.output == "accepted 7, a duplicate of what is in the log (00-a-b-01)\n"
    path, headers, body = server.asked[0]
    sent = json.loads(body)
    assert datetime.fromisoformat(sent.pop("time"))
    assert (path, headers["Authorization"]) == ("/v1/events", "Bearer k")
    assert headers["Content-Type"] == "application/cloudevents+json"
    assert sent == {
        "specversion": "1.0",
        "id": "7",
        "source": "/s",
        "type": "t",
        "audience": "user:a everyone",
        "subject": "job/1",
        "final": "true",
        "datacontenttype": "application/json",
        "data": {"x": 1},
    }


@pytest.mark.parametrize(
    ("status", "document", "exit_code", "said"),
    [
        (400, {"detail": "bad", "field": "type", "fix": "mend it"}, 2, "type: bad; mend it"),
        (401, {"detail": "no key", "field": "Authorization", "fix": "send one"}, 1, "answered 401: Authorization: no"),
        (503, {"detail": "the broker does not answer now"}, 1, "answered 503: the broker does not answer now"),
        (500, "not a document", 1, "answered 500"),
    ],
)
def test_publish_passes_on_what_the_server_refused(status: int, document: Any, exit_code: int, said: str) -> None:
    with serving((status, PROBLEM, json.dumps(document))) as server:
        result = carillon("publish", "t", "--url", server.url)
    assert result.exit_code == exit_code
    assert said in result.stderr


def test_tail_signs_in_follows_and_resumes_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("f" * 64)
    first = f"retry: 10\n\nid: log.0\nevent: connected\ndata: {{}}\n\n:\n\n{frame('log.1', EVENT)}id: log.9\n"
    second = f"event: reset\ndata: {{}}\n\n{frame('log.4', EVENT)}{frame('log.5', EVENT)}"
    session = (200, {"Set-Cookie": "carillon=abc; HttpOnly"}, "{}")
    with serving(session, (200, STREAM, first), (503, {}, ""), (200, STREAM, second)) as server:
        options = ["--url", server.url, "--data", str(tmp_path), "--from", "earliest", "--count", "2"]
        result = carillon("tail", "--user", "alice", *options)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f'log.{n}  order.created  job/1  {{"a":1}}' for n in (1, 4)]
    assert result.stderr == "carillon: reset: {}\n"
    (signed_in, login, _), *streams = server.asked
    assert signed_in == "/v1/session"
    assert verify_token(login["Authorization"].removeprefix("Bearer "), "f" * 64).sub == "alice"
    assert [path for path, _, _ in streams] == ["/v1/events?last-event-id=earliest", "/v1/events", "/v1/events"]
    # The id of a frame that was cut off does not count: its data never arrived.
    assert [headers.get("Last-Event-ID") for _, headers, _ in streams] == [None, "log.1", "log.1"]
    assert {headers["Cookie"] for _, headers, _ in streams} == {"carillon=abc"}


def test_tail_prints_json_lines_and_ends_with_the_session() -> None:
    stream = f"retry: 1\n\n{frame('log.1', EVENT)}"
    refusal = json.dumps({"detail": "the session has expired", "field": "cookie carillon", "fix": "sign in again"})
    with serving((200, STREAM, stream), (401, PROBLEM, refusal)) as server:
        result = carillon("tail", "--cookie", "abc", "--json", "--url", server.url)
    assert [json.loads(line) for line in result.stdout.splitlines()] == [EVENT]
    assert result.exit_code == 1
    assert "the session has expired" in result.stderr


def test_tail_ends_when_the_server_says_that_there_is_no_more() -> None:
    with serving((204, {}, "")) as server:
        assert carillon("tail", "--cookie", "abc", "--url", server.url).exit_code == 0


def test_tail_does_not_wait_for_a_server_that_never_answered_well() -> None:
    with serving((503, PROBLEM, '{"detail": "away"}')) as server:
        result = carillon("tail", "--cookie", "abc", "--url", server.url)
    assert (result.exit_code, "answered 503: away" in result.stderr) == (1, True)


WEBHOOKS = """
sources:
  github: {kind: github, secret: {env: HOOK_SECRET}, audience: topic:builds}
  billing: {kind: standard-webhooks, secret: {env: STANDARD_SECRET}}
  gitlab: {kind: bearer, secret: {env: HOOK_SECRET}}
"""
WEBHOOK_SECRETS = {
    "HOOK_SECRET": "It's a Secret to Everybody",
    "STANDARD_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}


@pytest.fixture
def webhooks_file(tmp_path: Path) -> Path:
    path = tmp_path / "webhooks.yaml"
    path.write_text(WEBHOOKS)
    return path


def test_webhook_sources_are_listed_without_secrets(webhooks_file: Path) -> None:
    listed = carillon("webhooks", "ls", CARILLON_WEBHOOKS_FILE=str(webhooks_file), **WEBHOOK_SECRETS)
    assert (listed.exit_code, len(listed.stdout.splitlines())) == (0, 3)
    assert "/v1/webhooks/github  topic:builds" in listed.stdout
    as_json = carillon("webhooks", "ls", "--file", str(webhooks_file), "--json", **WEBHOOK_SECRETS)
    assert [json.loads(line)["kind"] for line in as_json.stdout.splitlines()] == [
        "github", "standard-webhooks", "bearer",
    ]  # fmt: skip
    assert not [secret for secret in WEBHOOK_SECRETS.values() if secret in listed.output + as_json.output]


def test_a_webhook_source_that_cannot_be_used_is_one_line(webhooks_file: Path) -> None:
    result = carillon("webhooks", "ls", "--file", str(webhooks_file))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"carillon: {webhooks_file}:3: github: the environment has no HOOK_SECRET; set it where ingest starts\n"
    )
    assert "give --file" in carillon("webhooks", "ls").stderr


def test_a_webhook_is_signed_as_its_sender_would(webhooks_file: Path, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_text("Hello, World!")
    sign = ("webhooks", "sign", "--file", str(webhooks_file))
    # The documentation's own values.
    assert carillon(*sign, "github", str(body), **WEBHOOK_SECRETS).stdout == (
        "x-hub-signature-256: sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17\n"
    )
    named = carillon(*sign, "billing", str(body), "--id", "msg_7", **WEBHOOK_SECRETS).stdout.splitlines()
    assert [line.split(": ")[0] for line in named] == ["webhook-id", "webhook-timestamp", "webhook-signature"]
    assert named[0] == "webhook-id: msg_7"
    nothing = carillon(*sign, "gitlab", str(body), **WEBHOOK_SECRETS)
    assert (nothing.exit_code, "nothing is signed" in nothing.stderr) == (1, True)
    unknown = carillon(*sign, "gitlob", str(body), **WEBHOOK_SECRETS)
    assert (unknown.exit_code, "use one of: github, billing, gitlab" in unknown.stderr) == (2, True)
