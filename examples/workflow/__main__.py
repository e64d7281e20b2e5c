"""`python -m examples.workflow release`: runs a workflow, and publishes all that happens to it."""

from __future__ import annotations

import argparse
import itertools
import sys
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

from examples.command import parser_of, status_of
from examples.events import Event, Publisher, amqp_publisher, http_publisher
from examples.outbox import open_outbox
from examples.workflow.definition import Workflow, WrongDefinition, load, shipped
from examples.workflow.engine import Engine
from examples.workflow.run import FAILED, Change

SOURCE = "/examples/workflow"


def main() -> int:
    """Status 0 where the run completed, 1 where it failed, 2 where it could not be run or told."""
    parser = parser_of("examples.workflow", __doc__)
    parser.add_argument("workflow", help=f"one of {', '.join(shipped())}, or a .yaml or .py file")
    options = parser.parse_args()
    try:
        workflow = load(options.workflow)
    except WrongDefinition as wrong:
        parser.error(str(wrong))
    return status_of(_run(workflow, options))


async def _run(workflow: Workflow, options: argparse.Namespace) -> int:
    run_id = f"{workflow.name}-{options.id}"
    print(f"workflow/{run_id}, to {options.to}, seed {options.seed}", flush=True)
    numbers = itertools.count(1)
    async with _publisher(options) as publisher, open_outbox(publisher) as outbox:

        async def tell(change: Change) -> None:
            number = next(numbers)
            print(f"{number:>4}  {change.type:<24} {_in_short(change)}", flush=True)
            await outbox.tell(_event(run_id, number, change, options.to))

        run = await Engine(tell, options.seed, options.pace).execute(workflow)
    return 1 if FAILED in run.status.values() else 0


def _event(id_: str, number: int, change: Change, audience: str) -> Event:
    """The id follows from the run and the number: the same run told again is in the log once."""
    event = {
        "specversion": "1.0",
        "id": f"{id_}-{number}",
        "source": SOURCE,
        "type": change.type,
        "subject": f"workflow/{id_}",
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "audience": audience,
        "data": dict(change.data),
    }
    return event | ({"final": "true"} if change.final else {})


def _publisher(options: argparse.Namespace) -> AbstractAsyncContextManager[Publisher]:
    if options.amqp:
        return amqp_publisher(options.amqp, options.namespace)
    return http_publisher(options.url, options.key)


def _in_short(change: Change) -> str:
    steps = change.data.get("steps", {})
    if change.type == "workflow.started":
        return f"{len(steps)} steps"
    return ", ".join(f"{id_}: {about.get('error') or about['status']}" for id_, about in steps.items())


if __name__ == "__main__":
    sys.exit(main())
