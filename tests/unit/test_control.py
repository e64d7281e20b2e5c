"""Control events: which sessions and connections each of them ends."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.edge import control
from services.edge.control import Revocations, close_reason
from services.edge.frames import CloseReason
from services.edge.sessions import Session
from shared.model.control import control_tag, disconnected
from shared.model.entry import Entry
from shared.model.event import Event

NOW = time.time()
SESSION = Session("alice", "one", (), NOW, int(NOW) + 86_400, int(NOW) + 86_400)


def logged(event: Event, position: int = 1) -> Entry:
    return Entry(
        position, None, event.source, event.id, event.type, None, event.tags, False, None, None,
        datetime.now(UTC), event.public_json(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (control.revoked("alice", "one", NOW + 1, "signed-out"), CloseReason.SESSION_REVOKED),
        (control.revoked("alice", "one", NOW + 1, "replaced"), CloseReason.SESSION_REPLACED),
        (control.revoked("alice", "two", NOW + 1, "signed-out"), None),
        (control.revoked("alice", None, NOW + 1, "signed-out"), CloseReason.SESSION_REVOKED),
        (control.revoked("alice", None, NOW - 1, "signed-out"), None),
        (disconnected("alice", None, "op"), CloseReason.DISCONNECTED),
        (disconnected("alice", "one", "op"), CloseReason.DISCONNECTED),
        (disconnected("alice", "two", "op"), None),
    ],
)
def test_what_a_control_event_ends(event: Event, expected: CloseReason | None) -> None:
    assert event.tags == (control_tag("alice"),)
    assert close_reason(logged(event), SESSION, opened_at_head=0) is expected


def test_who_was_disconnected_comes_back_for_good() -> None:
    """Resuming from before the event, the client came upon it again, and was sent away each time."""
    sent_away = logged(disconnected("alice", None, "op"), position=7)
    assert close_reason(sent_away, SESSION, opened_at_head=6) is CloseReason.DISCONNECTED
    assert close_reason(sent_away, SESSION, opened_at_head=7) is None
    signed_out = logged(control.revoked("alice", "one", NOW, "signed-out"), position=7)
    assert close_reason(signed_out, SESSION, opened_at_head=7) is CloseReason.SESSION_REVOKED


@pytest.mark.parametrize("data", [None, 1, "x", [], {"sid": 5}, {"sid": None, "at": "never"}, {}])
def test_what_others_address_to_the_control_tag_ends_nothing(data: object) -> None:
    forged = Event.from_attributes(
        {"specversion": "1.0", "id": "1", "source": "/elsewhere", "type": control.REVOKED,
         "audience": control_tag("alice"), "data": data}
    )  # fmt: skip
    assert close_reason(logged(forged), SESSION, opened_at_head=0) is None
    revocations = Revocations()
    revocations.add([logged(forged)], 1)
    assert not revocations.include(SESSION)


def test_revocations_are_folded_from_the_log_page_by_page() -> None:
    revocations = Revocations()
    assert not revocations.include(SESSION)
    revocations.add([logged(disconnected("alice", None, "op"), 3)], 3)
    assert not revocations.include(SESSION)
    revocations.add([logged(control.revoked("alice", "one", NOW, "signed-out"), 7)], 9)
    assert revocations.include(SESSION)
    assert not revocations.include(replace(SESSION, sid="two"))
    assert revocations.through == 9
    revocations.add([logged(control.revoked("alice", None, NOW + 5, "signed-out"), 12)], 12)
    assert revocations.include(replace(SESSION, sid="two"))
    assert not revocations.include(replace(SESSION, sid="three", opened_at=NOW + 6))


def test_presence_is_told_once_however_many_tell_it() -> None:
    from shared.ports.sessions import ConnectionRecord

    record = ConnectionRecord("c1", "edge-1", "alice", "one", datetime.now(UTC), "127.0.0.1")
    one, two = (control.presence(control.CLOSED, record, "edge-lost") for _ in range(2))
    assert one == two
    assert one.tags == ("topic:presence",)
    assert control.presence(control.OPENED, record, None).id != one.id
