"""What ends sessions and connections everywhere: events of ours, through the log as all others. Pure.

Each connection is bound to its user's control tag, so that such an event reaches every edge that
concerns it in the order of the log; and whoever reads a cookie finds it in the log again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from services.edge.frames import CloseReason
from services.edge.sessions import Session
from shared.model.control import DISCONNECTED, SOURCE, control_event
from shared.model.entry import Entry
from shared.model.event import Event
from shared.ports.sessions import ConnectionRecord

REVOKED = "carillon.session.revoked"
OPENED = "carillon.connection.opened"
CLOSED = "carillon.connection.closed"
PRESENCE_TAG = "topic:presence"
TYPES = frozenset({REVOKED, DISCONNECTED})


def revoked(sub: str, sid: str | None, at: float, reason: str) -> Event:
    """Ends one session, or with `sid` None all of the user's that were opened until `at`."""
    return control_event(REVOKED, sub, {"sub": sub, "sid": sid, "at": at, "reason": reason})


def presence(type_: str, connection: ConnectionRecord, reason: str | None) -> Event:
    """Tells whoever may see `topic:presence` that a connection was opened, or closed and why.

    The id follows from the connection, so that two edges that both find it lost tell it once.
    """
    about = {"connection": connection.id, "user": connection.sub, "edge": connection.edge}
    attributes = {
        "specversion": "1.0",
        "id": f"{connection.id}.{type_.rsplit('.', 1)[-1]}",
        "source": SOURCE,
        "type": type_,
        "audience": PRESENCE_TAG,
        "data": about | ({"reason": reason} if reason is not None else {}),
    }
    return Event.from_attributes(attributes)


def close_reason(entry: Entry, session: Session, opened_at_head: int) -> CloseReason | None:
    """What a control event means for a connection of this session; None where it is another's.

    Args:
        opened_at_head: where the log ended when the connection was opened. Who was disconnected and
            resumes from before comes upon that event again: it must not be disconnected for ever.
    """
    data = _data(entry)
    if data.get("sid") not in (None, session.sid):
        return None
    if entry.type == DISCONNECTED:
        return CloseReason.DISCONNECTED if entry.position > opened_at_head else None
    if data.get("sid") is None and session.opened_at > _seconds(data):
        return None
    return CloseReason.SESSION_REPLACED if data.get("reason") == "replaced" else CloseReason.SESSION_REVOKED


@dataclass(slots=True)
class Revocations:
    """What the log says of one user's sessions, up to a position."""

    through: int = 0
    sids: set[str] = field(default_factory=set)
    all_until: float = 0.0

    def add(self, entries: Iterable[Entry], through: int) -> None:
        """Takes what a read of the control tag has brought."""
        for entry in entries:
            if entry.type != REVOKED:
                continue
            data = _data(entry)
            if data.get("sid") is None:
                self.all_until = max(self.all_until, _seconds(data))
            else:
                self.sids.add(str(data["sid"]))
        self.through = max(self.through, through)

    def include(self, session: Session) -> bool:
        """Whether the session has been revoked."""
        return session.sid in self.sids or session.opened_at <= self.all_until


def _data(entry: Entry) -> dict[str, Any]:
    """Producers on AMQP may address a control tag with whatever data: that must not end anything."""
    data = json.loads(entry.event).get("data")
    return data if isinstance(data, dict) and entry.source == SOURCE else {"sid": ""}


def _seconds(data: dict[str, Any]) -> float:
    at = data.get("at")
    return float(at) if isinstance(at, int | float) else 0.0
