"""The one command: `carillon`."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from services._commands import Commands, fail
from shared.model.cursor import Cursor
from shared.model.entry import Entry, Head
from shared.model.errors import InvalidInput
from shared.model.event import decoded_json
from shared.model.settings import Settings
from shared.model.tags import checked_tag
from shared.ports.event_log import EventLog

Result = TypeVar("Result")

DEFAULT_DATA_DIR = Path(".carillon")
DEFAULT_DEV_PORT = 8080
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_DEV_PORT}"
MAX_LS_ENTRIES = 10_000

_url = click.option("--url", envvar="CARILLON_URL", default=DEFAULT_URL, show_default=True, help="Where Carillon is.")
_data = click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The folder of carillon dev.")
_json = click.option("--json", "as_json", is_flag=True, help="For scripts: JSON.")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="carillon")
def commands() -> None:
    """Carillon: events in, a durable log, and every user's own live stream out.

    \b
    carillon dev                                     everything, on http://127.0.0.1:8080
    carillon publish order.created --to user:alice   an event for alice
    carillon tail --user alice                       what alice sees, live

    Settings come from CARILLON_* variables: docs/reference/settings.md.
    """


def main() -> None:
    """The entry point of the installed script."""
    commands(prog_name="carillon")


# Services


def _service(name: str, default_port: int, summary: str) -> None:
    @commands.command(name, help=summary)
    @click.option(
        "--port",
        type=click.IntRange(0, 65_535),
        help=f"Listen here, 0 for a free port.  [default: CARILLON_PORT, or {default_port}]",
    )
    def command(port: int | None) -> None:
        _run(name, Settings.load(**({} if port is None else {"port": port})))


_service("ingest", 8081, "Take events in over HTTP, until SIGTERM.")
_service("edge", 8082, "Serve sessions and event streams, until SIGTERM.")
_service("console", 8083, "Serve the operators' pages, until SIGTERM.")
_service("persister", 8084, "Append events to the log and dispatch them, until SIGTERM.")


@commands.command()
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=DEFAULT_DEV_PORT, show_default=True, help="0: a free port."
)
@click.option(
    "--data",
    "data_dir",
    type=click.Path(path_type=Path),
    default=DEFAULT_DATA_DIR,
    show_default=True,
    help="Keep log and secret in this folder.",
)
@click.option("--memory", is_flag=True, help="Keep the log in memory only: it is gone at the end.")
def dev(port: int, data_dir: Path, memory: bool) -> None:
    """All services in one process, on embedded backends, with demo users alice and bob.

    \b
    carillon dev --port 9000
    carillon dev --memory
    """
    settings = Settings.load()
    if "log_format" not in settings.model_fields_set:
        settings = settings.model_copy(update={"log_format": "text"})
    _run("dev", settings, port=port, data_dir=data_dir, memory=memory)


def _run(name: str, settings: Settings, **options: Any) -> None:
    """Runs `services.<name>.service.run`; imported only now, so that a process loads what it uses."""
    from shared.telemetry import logs
    from shared.web.server import run

    logs.set_up(settings)
    service = importlib.import_module(f"services.{name}.service")
    run(lambda stopping: service.run(settings, stopping, **options))


# Publishing and following


@commands.command()
@click.argument("type_", metavar="TYPE")
@click.option("--to", "tags", metavar="TAG", multiple=True, help="Who may see it: user:alice, topic:builds, everyone.")
@click.option("--subject", help="The stream it belongs to, such as job/123.")
@click.option("--data", "data_text", metavar="JSON", help="Its data; - reads it from standard input.")
@click.option("--source", default="/carillon/cli", show_default=True, help="Who says so.")
@click.option("--id", "id_", help="Its id; the same source and id again are a duplicate.  [default: a new one]")
@click.option("--final", is_flag=True, help="It ends the stream of its subject.")
@_url
@click.option("--key", envvar="CARILLON_KEY", default="dev", show_default=True, help="The producer's key.")
@_json
def publish(
    type_: str,
    tags: tuple[str, ...],
    subject: str | None,
    data_text: str | None,
    source: str,
    id_: str | None,
    final: bool,
    url: str,
    key: str,
    as_json: bool,
) -> None:
    """Publish one event, and return once it is stored.

    \b
    carillon publish order.created --to user:alice --data '{"total": 12.5}'
    carillon publish job.done --to topic:builds --subject job/123 --final
    """
    from services import _client

    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": id_ or str(uuid.uuid4()),
        "source": source,
        "type": type_,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    if tags:
        attributes["audience"] = " ".join(map(checked_tag, tags))
    if subject is not None:
        attributes["subject"] = subject
    if final:
        attributes["final"] = "true"
    if data_text is not None:
        attributes |= {"datacontenttype": "application/json", "data": _parsed_data(data_text)}
    answer = _client.publish(url.rstrip("/"), key, attributes)
    (receipt,) = answer["accepted"]
    duplicate = ", a duplicate of what is in the log" if receipt["duplicate"] else ""
    click.echo(json.dumps(answer) if as_json else f"accepted {receipt['id']}{duplicate} ({answer['traceparent']})")


def _parsed_data(text: str) -> Any:
    body = sys.stdin.buffer.read() if text == "-" else text.encode(errors="surrogateescape")
    try:
        return decoded_json(body)
    except InvalidInput as refused:
        raise InvalidInput("--data", refused.problem, "give JSON: a string needs quotes, as in '\"text\"'") from None


@commands.command()
@click.option("--user", metavar="USER", help="Sign in as this user.")
@click.option("--cookie", metavar="COOKIE", help="A session's cookie instead, as name=value or its value.")
@click.option("--ticket", metavar="TICKET", help="A one-time ticket instead; good for one stream.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="With --user: grant this tag too.")
@click.option("--from", "cursor", metavar="CURSOR", help="Begin after this cursor, or at 'earliest'.  [default: now]")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many events.")
@_url
@_data
@_json
def tail(
    user: str | None,
    cookie: str | None,
    ticket: str | None,
    tags: tuple[str, ...],
    cursor: str | None,
    count: int | None,
    url: str,
    data: Path | None,
    as_json: bool,
) -> None:
    """Follow what a user sees, over every break, until the session ends.

    \b
    carillon tail --user alice
    carillon tail --user alice --from earliest --count 10 --json
    """
    from services import _client

    if [user, cookie, ticket].count(None) != 2:
        raise click.UsageError("name one of --user, --cookie and --ticket.")
    url = url.rstrip("/")
    if user is not None:
        cookie = _client.open_session(url, _signed(user, tags, 3600, data))
    frames = _client.Tail(url, _as_cookie_header(cookie) if cookie else "", cursor, ticket).frames()
    seen = 0
    for frame in frames:
        shown = _shown_frame(frame.id, frame.event, frame.data, as_json)
        if shown is None:
            continue
        click.echo(shown)
        seen += 1
        if seen == count:
            return


def _as_cookie_header(cookie: str) -> str:
    # Which of its two names a bare value has is the server's setting; it looks at one of them.
    return cookie if "=" in cookie else f"carillon={cookie}; __Host-carillon={cookie}"


def _shown_frame(cursor: str, kind: str, text: str, as_json: bool) -> str | None:
    """One line for an event; None for what the stream says of itself, which goes to standard error."""
    content = json.loads(text)
    if "specversion" not in content:
        if kind != "connected":
            click.echo(f"carillon: {kind}: {text}", err=True)
        return None
    if as_json:
        return text
    data = content.get("data", content.get("data_base64"))
    return "  ".join(filter(None, (cursor, kind, content.get("subject"), _compact(data))))


def _compact(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@commands.command()
@click.option("--user", metavar="USER", required=True, help="The user's id.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Grant this tag too: topic:builds.")
@click.option(
    "--ttl", "ttl_s", type=click.FloatRange(1, 366 * 86_400), default=3600, show_default=True, help="Seconds."
)
@_data
def token(user: str, tags: tuple[str, ...], ttl_s: float, data: Path | None) -> None:
    """Print a bearer token (JWT) for a user, and nothing else.

    Signed with the secret in --data where that is given, else with CARILLON_JWT_SECRET, else with
    the secret in ./.carillon.

    \b
    curl -X POST -H "Authorization: Bearer $(carillon token --user alice)" http://127.0.0.1:8080/v1/session
    """
    click.echo(_signed(user, tags, ttl_s, data))


def _signed(user: str, tags: Iterable[str], ttl_s: float, data: Path | None) -> str:
    from services.edge.tokens import sign_token

    settings = Settings.load()
    return sign_token(
        _secret(settings, data), user, list(tags), ttl_s, issuer=settings.jwt_issuer, audience=settings.jwt_audience
    )


def _secret(settings: Settings, data: Path | None) -> str:
    """A folder that was named counts before the environment, as it does for carillon dev."""
    if data is None and settings.jwt_secret is not None:
        return settings.jwt_secret.get_secret_value()
    path = (data or DEFAULT_DATA_DIR) / "secret"
    try:
        return path.read_text().strip()
    except OSError as refused:
        fix = "start carillon dev first, name its folder with --data, or set CARILLON_JWT_SECRET"
        raise InvalidInput("secret", f"{path}: {refused.strerror}", fix) from None


# Looking at the log


@commands.group("log")
def log() -> None:
    """Look at the event log; also while the services run."""


@log.command("ls")
@click.option("--after", metavar="N|CURSOR", default="0", help="Begin after this position or cursor.")
@click.option("--limit", type=click.IntRange(1, MAX_LS_ENTRIES), default=50, show_default=True, help="So many at most.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Only what this tag may see.")
@_data
@_json
def log_ls(after: str, limit: int, tags: tuple[str, ...], data: Path | None, as_json: bool) -> None:
    """List entries in the log's order.

    \b
    carillon log ls --data .carillon --tag user:alice
    carillon log ls --after 1000 --json | jq .event.type
    """
    wanted = [checked_tag(tag) for tag in tags] or None

    async def read(event_log: EventLog) -> list[Entry]:
        position = _position(after, await event_log.head())
        return list((await event_log.read(position, limit, wanted)).entries)

    for entry in _with_log(data, read):
        click.echo(json.dumps(_entry_json(entry), ensure_ascii=False) if as_json else _entry_line(entry))


@log.command("show")
@click.argument("what", metavar="POSITION | SOURCE ID", nargs=-1, required=True)
@_data
@_json
def log_show(what: tuple[str, ...], data: Path | None, as_json: bool) -> None:
    """Show one entry whole, by its position, its cursor, or its source and id.

    \b
    carillon log show 12 --data .carillon
    carillon log show /shop order-7 --json
    """
    if len(what) > 2:
        raise click.UsageError("name a position, or a source and an id.")

    async def find(event_log: EventLog) -> Entry | None:
        if len(what) == 2:
            position = (await event_log.positions([(what[0], what[1])])).get((what[0], what[1]), 0)
        else:
            position = _position(what[0], await event_log.head())
        entries = (await event_log.read(position - 1, 1)).entries if position else []
        return next((entry for entry in entries if entry.position == position), None)

    entry = _with_log(data, find)
    if entry is None:
        fail(f"the log holds no entry {' '.join(what)}; see: carillon log ls")
    click.echo(json.dumps(_entry_json(entry), ensure_ascii=False, indent=None if as_json else 2))


def _with_log(data: Path | None, use: Callable[[EventLog], Awaitable[Result]]) -> Result:
    from shared.wiring.log_only import open_log

    async def look() -> Result:
        async with open_log(Settings.load(**_overrides(data))) as event_log:
            return await use(event_log)

    return asyncio.run(look())


def _overrides(data: Path | None) -> dict[str, object]:
    return {} if data is None else {"backends": "embedded", "data_dir": data}


def _position(text: str, head: Head) -> int:
    """`12` or `<log id>.12` -> 12. Raises `InvalidInput`, also for another log's cursor."""
    if text.isascii() and text.isdigit():
        return min(int(text), 2**62)
    cursor = Cursor.parse(text)
    if cursor.log_id != head.log_id:
        raise InvalidInput("cursor", f"{text} is of another log than {head.log_id}", "take one of this log")
    return cursor.position


def _entry_line(entry: Entry) -> str:
    time = entry.appended_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    stream = f"{entry.subject}@{entry.version}" if entry.subject is not None else ""
    parts = (f"{entry.position:>8}", time, entry.type, stream, f"{entry.source} {entry.id}", ",".join(entry.audience))
    return "  ".join(filter(None, parts))


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "position": entry.position,
        "version": entry.version,
        "appended_at": entry.appended_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "audience": list(entry.audience),
        "event": json.loads(entry.event),
    }


@commands.command()
@_data
@_json
def doctor(data: Path | None, as_json: bool) -> None:
    """Check settings, secrets, broker, log and clock, and say what to do. Status 1 when a check fails.

    \b
    carillon doctor
    carillon doctor --data .carillon
    """
    from services import _doctor

    async def examine() -> list[_doctor.Check]:
        return [check async for check in _doctor.examine(_overrides(data))]

    checks = asyncio.run(examine())
    failed = [check.name for check in checks if not check.ok]
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}))
    else:
        for check in checks:
            fix = f"; {check.fix}" if check.fix else ""
            click.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<15}{check.found}{fix}")
    if failed:
        fail(f"failed: {', '.join(failed)}")


@commands.command()
@_data
@_json
def certify(data: Path | None, as_json: bool) -> None:
    """Hold the configured broker and log to every promise, under throwaway names. Status 1 when one is broken.

    Nothing of the deployment is touched: queues, exchanges and databases of its own are made and removed.

    \b
    CARILLON_AMQP_URL=… CARILLON_MONGO_URL=… carillon certify
    """
    from services import _certify
    from shared.telemetry import logs

    settings = Settings.load(**_overrides(data))
    logs.set_up(settings.model_copy(update={"log_level": "error"}))
    total = len(_certify.promises(settings))

    async def examine() -> list[_certify.Finding]:
        findings: list[_certify.Finding] = []
        async for finding in _certify.certify(settings):
            findings.append(finding)
            verdict = "ok  " if finding.kept else "FAIL"
            problem = f"; {finding.problem}" if finding.problem else ""
            click.echo(f"{len(findings):>3}/{total}  {verdict}  {finding.promise}{problem}", err=as_json)
        return findings

    findings = asyncio.run(examine())
    broken = [finding.promise for finding in findings if not finding.kept]
    if as_json:
        click.echo(json.dumps({"ok": not broken, "promises": [asdict(finding) for finding in findings]}))
    if broken:
        fail(f"{len(broken)} of {total} promises are broken")
    click.echo(f"all {total} promises are kept", err=as_json)


if __name__ == "__main__":
    main()
