"""`carillon tail`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from services.commands.group import printable
from services.commands.options import data_option, json_option, url_option
from services.commands.token import signed_token


@click.command()
@click.option("--user", metavar="USER", help="Sign in as this user.")
@click.option("--cookie", metavar="COOKIE", help="A session's cookie instead, as name=value or its value.")
@click.option("--ticket", metavar="TICKET", help="A one-time ticket instead; good for one stream.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="With --user: grant this tag too.")
@click.option("--from", "cursor", metavar="CURSOR", help="Begin after this cursor, or at 'earliest'.  [default: now]")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many events.")
@url_option
@data_option
@json_option
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
    from services.commands import client

    if [user, cookie, ticket].count(None) != 2:
        raise click.UsageError("name one of --user, --cookie and --ticket.")
    url = url.rstrip("/")
    if user is not None:
        cookie = client.open_session(url, signed_token(user, tags, 3600, data))
    frames = client.Tail(url, _as_cookie_header(cookie) if cookie else "", cursor, ticket).frames()
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
    return "  ".join(map(printable, filter(None, (cursor, kind, content.get("subject"), _compact(data)))))


def _compact(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
