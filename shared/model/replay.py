"""Events published once more, and marked so that nobody takes them for new ones. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from shared.model.entry import Entry
from shared.model.event import Event
from shared.model.tags import audience_text

REPLAY_OF = "replayof"
"""The id of the event that this one repeats; its source is the same."""
REPLAY_RUN = "replayrun"
"""Names all that were published together."""
REPLAY_SUBJECT = "replaysubject"
"""The stream of the original. A replay is in none: it would change the state, and be a version that nobody wrote."""

# The stream's, the log's, and the trace's: a replay has its own place in each.
_LEFT_BEHIND = ("id", "subject", "final", "expectedversion", "traceparent", "tracestate", "audience")


def is_replay(attributes: Mapping[str, Any]) -> bool:
    """Whether the event repeats one that was there before."""
    return REPLAY_OF in attributes


def replayed(entry: Entry, run: str, audience: Sequence[str]) -> Event:
    """The entry as an event to publish; the same for the same run, so that publishing it twice is once."""
    original = json.loads(entry.event)
    attributes = {name: value for name, value in original.items() if name not in _LEFT_BEHIND}
    marks = {REPLAY_OF: entry.id, REPLAY_RUN: run, REPLAY_SUBJECT: entry.subject}
    attributes |= {name: value for name, value in marks.items() if value is not None}
    attributes |= {"id": f"replay-{run}-{entry.position}", "audience": audience_text(audience)}
    return Event.from_attributes(attributes)
