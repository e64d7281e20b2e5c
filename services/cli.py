"""The one command: `carillon`."""

from __future__ import annotations

import click

from services.commands import (
    certify,
    dead,
    doctor,
    keys,
    log,
    log_transfer,
    log_trim,
    projections,
    publish,
    replay,
    rules,
    serving,
    tail,
    token,
    trace,
    webhooks,
)
from services.commands.group import Commands


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


for command in (
    *serving.services,
    serving.dev,
    publish.publish,
    tail.tail,
    token.token,
    keys.keys,
    log.log,
    projections.projections,
    rules.rules,
    webhooks.webhooks,
    trace.trace,
    dead.dead,
    replay.replay,
    doctor.doctor,
    certify.certify,
):
    commands.add_command(command)
for command in (log_trim.trim, log_transfer.export, log_transfer.import_):
    log.log.add_command(command)


if __name__ == "__main__":
    main()
