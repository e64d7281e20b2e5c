"""A workflow in Python: its actions are functions, and an outcome decides which of two ways it goes."""

from __future__ import annotations

import asyncio

from examples.workflow.actions import Context, StepFailed
from examples.workflow.definition import Step, Workflow


async def fetch(context: Context) -> str:
    await asyncio.sleep(0.5 * context.pace)
    if context.chance.random() < 0.3:
        raise StepFailed("the shop did not answer")
    return "done"


async def check(context: Context) -> str:
    """Some orders are large, and are looked at by a person."""
    await asyncio.sleep(0.3 * context.pace)
    return "large" if context.chance.random() < 0.5 else "usual"


async def work(context: Context) -> str:
    await asyncio.sleep(context.chance.uniform(0.5, 1.5) * context.pace)
    return "done"


workflow = Workflow(
    "import_orders",
    (
        Step("fetch", fetch, "Fetch orders", retries=3),
        Step("check", check, "Check orders", needs=("fetch",)),
        Step("approve", work, "Ask a person", needs=("check",), when={"check": "large"}),
        Step("store", work, "Store orders", needs=("check", "approve"), join="any", when={"check": "usual"}),
    ),
)
