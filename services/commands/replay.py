"""`carillon replay`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from services.commands.dead import acting_as
from services.commands.options import data_option, json_option, progress_bar, with_backends
from services.console import replay as replaying
from services.console.replay import Plan, parsed_tags
from services.console.replay_log import tell_end
from services.console.search import Wanted
from shared.model.settings import Settings
from shared.wiring import Backends

SHOWN_TAGS = 20


@click.command()
@click.option("--find", default="", metavar="ID", help="The event of this id, or those of this trace.")
@click.option("--type", "type_", default="", metavar="PATTERN", help="Of this type; * stands for anything.")
@click.option("--source", default="", metavar="PATTERN", help="Of this source.")
@click.option("--subject", default="", metavar="PATTERN", help="Of this subject.")
@click.option("--tag", default="", help="Addressed to this tag.")
@click.option("--since", default="", metavar="TIME", help="Appended since then: 2026-01-31T12:00:00Z.")
@click.option("--until", default="", metavar="TIME", help="Appended until then.")
@click.option("--to", "to", metavar="TAG", multiple=True, help="Only to this tag, not to whom they were for.")
@click.option("--dry-run", is_flag=True, help="Say how many, and to whom, and publish nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
@json_option
def replay(
    find: str,
    type_: str,
    source: str,
    subject: str,
    tag: str,
    since: str,
    until: str,
    to: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    data: Path | None,
    as_json: bool,
) -> None:
    """Publish events of the log once more, marked with `replayof`, so that nobody takes them for new ones.

    \b
    carillon replay --type 'order.*' --since 2026-01-31T12:00:00Z --dry-run
    carillon replay --source /shop --tag topic:orders --to user:alice
    """
    told = {"find": find, "type": type_, "source": source, "subject": subject, "tag": tag, "since": since}
    plan = Plan(Wanted.of(told | {"until": until}), parsed_tags(" ".join(to)))

    async def run(opened: Backends) -> int:
        await replaying.count(opened.event_log, plan, Settings.load().max_event_bytes)
        for line in _lines(plan):
            click.echo(line, err=True)
        if dry_run:
            return 0
        plan.check()
        if not yes:
            click.confirm(f"publish {len(plan.positions)}?", abort=True, err=True)
        by, done, outcome = acting_as(), 0, "stopped"
        await replaying.announce(opened.broker, by, plan)
        with progress_bar(len(plan.positions), "publishing") as bar:

            def tell(so_far: int) -> None:
                nonlocal done
                bar.update(so_far - done)
                done = so_far

            try:
                await replaying.publish(opened.event_log, opened.broker, plan, tell)
                outcome = "done"
            finally:
                await tell_end(opened.broker, by, plan.run, done, outcome)
        return done

    done = with_backends(data, run)
    if as_json:
        click.echo(json.dumps(plan.told() | {"tags": dict(plan.tags.most_common()), "published": done}))
    else:
        click.echo(f"would publish {len(plan.positions)}" if dry_run else f"published {done}, run {plan.run}")


def _lines(plan: Plan) -> list[str]:
    """How many, of what, to whom."""
    lines = [f"{count:>8}  {type_}" for type_, count in plan.types.most_common(SHOWN_TAGS)]
    lines += [f"{count:>8}  to {tag}" for tag, count in plan.tags.most_common(SHOWN_TAGS)]
    lines += [f"{count:>8}  left out: {why}" for why, count in plan.left_out.items()]
    if plan.to and plan.others:
        lines.append(f"{plan.others:>8}  were for none of these tags: they go to somebody who did not see them")
    if plan.is_cut:
        lines.append(f"more than {replaying.MAX_REPLAYED} fit, or too many would have to be looked at: narrow it")
    return lines
