"""Calls that must end in their time, though nothing answers them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

# How long a call may wait in the tests of outages: each of them waits that long. Too short for anything else.
TIMEOUT_S = 1.0
# A busy machine may stand still for seconds. Without a bound of our own, a call would wait for the driver's: 18 s
# until a heartbeat of RabbitMQ's is missed, 30 s until MongoDB's driver has found no server, or for ever.
SLACK_S = 12.0


@contextmanager
def bounded(timeout_s: float = TIMEOUT_S) -> Iterator[None]:
    """Fails when its body takes longer than a call may."""
    began = time.monotonic()
    yield
    took_s = time.monotonic() - began
    assert took_s < timeout_s + SLACK_S, f"{took_s:.1f} s, where {timeout_s:g} s is all that a call may wait"
