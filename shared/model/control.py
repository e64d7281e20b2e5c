"""Events of ours that end connections: edges act on them, whoever publishes them. Pure."""

from __future__ import annotations

import secrets
from typing import Any

from shared.model.event import Event
from shared.model.tags import CONTROL, checked_tag

SOURCE = "/carillon/edge"
DISCONNECTED = "carillon.connection.disconnected"


def control_tag(sub: str) -> str:
    """What every connection of the user is bound to, and no page ever sees."""
    return checked_tag(f"{CONTROL}:{sub}")


def control_event(type_: str, sub: str, data: dict[str, Any]) -> Event:
    """An event to all connections of a user, and to nobody's page."""
    attributes = {"specversion": "1.0", "id": secrets.token_hex(12), "source": SOURCE, "type": type_}
    return Event.from_attributes(attributes | {"audience": control_tag(sub), "data": data})


def disconnected(sub: str, sid: str | None, by: str) -> Event:
    """Closes the user's connections, or those of one session; they may come back."""
    return control_event(DISCONNECTED, sub, {"sub": sub, "sid": sid, "by": by})
