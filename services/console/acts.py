"""What operators do is told in the log before it is done, from the console and from `carillon`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from shared.model.event import Event
from shared.ports.broker import Broker

SOURCE = "/carillon/console"
ACTED = "carillon.operator.acted"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something."""

    name: str
    """A key's, a shell's user, or what the issuer calls somebody."""
    issuer: str | None = None
    sub: str | None = None
    """Their id at the issuer, for who signed in there: names there change, and several people may have the same."""

    @property
    def told(self) -> dict[str, str]:
        """As the log is told."""
        known = {"by": self.name, "issuer": self.issuer, "sub": self.sub}
        return {name: value for name, value in known.items() if value is not None}


async def tell_act(
    broker: Broker, by: Actor, action: str, about: Mapping[str, object], subject: str | None = None
) -> None:
    """Says in the log who does what, before it is done: what cannot be told is not done.

    Args:
        subject: the stream of acts that it belongs to.
    """
    attributes = {"specversion": "1.0", "id": secrets.token_hex(12), "source": SOURCE, "type": ACTED}
    if subject is not None:
        attributes["subject"] = subject
    data = {**by.told, "action": action, "about": json.loads(json.dumps(about))}
    await broker.publish(Event.from_attributes(attributes | {"data": data}))
