"""What is behind, and when that is too much. Pure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.persister.lag import Behind, Look, _moved_at, _problems
from shared.model.entry import Head
from shared.ports.broker import Waiting

WELL = Look(Waiting(0, 0), 10, 100.0, Behind(), {"inbox": Behind()}, {"inbox": False})
STUCK = "7 published events wait, and none was appended for 61 s"


@pytest.mark.parametrize(
    ("look", "problems"),
    [
        (WELL, []),
        (replace(WELL, dispatch=Behind(1200, 29.0)), []),
        (replace(WELL, dispatch=Behind(1200, 31.0)), ["dispatch is 1,200 events and 31 s behind the log"]),
        (
            replace(WELL, projections={"inbox": Behind(3, 90.4)}),
            ["projection inbox is 3 events and 90 s behind the log"],
        ),
        (replace(WELL, waiting=Waiting(7, 0)), [STUCK]),
        (replace(WELL, waiting=Waiting(7, 0), moved_at=140.0), []),
        (replace(WELL, waiting=Waiting(0, 500)), []),
        (
            replace(WELL, waiting=Waiting(7, 0), dispatch=Behind(1, 40.0)),
            ["dispatch is 1 events and 40 s behind the log", STUCK],
        ),
    ],
)
def test_what_fails_readiness(look: Look, problems: list[str]) -> None:
    assert list(_problems(look, 30.0, now_s=161.0)) == problems


@pytest.mark.parametrize(
    ("before", "waiting", "last", "moved_at"),
    [
        (None, 7, 10, 161.0),
        (WELL, 0, 10, 161.0),
        (WELL, 7, 11, 161.0),
        (WELL, 7, 10, 100.0),
    ],
)
def test_an_intake_that_is_never_empty_is_no_lag_while_the_log_grows(
    before: Look | None, waiting: int, last: int, moved_at: float
) -> None:
    assert _moved_at(before, Waiting(waiting, 0), Head("log", last), 161.0) == moved_at
