"""The bytes of frames, and what an independent reader of the event-stream format makes of them."""

from __future__ import annotations

import json

import pytest
from httpx_sse._decoders import SSEDecoder, SSELineDecoder

from services.edge import frames
from services.edge.frames import CloseReason, ResetReason


def read_back(stream: bytes) -> list[tuple[str, str, str]]:
    """(event, data, id) of each event that a client dispatches."""
    lines, decoder = SSELineDecoder(), SSEDecoder()
    events = [decoder.decode(line) for line in lines.decode(stream.decode())]
    return [(event.event, event.data, event.id) for event in events if event and event.data]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"a":1}', b'id: x.1\nevent: order.created\ndata: {"a":1}\n\n'),
        (b"", b"id: x.1\nevent: order.created\ndata: \n\n"),
        (b"one\ntwo", b"id: x.1\nevent: order.created\ndata: one\ndata: two\n\n"),
        (b"one\r\ntwo\rthree", b"id: x.1\nevent: order.created\ndata: one\ndata: two\ndata: three\n\n"),
        (b"end\n", b"id: x.1\nevent: order.created\ndata: end\ndata: \n\n"),
        (
            "\ufeffé🔔\x85\u2028".encode(),
            b"id: x.1\nevent: order.created\ndata: " + "\ufeffé🔔\x85\u2028".encode() + b"\n\n",
        ),
    ],
)
def test_golden_bytes(data: bytes, expected: bytes) -> None:
    assert frames.frame("order.created", data, "x.1") == expected


@pytest.mark.parametrize("data", ['{"a":1}', "one\ntwo", "\ufeffé🔔\x85\u2028", " leading", ": colon", "x" * 300_000])
def test_a_reader_gets_the_data_back(data: str) -> None:
    assert read_back(frames.frame("t", data.encode(), "x.1")) == [("t", data, "x.1")]


def test_a_heartbeat_dispatches_nothing_and_breaks_nothing() -> None:
    stream = frames.HEARTBEAT + frames.frame("t", b"1", "x.1") + frames.HEARTBEAT + frames.frame("t", b"2", "x.2")
    assert read_back(stream) == [("t", "1", "x.1"), ("t", "2", "x.2")]


def test_connected_carries_the_cursor_as_id_so_that_a_client_resumes_before_its_first_event() -> None:
    ((event, data, cursor),) = read_back(frames.retry(2000) + frames.connected("abc.7", {"user": "alice"}))
    assert (event, cursor, json.loads(data)) == ("connected", "abc.7", {"user": "alice", "cursor": "abc.7"})


def test_reset_names_why_and_where_to_go_on() -> None:
    ((event, data, cursor),) = read_back(frames.reset(ResetReason.TRIMMED, "abc.9"))
    assert (event, cursor) == ("reset", "abc.9")
    assert json.loads(data) == {"reason": "history-trimmed", "cursor": "abc.9"}


@pytest.mark.parametrize("reason", list(CloseReason))
def test_closing_says_whether_to_come_back_and_keeps_the_cursor(reason: CloseReason) -> None:
    before = frames.frame("t", b"1", "abc.3")
    closing = frames.closing(reason, 1500)
    *_, (event, data, cursor) = read_back(before + closing)
    assert (event, cursor) == ("closing", "abc.3")
    assert json.loads(data) == {"reason": reason.word, "reconnect": reason.reconnect}
    assert b"retry: 1500\n" in closing
