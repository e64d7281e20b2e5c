"""`carillon keys`: the keys of producers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from services.commands.group import fail
from services.commands.options import data_option, json_option, overrides, parsed_age
from shared.model.errors import InvalidInput
from shared.model.producer import ANYTHING, checked_patterns
from shared.model.settings import Settings
from shared.ports.producers import KeyRecord, ProducerStore

Result = TypeVar("Result")

MAX_LISTED = 10_000
PAGE_KEYS = 500
# Of the longest expiry that a date still holds.
MAX_EXPIRY_S = 100 * 366 * 86_400
# No colon: what stands before one tells other kinds of producers.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@click.group("keys")
def keys() -> None:
    """Hand out the keys that producers publish with, and take them back; also while the services run."""


@keys.command("add")
@click.argument("name")
@click.option("--source", "sources", metavar="PATTERN", multiple=True, help="It may name only such sources: /shop/*.")
@click.option("--type", "types", metavar="PATTERN", multiple=True, help="It may publish only such types: order.*.")
@click.option("--rate", "events_per_s", type=click.FloatRange(0, 1e6, min_open=True), help="Events a second at most.")
@click.option("--expires", "age", metavar="AGE", help="It ends by itself: 90s, 15m, 12h, 30d, 4w.")
@data_option
@json_option
def add(
    name: str,
    sources: tuple[str, ...],
    types: tuple[str, ...],
    events_per_s: float | None,
    age: str | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Make a key for the producer NAME, and print it: this once, for only its digest is kept.

    A producer may have several keys: make a new one, hand it out, then revoke the old one.

    \b
    carillon keys add shop --source '/shop/*' --type 'order.*' --rate 50
    KEY=$(carillon keys add shop --expires 30d)
    """
    from shared.identity.api_keys import digest_of, id_of, new_key

    if not _NAME.fullmatch(name):
        fix = "use up to 64 letters, digits, dots, dashes and underscores"
        raise InvalidInput("NAME", f"{name[:80]!r} is no producer's name", fix)
    text, now = new_key(), _now()
    scope = checked_patterns("--source", sources or ANYTHING), checked_patterns("--type", types or ANYTHING)
    expires_at = None if age is None else now + _expiry(age)
    record = KeyRecord(id_of(text) or "", digest_of(text), name, now, *scope, events_per_s, expires_at)
    _with_store(data, lambda store: store.add(record), make=True)
    click.echo(json.dumps(_shown(record) | {"key": text}) if as_json else text)
    click.echo(f"the key {record.id} of {name}; keep it now: it is shown this once", err=True)


@keys.command("ls")
@click.argument("name", required=False)
@click.option("--all", "with_dead", is_flag=True, help="Also those that are revoked or have expired.")
@data_option
@json_option
def ls(name: str | None, with_dead: bool, data: Path | None, as_json: bool) -> None:
    """List keys by the names of their producers, or those of NAME. The keys themselves are not kept.

    \b
    carillon keys ls --all
    """
    now = _now()

    async def run(store: ProducerStore) -> list[KeyRecord]:
        found: list[KeyRecord] = []
        async for key in each_key(store, name):
            if with_dead or key.is_good(now):
                found.append(key)
            if len(found) > MAX_LISTED:
                break
        return found

    found = _with_store(data, run)
    for key in sorted(found[:MAX_LISTED], key=lambda key: (key.name, key.created_at)):
        click.echo(json.dumps(_shown(key)) if as_json else _line(key, now))
    if len(found) > MAX_LISTED:
        click.echo(f"There are more than {MAX_LISTED}: name a producer.", err=True)


@keys.command("revoke")
@click.argument("which", metavar="ID|NAME")
@click.option(
    "--gone", is_flag=True, help="Answer 410 from now on: senders of CloudEvents webhooks then stop for good."
)
@click.option("--dry-run", is_flag=True, help="Say which keys would end, and change nothing.")
@data_option
def revoke(which: str, gone: bool, dry_run: bool, data: Path | None) -> None:
    """Revoke one key by its id, or all keys of a producer. It holds within seconds, everywhere, and for good.

    \b
    carillon keys revoke 7f3a9c2e
    carillon keys revoke shop --dry-run
    """

    async def run(store: ProducerStore) -> list[KeyRecord]:
        named = [key async for key in each_key(store) if which in (key.id, key.name)]
        wanted = [key for key in named if key.revoked_at is None or (gone and not key.is_gone)]
        if not named:
            fail(f"there is no key {which[:80]!r}; see: carillon keys ls")
        if dry_run:
            return wanted
        return [ended for key in wanted if (ended := await store.revoke(key.id, _now(), gone=gone))]

    ended = _with_store(data, run)
    for key in ended:
        click.echo(f"{'would revoke' if dry_run else 'revoked'} {key.id} of {key.name}")
    if not ended:
        click.echo("nothing to do: it is revoked already")


async def each_key(store: ProducerStore, name: str | None = None) -> AsyncIterator[KeyRecord]:
    """All keys, good or not, of one producer or of all; a page at a time."""
    after = ""
    while page := await store.keys(name=name, after=after, limit=PAGE_KEYS):
        for key in page:
            yield key
        after = page[-1].id


def _with_store(data: Path | None, use: Callable[[ProducerStore], Awaitable[Result]], *, make: bool = False) -> Result:
    from shared.wiring.producers_only import open_producers

    async def run() -> Result:
        async with open_producers(Settings.load(**overrides(data)), make=make) as store:
            return await use(store)

    return asyncio.run(run())


def _now() -> datetime:
    """As fine as it is kept."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _expiry(age: str) -> timedelta:
    seconds = parsed_age("--expires", age)
    if not 0 < seconds <= MAX_EXPIRY_S:
        raise InvalidInput("--expires", f"{age!r} is no time ahead", "use 1s to 5000w, or leave it out")
    return timedelta(seconds=seconds)


def _state(key: KeyRecord, now: datetime) -> str:
    if key.revoked_at is not None:
        return f"revoked {_text(key.revoked_at)}{', gone' if key.is_gone else ''}"
    if key.expires_at is None:
        return "good"
    return f"{'good until' if key.is_good(now) else 'expired'} {_text(key.expires_at)}"


def _line(key: KeyRecord, now: datetime) -> str:
    rate = "" if key.events_per_s is None else f"{key.events_per_s:g}/s"
    scope = (f"sources {','.join(key.sources)}", f"types {','.join(key.types)}")
    parts = (key.id, key.name, f"since {_text(key.created_at)}", _state(key, now), *scope, rate)
    return "  ".join(filter(None, parts))


def _shown(key: KeyRecord) -> dict[str, Any]:
    times = {"created_at": key.created_at, "expires_at": key.expires_at, "revoked_at": key.revoked_at}
    return {
        "id": key.id,
        "name": key.name,
        "sources": list(key.sources),
        "types": list(key.types),
        "events_per_s": key.events_per_s,
        **{name: None if time is None else _text(time) for name, time in times.items()},
        "gone": key.is_gone,
    }


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
