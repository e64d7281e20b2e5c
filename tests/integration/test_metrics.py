"""Each counter is moved by what it counts, and by nothing else: all of them are looked at each time."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from quart import Quart

from services.edge import control
from services.edge.connection import Connection
from services.edge.frames import CloseReason
from services.edge.grants import TypeFilter
from services.edge.selection import Selection
from services.edge.sessions import Session
from services.ingest.service import open_ingest
from services.persister.lag import Lag
from shared.embedded import SqliteBroker
from shared.model.errors import NotReady
from shared.telemetry import metrics
from shared.web.app import make_app
from shared.web.stream import asgi_body
from tests.eventually import eventually
from tests.harness.moved import counters, gauge, moved, since
from tests.harness.own_edge import OwnEdge, own_edge

KEY = {"Authorization": "Bearer key", "Content-Type": "application/cloudevents+json"}
# What one event does from its append to its dispatch.
PERSISTED = {"events_persisted": 1, "batch_events_count": 1, "append_seconds_count": 1}
DISPATCHED = {"events_dispatched": 1, "dispatch_seconds_count": 1}
GREETED = {"frames__other": 2, "stream_bytes__other": ANY}
WRITTEN = {"frames__event": 1, "stream_bytes__event": ANY}
LIVE = {"deliveries__live": 1, "delivery_seconds_count": 1, **WRITTEN}


@dataclass(frozen=True, slots=True)
class Platform:
    """Ingest, persister and edge in this process."""

    own: OwnEdge
    ingest: Quart

    async def post(self, event: dict[str, Any] | bytes, **headers: str) -> int:
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        return (await self.ingest.test_client().post("/v1/events", data=body, headers=KEY | headers)).status_code


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    settings = {"producer_keys": "test=key", "heartbeat_s": 60, "buffer_max_frames": 3}
    async with own_edge(**settings) as own, open_ingest(own.settings, own.backends) as doors:
        yield Platform(own, make_app("ingest", own.settings, *doors.blueprints, probes={}))


def an_event(id_: str, **attributes: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": id_, "source": "/t", "type": "a.b", "audience": "user:alice"} | attributes


def session(sub: str = "alice") -> Session:
    now = time.time()
    return Session(sub, "sid", (), now, int(now) + 3600, int(now) + 3600)


class Reader:
    """A client of one connection, straight at its stream."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self._stream = connection, asgi_body(connection)
        self._reading = asyncio.create_task(self._read())
        self.received = b""

    async def _read(self) -> None:
        async for chunk in self._stream:
            self.received += chunk

    async def until(self, text: str) -> None:
        await eventually(lambda: text.encode() in self.received)

    async def leave(self) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])
        self.connection.end()


async def reader_of(own: OwnEdge, selection: Selection | None = None) -> Reader:
    return Reader(await own.edge.connect(session(), selection or Selection(), "127.0.0.1"))


@asynccontextmanager
async def connected(own: OwnEdge, **query: Any) -> AsyncIterator[Reader]:
    reader = await reader_of(own, Selection(**query))
    await reader.until("connected")
    # A write is counted when the stream is asked for the next.
    await asyncio.sleep(0)
    yield reader
    await reader.leave()


async def test_an_event_from_the_request_to_the_frame(platform: Platform) -> None:
    async with connected(platform.own) as reader, moved(events_accepted=1, **PERSISTED, **DISPATCHED, **LIVE):
        assert await platform.post(an_event("1")) == 202
        await reader.until('"id":"1"')


async def test_an_event_for_others_is_not_delivered(platform: Platform) -> None:
    async with connected(platform.own), moved(events_accepted=1, **PERSISTED, **DISPATCHED):
        await platform.post(an_event("1", audience="user:bob"))


async def test_an_event_that_the_stream_leaves_out_is_not_delivered(platform: Platform) -> None:
    others = TypeFilter(["other.*"])
    async with connected(platform.own, types=others), moved(events_accepted=1, **PERSISTED, **DISPATCHED):
        await platform.post(an_event("1"))


async def test_a_duplicate_is_counted_where_it_was_found(platform: Platform) -> None:
    async with moved(events_accepted=1, **PERSISTED, **DISPATCHED):
        await platform.post(an_event("1"))
    async with moved(events_duplicate__ingest=1):
        await platform.post(an_event("1"))
    async with moved(events_duplicate__persister=1):
        await platform.own.backends.broker.publish_raw(json.dumps(an_event("1")).encode(), "application/json")


@pytest.mark.parametrize(
    ("body", "headers", "refusal"),
    [
        (b"{", {}, "invalid_event"),
        (b"x" * 300_000, {}, "too_large"),
        (an_event("1"), {"Authorization": "Bearer wrong"}, "unauthorized"),
        (an_event("1"), {"Content-Type": "image/png"}, "unsupported_media_type"),
    ],
)
async def test_a_refusal_is_counted_by_its_reason(
    platform: Platform, body: Any, headers: dict[str, str], refusal: str
) -> None:
    async with moved(**{f"refusals__ingest__{refusal}": 1}):
        assert await platform.post(body, **headers) >= 400


async def test_a_broker_that_is_away_is_a_refusal(platform: Platform) -> None:
    broker = platform.own.backends.broker
    assert isinstance(broker, SqliteBroker)
    broker._queue.close()
    before = counters()
    assert await platform.post(an_event("1")) == 503
    assert since(before) == {"refusals__ingest__broker_unavailable": 1, "events_refused__broker_unavailable": 1}


async def test_an_event_that_the_reception_refuses_is_counted_whatever_the_door(platform: Platform) -> None:
    async with moved(refusals__ingest__invalid_event=1, events_refused__invalid_event=1):
        assert await platform.post(an_event("1", audience="control:alice")) == 400


async def test_refusals_of_the_edge_are_its_own(platform: Platform) -> None:
    client = platform.own.app.test_client()
    async with moved(refusals__edge__unauthorized=1, refusals__none__not_found=1):
        await client.get("/v1/events")
        await client.get("/nowhere")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"garbage", "invalid_event"),
        (json.dumps(an_event("1", subject="s", expectedversion=7)).encode(), "version_conflict"),
    ],
)
async def test_a_dead_letter_is_counted_by_its_reason(platform: Platform, body: bytes, reason: str) -> None:
    async with moved(**{f"dead_letters__{reason}": 1}):
        await platform.own.backends.broker.publish_raw(body, "application/json")


async def test_a_stream_is_counted_when_it_opens_and_by_how_it_ends(platform: Platform) -> None:
    async with moved(streams_opened__new=1, streams_closed__gone=1, **GREETED), connected(platform.own):
        pass
    async with moved(streams_opened__new=1, streams_closed__disconnected=1, frames__other=3, stream_bytes__other=ANY):
        reader = await reader_of(platform.own)
        await reader.until("connected")
        reader.connection.close(CloseReason.DISCONNECTED)
        await reader.until("disconnected")
        await reader.leave()


async def test_what_ends_a_stream_is_no_delivery(platform: Platform) -> None:
    async with connected(platform.own):
        closing = {"streams_closed__session_revoked": 1, "frames__other": 1, "stream_bytes__other": ANY}
        async with moved(**PERSISTED, **DISPATCHED, **closing):
            await platform.own.edge.announce(control.revoked("alice", None, time.time() + 1, "signed-out"))


async def test_a_resumed_stream_replays(platform: Platform) -> None:
    async with moved(events_accepted=1, **PERSISTED, **DISPATCHED):
        await platform.post(an_event("1"))
    replayed = {
        "streams_opened__resumed": 1,
        "deliveries__replayed": 1,
        **WRITTEN,
        **GREETED,
        "streams_closed__gone": 1,
    }
    async with moved(**replayed), connected(platform.own, cursor="earliest") as reader:
        await reader.until('"id":"1"')
        await asyncio.sleep(0)


async def test_a_reset_is_counted_by_its_reason(platform: Platform) -> None:
    reset = {"streams_opened__reset": 1, "stream_resets__unreadable_cursor": 1, "streams_closed__gone": 1}
    async with moved(**reset, frames__other=3, stream_bytes__other=ANY), connected(platform.own, cursor="nonsense"):
        pass


async def test_a_slow_reader_is_cut(platform: Platform) -> None:
    reader = await reader_of(platform.own)
    await reader.until("connected")
    # Nobody reads from here on: the frames pile up until the bound.
    before = counters()
    reader._reading.cancel()
    for number in range(5):
        await platform.own.publish(id=str(number))
    await eventually(lambda: since(before).get("streams_closed__slow_reader") == 1)
    assert not [name for name in since(before) if name.startswith(("deliveries", "delivery_seconds"))]
    reader.connection.end()


async def test_heartbeats_and_progress_are_told_apart(platform: Platform) -> None:
    async with connected(platform.own, heartbeat_s=0.02) as reader:
        before = counters()
        await eventually(lambda: since(before).get("frames__heartbeat", 0) >= 2)
        assert since(before).keys() == {"frames__heartbeat", "stream_bytes__other"}
        await platform.own.publish("user:bob")
        await platform.own.backends.broker.tell_progress(1)
        await eventually(lambda: since(before).get("frames__progress") == 1)
        assert b"event: a.b" not in reader.received


async def test_lost_feeds_are_counted(platform: Platform) -> None:
    broker = platform.own.backends.broker
    assert isinstance(broker, SqliteBroker)
    async with connected(platform.own), moved(feeds_lost=1):
        broker.lose_feeds("for a test")


async def test_connections_are_told_by_their_state(platform: Platform) -> None:
    def states() -> dict[str, float | None]:
        return {state: gauge("carillon_connections", state=state) for state in ("live", "catching-up", "closing")}

    before = states()
    async with connected(platform.own):
        await eventually(lambda: states() == before | {"live": (before["live"] or 0) + 1})
    await eventually(lambda: states() == before)


async def test_lag_is_told_and_fails_readiness_over_its_limit() -> None:
    """Without a persister: what is published waits, and the log has nobody to dispatch it."""
    async with own_edge(persisting=False) as own:
        lag = Lag(own.backends, limit_s=0.05)
        await lag.look()
        await lag.probe()
        await own.publish()
        await lag.look()
        await lag.look()
        assert gauge("carillon_intake_waiting") == 1
        await asyncio.sleep(0.06)
        with pytest.raises(NotReady, match=r"1 published events wait, and none was appended for \d+ s"):
            await lag.probe()


async def test_exemplars_lead_to_the_trace_where_openmetrics_is_asked_for(platform: Platform) -> None:
    metrics.delivery_seconds.observe(0.002, "4bf92f3577b34da6a3ce929d0e0e4736")
    client = platform.own.app.test_client()
    answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in text_string_to_metric_families(await answer.get_data(as_text=True))}
    exemplars = [sample.exemplar for sample in families["carillon_delivery_seconds"].samples if sample.exemplar]
    assert "4bf92f3577b34da6a3ce929d0e0e4736" in [exemplar.labels["trace_id"] for exemplar in exemplars]


def test_every_counter_is_expected_to_move_by_some_test() -> None:
    unit_tests = Path(__file__).parents[1] / "unit"
    others = [(unit_tests / name).read_text() for name in ("test_span_queue.py", "test_receipts.py")]
    here = "".join((Path(__file__).read_text(), Path(__file__).with_name("test_rules.py").read_text(), *others))
    counted = {name.split("__")[0] for name in counters()} | {
        "events_duplicate",
        "events_refused",
        "refusals",
        "dead_letters",
    }
    assert not [name for name in counted if not re.search(rf"\b{name}", here)]
