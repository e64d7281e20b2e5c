"""`carillon rules`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.commands.options import json_option
from shared.model.errors import InvalidInput
from shared.model.event import Event, decoded_json

if TYPE_CHECKING:
    from services.ingest.rules.rule import Rule

rules_option = click.option(
    "--rules",
    "where",
    metavar="FILE",
    envvar="CARILLON_RULES",
    required=True,
    help="A file, a folder, or the name of a shipped set: github, stripe.  [or: CARILLON_RULES]",
)


@click.group("rules")
def rules() -> None:
    """Check rules, and see what they would do with an event."""


@rules.command("check")
@rules_option
@json_option
def rules_check(where: str, as_json: bool) -> None:
    """Read the rules as ingest would, and list them. Status 2, and the line, when something is wrong.

    \b
    carillon rules check --rules rules.yaml
    carillon rules check --rules github
    """
    from services.ingest.rules.loading import load

    loaded = load(where).rules
    if as_json:
        click.echo(json.dumps({"ok": True, "rules": list(map(_rule_json, loaded))}, ensure_ascii=False))
        return
    for rule in loaded:
        click.echo("  ".join(filter(None, (rule.name, f"({rule.place})", rule.description))))
    click.echo(f"{len(loaded)} rules are good")


@rules.command("test")
@click.argument(
    "file", metavar="EVENT.json", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)
)
@rules_option
@click.option("--type", "type_", metavar="TYPE", help="The file holds only the data, of an event of this type.")
@click.option(
    "--source", metavar="SOURCE", default="/carillon/cli", show_default=True, help="With --type: who says so."
)
@json_option
def rules_test(file: Path, where: str, type_: str | None, source: str, as_json: bool) -> None:
    """Say which rules match an event, who would receive it and why, and what it would say. Publishes nothing.

    EVENT.json is one CloudEvent, or with --type the data of one; - reads standard input.

    \b
    carillon rules test event.json --rules rules.yaml
    carillon rules test delivery.json --type github.push --rules github
    """
    from services.ingest.rules.explaining import explain
    from services.ingest.rules.loading import load

    explained = explain(load(where), _event(file, type_, source))
    for line in [json.dumps(explained, ensure_ascii=False)] if as_json else _lines(explained):
        click.echo(line)


def _event(file: Path, type_: str | None, source: str) -> Event:
    body = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    try:
        if type_ is None:
            # No limit: what is too large to publish may still be tried.
            return Event.from_json(body, max_bytes=len(body))
        attributes = {"specversion": "1.0", "id": "test", "source": source, "type": type_, "data": decoded_json(body)}
        return Event.from_attributes(attributes)
    except InvalidInput as refused:
        fix = refused.fix if type_ else f"{refused.fix}; or name the type with --type where the file holds only data"
        raise InvalidInput(f"{file}: {refused.field}", refused.problem, fix) from None


def _rule_json(rule: Rule) -> dict[str, Any]:
    return {"name": rule.name, "place": str(rule.place), "description": rule.description}


def _lines(explained: dict[str, Any]) -> Iterator[str]:
    yield "{type}  {source}  {id}".format(**explained["event"])
    yield "receives it" if explained["audience"] else "nobody receives it"
    for each in explained["audience"]:
        yield f"  {each['tag']}  because of {'; '.join(each['because'])}"
    yield f"rules ({explained['loaded']} loaded)"
    for each in explained["rules"]:
        yield from _rule_lines(each)


def _rule_lines(each: dict[str, Any]) -> Iterator[str]:
    yield f"  {'matches' if each['matched'] else 'does not'}  {each['rule']} ({each['place']}): {each['why']}"
    for trouble in (*each["troubles"], *each["notes"]):
        yield f"      ! {trouble}"
    for name, text in each.get("says", {}).items():
        if name != "about":
            yield f"      {name}: {' '.join(text.split())}"
