"""Who is connected: listed over all edges for operators, told as events, and closed by their word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from infra.local.servers import MongoServer, RabbitServer
from services.edge import control
from services.edge.presence import FLUSH_EVERY_S
from tests.eventually import WITHIN_S, answered
from tests.harness.platform import PATIENT, FourServices, Platform, four_services
from tests.harness.reader import Reader
from tests.harness.shared import BOTH_ADAPTERS, shared_platform
from tests.harness.visitor import Stream, Visitors

pytestmark = pytest.mark.servers

OPERATOR = {"Authorization": "Bearer operator-key"}
SETTINGS: dict[str, Any] = {"operator_keys": "ops=operator-key,other=other-key", "presence": True}
FEW = 20


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BOTH_ADAPTERS)
async def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    async with shared_platform(request, tmp_path_factory, **SETTINGS) as ready:
        yield ready


def edges(platform: Platform) -> range:
    return range(len(platform.edge_urls))


async def ask(
    visitors: Visitors,
    method: str,
    path: str = "",
    edge: int = 0,
    headers: Mapping[str, str] = OPERATOR,
    query: Mapping[str, str] | None = None,
) -> httpx.Response:
    """An operator's question."""
    url = f"{visitors.urls[edge]}/v1/connections{path}"
    return await visitors.http.request(method, url, headers=headers, params=dict(query or {}))


async def listed(visitors: Visitors, user: str, edge: int = 0) -> list[dict[str, Any]]:
    answer = await ask(visitors, "GET", edge=edge, query={"user": user})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["connections"])


async def are_listed(
    visitors: Visitors,
    user: str,
    streams: list[Stream],
    by: Sequence[int] | None = None,
) -> None:
    """Returns once all edges, or those numbered, list just these streams of the user's."""

    async def look() -> None:
        for edge in edges(visitors.platform) if by is None else by:
            assert {each["id"] for each in await listed(visitors, user, edge)} == set(map(id_of, streams))

    await answered(look, AssertionError)


def id_of(stream: Stream) -> str:
    return str(stream.named("connected")[0]["connection"])


async def test_every_edge_lists_the_connections_of_all(platform: Platform) -> None:
    async with Visitors(platform) as visitors:
        visitor, other = visitors.visitor("listed"), visitors.visitor("unlisted")
        await visitor.sign_in()
        began = datetime.now(UTC) - timedelta(seconds=1)
        streams = [await visitor.open(edge) for edge in edges(platform) for _ in range(2)]
        await other.open(headers=other.bearer)
        await are_listed(visitors, "listed", streams)
        records = await listed(visitors, "listed")
        pages = await pages_of(visitors, "listed", limit=1)
        await streams[0].leave()
        await are_listed(visitors, "listed", streams[1:])

    assert {record["sub"] for record in records} == {"listed"}
    assert {record["sid"] for record in records} == {visitor.sid}
    assert {record["address"] for record in records} == {"127.0.0.1"}
    assert len({record["edge"] for record in records}) == len(platform.edge_urls)
    assert all(began < datetime.fromisoformat(record["opened_at"]) <= datetime.now(UTC) for record in records)
    assert pages == sorted(records, key=lambda record: str(record["id"]))


async def pages_of(visitors: Visitors, user: str, limit: int) -> list[dict[str, Any]]:
    """All records, asked for a few at a time."""
    records: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        answer = (await ask(visitors, "GET", query={"user": user, "limit": str(limit), "after": after})).json()
        records += answer["connections"]
        after = answer["next"]
    return records


async def test_counts_are_by_edge_and_of_this_process(platform: Platform) -> None:
    async with Visitors(platform) as visitors:
        visitor = visitors.visitor("counted")
        await nobody_is_counted(visitors)
        streams = [await visitor.open(edge, headers=visitor.bearer) for edge in edges(platform)]
        await are_listed(visitors, "counted", streams)
        counts = [(await ask(visitors, "GET", "/counts", edge)).json() for edge in edges(platform)]
        for stream in streams:
            await stream.leave()
        await nobody_is_counted(visitors)

    for count in counts:
        assert count["total"] == len(streams)
        assert sorted(count["by_edge"].values()) == [1] * len(streams)
        assert (count["here"]["connections"], count["here"]["users"]) == (1, 1)


async def nobody_is_counted(visitors: Visitors) -> None:
    async def look() -> None:
        for edge in edges(visitors.platform):
            answer = (await ask(visitors, "GET", "/counts", edge)).json()
            assert (answer["total"], answer["by_edge"], answer["here"]["connections"]) == (0, {}, 0)

    await answered(look, AssertionError)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "/counts"), ("DELETE", "?user=secretive"), ("DELETE", "")]
)
async def test_only_operators_ask(platform: Platform, method: str, path: str) -> None:
    async with Visitors(platform) as visitors:
        visitor = visitors.visitor("secretive")
        stream = await visitor.open(headers=visitor.bearer)
        keys = [{}, visitor.bearer, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic operator-key"}]
        keys.append({"Authorization": f"Bearer {platform.producer_key}"})
        answers = [await ask(visitors, method, path, headers=key) for key in keys]
        assert stream.is_open
    assert [answer.status_code for answer in answers] == [401] * len(keys)
    assert all("www-authenticate" in answer.headers for answer in answers)


@pytest.mark.parametrize(
    ("method", "query", "named"),
    [
        ("GET", {"limit": "0"}, "limit"),
        ("GET", {"limit": "1001"}, "limit"),
        ("GET", {"limit": "many"}, "limit"),
        ("GET", {"limit": "9" * 5000}, "limit"),
        ("DELETE", {}, "user"),
        ("DELETE", {"user": ""}, "user"),
        ("DELETE", {"user": "two words"}, "user"),
        ("DELETE", {"user": "x" * 1000}, "user"),
    ],
)
async def test_bad_questions_are_refused_by_name(
    platform: Platform, method: str, query: dict[str, str], named: str
) -> None:
    async with Visitors(platform) as visitors:
        answer = await ask(visitors, method, query=query)
    assert answer.status_code == 400
    assert answer.json()["field"] == named


async def test_who_is_disconnected_everywhere_comes_back_and_misses_nothing(platform: Platform) -> None:
    async with platform.publisher() as publisher, platform.readers() as readers, Visitors(platform) as visitors:
        here = await readers.open_all(["kicked"] * 4)
        others = await readers.open_all(["kept"] * 2)
        for number in range(3):
            for _ in range(FEW):
                await publisher.publish("user:kicked user:kept")
            answer = await ask(visitors, "DELETE", edge=edges(platform)[-1], query={"user": "kicked"})
            assert answer.status_code == 204
            await publisher.publish("user:kicked user:kept")
            # By a stream that has begun since: one that was told to close may still be open.
            await readers.until(partial(all_came_back, here, number + 1), WITHIN_S, "disconnected and back")
        await platform.keeps_its_promises(publisher, readers)

    # Thrice and no more: who came back must not come upon the word that sent them away again.
    closings = [[(closing.reason, closing.reconnect) for closing in reader.closings] for reader in here]
    assert closings == [[("disconnected", True)] * 3] * len(here)
    assert [reader.connections for reader in others] == [1, 1]


def all_came_back(readers: list[Reader], times: int) -> bool:
    return all(len(reader.closings) >= times and reader.connections > times for reader in readers)


async def test_one_session_is_disconnected_and_stays_signed_in(platform: Platform) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        one, other = visitors.visitor("twice"), visitors.visitor("twice")
        await one.sign_in()
        await other.sign_in()
        closing = [await one.open(edge) for edge in edges(platform)]
        staying = [await other.open(edge) for edge in edges(platform)]
        answer = await ask(visitors, "DELETE", query={"user": "twice", "session": str(one.sid)})
        assert {await stream.closed() for stream in closing} == {"disconnected"}
        resumed = await one.open(headers={"Last-Event-ID": str(closing[0].cursor)})
        await publisher.publish("user:twice")
        await visitors.keep_their_promises(publisher)
    assert answer.status_code == 204
    assert all(len(stream.received) == 1 for stream in [*staying, resumed])


async def test_openings_and_closings_are_events_with_their_reason(platform: Platform) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        watcher, outsider = visitors.visitor("watcher", control.PRESENCE_TAG), visitors.visitor("outsider")
        watching = [await watcher.open(edge, headers=watcher.bearer) for edge in edges(platform)]
        blind = await outsider.open(headers=outsider.bearer)
        visitor = visitors.visitor("watched")
        await visitor.sign_in()
        gone, revoked = [await visitor.open(edges(platform)[-1]) for _ in range(2)]
        disconnected = await visitors.visitor("watched-2").open(headers=visitors.visitor("watched-2").bearer)
        await gone.leave()
        # Before anything else: what ends it later would be told as the reason, where its edge is busy.
        of_gone = {id_of(gone): "gone"}
        await watching[0].until(lambda stream: told(stream, of_gone) == of_gone)
        await ask(visitors, "DELETE", query={"user": "watched-2"})
        await disconnected.closed()
        await visitor.ask("DELETE", "/v1/session")
        await revoked.closed()
        expected = {id_of(gone): "gone", id_of(disconnected): "disconnected", id_of(revoked): "session-revoked"}
        for stream in watching:
            await stream.until(lambda stream: told(stream, expected) == expected)
        await visitors.keep_their_promises(publisher)

    for stream in watching:
        opened = {each["connection"]: each for each in events(stream, control.OPENED)}
        closed = {each["connection"]: each for each in events(stream, control.CLOSED)}
        for connection in expected:
            about = {name: opened[connection][name] for name in ("connection", "user", "edge")}
            assert opened[connection] == about
            assert closed[connection] == about | {"reason": expected[connection]}
        assert opened[id_of(gone)]["user"] == "watched"
    assert blind.received == []


def events(stream: Stream, type_: str) -> list[dict[str, Any]]:
    return [each.data["data"] for each in stream.reading.deliveries if each.type == type_]


def told(stream: Stream, connections: dict[str, str]) -> dict[str, str]:
    """The reasons told for these connections."""
    closings = [each for each in events(stream, control.CLOSED) if each["connection"] in connections]
    return {each["connection"]: each["reason"] for each in closings}


async def test_the_connections_of_a_killed_edge_are_lost_once(
    tmp_path: Path, rabbitmq: RabbitServer, mongodb: MongoServer
) -> None:
    async with four_services(tmp_path, rabbitmq.url, mongodb.url, edges=3, **PATIENT, **SETTINGS) as platform:
        await loses_an_edge(platform)


async def loses_an_edge(platform: FourServices) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        watcher, visitor = visitors.visitor("watcher", control.PRESENCE_TAG), visitors.visitor("unlucky")
        survivors = (0, 1)
        watching = [await watcher.open(edge, headers=watcher.bearer) for edge in survivors]
        lost = [await visitor.open(2, headers=visitor.bearer) for _ in range(3)]
        kept = await visitor.open(0, headers=visitor.bearer)
        await are_listed(visitors, "unlucky", [*lost, kept], by=survivors)
        platform.edges[2].kill()
        assert {await stream.closed() for stream in lost} == {None}
        await are_listed(visitors, "unlucky", [kept], by=survivors)
        expected = {id_of(stream): "edge-lost" for stream in lost}
        for stream in watching:
            await stream.until(lambda stream: told(stream, expected) == expected)
        # Whoever else believes that it must tell does so within a flush.
        await asyncio.sleep(2 * FLUSH_EVERY_S)
        entries = await visitors.keep_their_promises(publisher)

    told_ids = [entry.id for entry in entries if entry.type == control.CLOSED]
    assert sorted(told_ids) == sorted(f"{connection}.closed" for connection in expected)
