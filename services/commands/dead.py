"""`carillon dead`."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import BinaryIO

import click

from services.commands.group import fail, printable
from services.commands.options import data_option, json_option, with_backends
from services.console import letters
from services.console.acts import Actor
from services.console.letters import Choice, Listing
from shared.model.errors import InvalidEvent
from shared.model.settings import Settings
from shared.ports.broker import Broker, DeadLetter

Act = Callable[[Broker, Actor, Collection[str]], Awaitable[Collection[str]]]

reason_option = click.option("--reason", default="", help="Those with this reason, such as invalid-event.")
contains_option = click.option("--contains", default="", metavar="TEXT", help="Those with this text in them.")
ids_argument = click.argument("ids", metavar="[ID]...", nargs=-1)
all_option = click.option(
    "--all",
    "everything",
    is_flag=True,
    help=f"All of the oldest {letters.LOOKED_AT}, or all of these that the options choose.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def acting_as() -> Actor:
    """Who does it, as the log is told: the shell's user."""
    return Actor(f"{getpass.getuser()} (carillon)")


@click.group("dead")
def dead() -> None:
    """Look at dead letters, requeue them, drop them: what was published, and could not be appended."""


@dead.command("ls")
@reason_option
@contains_option
@data_option
@json_option
def dead_ls(reason: str, contains: str, data: Path | None, as_json: bool) -> None:
    """List the oldest dead letters.

    \b
    carillon dead ls --reason version-conflict
    """
    found = with_backends(data, lambda opened: letters.listed(opened.broker, Choice(reason, contains)))
    for letter in found.letters:
        click.echo(json.dumps(_as_json(letter), ensure_ascii=False) if as_json else _line(letter))
    _tell_if_cut(found)


@dead.command("show")
@click.argument("id_", metavar="ID")
@click.option("--raw", is_flag=True, help="The original alone, byte for byte.")
@data_option
@json_option
def dead_show(id_: str, raw: bool, data: Path | None, as_json: bool) -> None:
    """Show one whole: why it is there, and the original.

    \b
    carillon dead show 7 --raw > letter.json
    """
    letter = with_backends(data, lambda opened: letters.one(opened.broker, id_))
    if letter is None:
        fail(_missing(id_))
    text = letters.text_of(letter.body)
    if raw:
        sys.stdout.buffer.write(letter.body)
        sys.stdout.buffer.flush()
    elif as_json:
        click.echo(
            json.dumps(_as_json(letter) | {"body": text, "hex": None if text is not None else letter.body.hex()})
        )
    else:
        about = [printable(f"{key}: {told}") for key, told in letter.attributes.items()]
        click.echo("\n".join([_line(letter), *about]))
        click.echo("\n" + (text if text is not None else letters.dump(letter.body)))


@dead.command("requeue")
@ids_argument
@reason_option
@contains_option
@all_option
@click.option("--edited", type=click.File("rb"), metavar="FILE", help="With one ID: this in place of the original.")
@dry_run_option
@yes_option
@data_option
def dead_requeue(
    ids: tuple[str, ...],
    reason: str,
    contains: str,
    everything: bool,
    edited: BinaryIO | None,
    dry_run: bool,
    yes: bool,
    data: Path | None,
) -> None:
    """Have the persister try them again.

    \b
    carillon dead requeue --reason too-large --dry-run
    carillon dead requeue 7 --edited letter.json
    """
    if edited is None:
        _act("requeue", letters.requeue, ids, Choice(reason, contains), everything, dry_run, yes, data)
        return
    if len(ids) != 1:
        raise click.UsageError("--edited goes with the ID of one letter.")
    body = _checked(edited)

    async def act(broker: Broker, by: Actor, chosen: Collection[str]) -> Collection[str]:
        return await letters.requeue(broker, by, chosen, dict.fromkeys(chosen, body))

    _act("requeue", act, ids, Choice(), False, dry_run, yes, data)


@dead.command("drop")
@ids_argument
@reason_option
@contains_option
@all_option
@dry_run_option
@yes_option
@data_option
def dead_drop(
    ids: tuple[str, ...], reason: str, contains: str, everything: bool, dry_run: bool, yes: bool, data: Path | None
) -> None:
    """Throw them away for good.

    \b
    carillon dead drop --reason invalid-event --contains /old-shop --dry-run
    """
    _act("drop", letters.drop, ids, Choice(reason, contains), everything, dry_run, yes, data)


def _act(
    word: str,
    act: Act,
    ids: tuple[str, ...],
    choice: Choice,
    everything: bool,
    dry_run: bool,
    yes: bool,
    data: Path | None,
) -> None:
    """Does it to those chosen: first says which, then asks."""
    if not (ids or choice.told or everything):
        raise click.UsageError("choose: name ids, --reason, --contains or --all.")

    async def run(broker: Broker) -> None:
        found = await letters.listed(broker, choice)
        chosen = [letter for letter in found.letters if not ids or letter.id in ids]
        if missing := sorted(set(ids) - {letter.id for letter in chosen}):
            fail(_missing(", ".join(missing)))
        for letter in chosen:
            click.echo(_line(letter), err=True)
        if not ids:
            _tell_if_cut(found)
        if dry_run or not chosen:
            click.echo(f"would {word} {len(chosen)}")
            return
        if not yes:
            click.confirm(f"{word} {len(chosen)}?", abort=True, err=True)
        done = await act(broker, acting_as(), [letter.id for letter in chosen])
        click.echo(f"{word}: {len(done)} of {len(chosen)}")

    with_backends(data, lambda opened: run(opened.broker))


def _missing(ids: str) -> str:
    return f"there is no dead letter {ids} among the oldest {letters.LOOKED_AT}; see: carillon dead ls"


def _tell_if_cut(found: Listing) -> None:
    if found.is_cut:
        of = f" of {found.total}" if found.total > found.looked_at else ""
        click.echo(f"There may be more: these are chosen from the oldest {found.looked_at}{of}.", err=True)


def _checked(edited: BinaryIO) -> bytes:
    """The file's content, which must be an event. Raises `InvalidEvent`."""
    max_bytes = Settings.load().max_event_bytes
    body = edited.read(max_bytes + 1)
    text = letters.text_of(body)
    if text is None:
        raise InvalidEvent("--edited", "the file is not text", "write the event as JSON")
    return letters.edited(text, max_bytes)


def _line(letter: DeadLetter) -> str:
    told = letters.glimpse(letter.body)
    which = " ".join(told[name] for name in ("type", "source", "id") if name in told)
    parts = (letter.id, letter.reason, which or f"{len(letter.body)} bytes", letter.detail)
    return "  ".join(map(printable, filter(None, parts)))


def _as_json(letter: DeadLetter) -> dict[str, object]:
    about = {"id": letter.id, "reason": letter.reason, "detail": letter.detail, "size_bytes": len(letter.body)}
    return about | {"attributes": dict(letter.attributes), "event": dict(letters.glimpse(letter.body))}
