"""Frames as we read them, beside the driver's own reader: the same, however the bytes are cut."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import aiormq.connection
import pytest
from aiormq import spec
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.frame import marshal
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from shared.rabbit.frames import FrameReader

# The class as the driver has it: a connection of another test may have put ours in its place.
DriversOwn = FrameReader.__mro__[1]

BODY = bytes(range(256)) * 300
FRAMES = [
    marshal(spec.Connection.Tune(channel_max=2047, frame_max=131072, heartbeat=5), 0),
    marshal(spec.Basic.Deliver("tag", 1, False, "events", "key"), 1),
    marshal(ContentHeader(body_size=len(BODY), properties=spec.Basic.Properties(message_id="m", headers={"a": 1})), 1),
    marshal(ContentBody(BODY), 1),
    marshal(Heartbeat(), 0),
    marshal(spec.Basic.Ack(7, True), 3),
]
WHOLE = b"".join(FRAMES)


async def read(reader_class: type[Any], pieces: list[bytes]) -> list[str]:
    """What it makes of pieces that come one after the other, and of the end after them."""
    stream = asyncio.StreamReader()
    reader, told = reader_class(stream), []

    coming, come_soon = iter(pieces), asyncio.get_running_loop().call_soon

    def come() -> None:
        if (piece := next(coming, None)) is None:
            stream.feed_eof()
        else:
            stream.feed_data(piece)
            come_soon(come)

    come_soon(come)
    try:
        while True:
            size, channel, frame = await reader.get_frame()
            told.append(f"{size} {channel} {marshal(frame, channel).hex()}")
    except (StopAsyncIteration, aiormq.exceptions.AMQPError) as end:
        told.append(_family(end))
    return told


def _family(end: Exception) -> str:
    """The connection's loop treats the end between two frames as it treats a loss."""
    over = (StopAsyncIteration, aiormq.exceptions.AMQPConnectionError)
    return "over" if isinstance(end, over) else type(end).__name__


def cut(content: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(content), *(place % (len(content) + 1) for place in at)})
    return [content[start:end] for start, end in pairwise(places)]


@given(at=st.lists(st.integers(0, len(WHOLE)), max_size=40), end=st.integers(0, len(WHOLE)))
def test_frames_are_the_drivers_own(at: list[int], end: int) -> None:
    """Also where the connection ends in the middle of one."""
    pieces = cut(WHOLE[:end], at)
    assert asyncio.run(read(FrameReader, pieces)) == asyncio.run(read(DriversOwn, pieces))


def test_each_frame_is_read_as_it_comes() -> None:
    assert len(asyncio.run(read(FrameReader, FRAMES))) == len(FRAMES) + 1


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(b"AMQP\x00\x00\x09\x01", id="another version"),
        pytest.param(FRAMES[0] + b"\x00" * 20, id="no frame"),
        pytest.param(FRAMES[0] + FRAMES[1][:-1] + b"\x00", id="a wrong end"),
        pytest.param(FRAMES[0] + b"\x09\x00\x00\x00\x00\x00\x01x\xce", id="an unknown kind"),
        pytest.param(FRAMES[0] + b"\x01\x00\x01\x00\x00\x00\x04\xff\xff\xff\xff\xce", id="an unknown method"),
    ],
)
def test_what_is_no_frame_is_refused_as_by_the_driver(wrong: bytes) -> None:
    told = asyncio.run(read(FrameReader, [wrong]))
    assert told == asyncio.run(read(DriversOwn, [wrong]))
    assert told[-1] != "over"
