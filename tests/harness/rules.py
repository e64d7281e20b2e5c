"""Rules and events as tests write them."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

from services.ingest.rules.declared import declared
from services.ingest.rules.loading import assembled
from services.ingest.rules.ruleset import RuleSet
from shared.model.event import Event

FILE = "rules.yaml"


def rules_of(*texts: str) -> RuleSet:
    """The rules of these files' texts; the first is called `rules.yaml`."""
    names = (FILE, *(f"{number}.yaml" for number in range(2, len(texts) + 1)))
    return assembled(declared(dedent(text), name) for text, name in zip(texts, names, strict=True))


def event(type_: str = "order.created", data: Any = None, **attributes: Any) -> Event:
    """An event of `/shop` with the id 1."""
    given = {"specversion": "1.0", "id": "1", "source": "/shop", "type": type_, "data": data}
    return Event.from_attributes(given | attributes)
