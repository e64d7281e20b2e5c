"""`python -m tests.contract.publish_until_killed DIR`: publishes and appends for ever, telling each confirmation.

A program of its own, because what is tested is its death.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path

from shared.conformance.samples import an_entry, an_event
from shared.embedded import SqliteBroker, SqliteEventLog, open_embedded

PUBLISHERS = 5


def tell(line: str) -> None:
    # Unbuffered: a line that was not written is a confirmation that nobody saw.
    os.write(1, f"{line}\n".encode())


async def publish(broker: SqliteBroker, publisher: int) -> None:
    for number in itertools.count():
        name = f"{publisher}-{number}"
        await broker.publish(an_event(0, id=name))
        tell(f"published {name}")


async def append(log: SqliteEventLog) -> None:
    fence = await log.claim("child", 60, force=True)
    assert fence is not None
    for position in itertools.count(fence.last + 1, 2):
        await log.append(fence, [an_entry(position), an_entry(position + 1)])
        tell(f"appended {position + 1}")


async def main() -> None:
    async with open_embedded(Path(sys.argv[1])) as (broker, log, *_):
        await asyncio.gather(append(log), *(publish(broker, publisher) for publisher in range(PUBLISHERS)))


if __name__ == "__main__":
    asyncio.run(main())
