"""What operators do is told in the log before it is done, from the console and from `carillon`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping

from shared.model.event import Event
from shared.ports.broker import Broker

SOURCE = "/carillon/console"
ACTED = "carillon.operator.acted"


async def tell_act(broker: Broker, by: str, action: str, about: Mapping[str, object]) -> None:
    """Says in the log who does what, before it is done: what cannot be told is not done."""
    attributes = {"specversion": "1.0", "id": secrets.token_hex(12), "source": SOURCE, "type": ACTED}
    data = {"by": by, "action": action, "about": json.loads(json.dumps(about))}
    await broker.publish(Event.from_attributes(attributes | {"data": data}))
