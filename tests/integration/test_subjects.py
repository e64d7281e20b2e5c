"""Streams by subject and lists of them over HTTP, on both sets of adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from services.edge import subjects
from shared.folds import streams
from shared.model.errors import ModelMissing
from tests.eventually import answered
from tests.harness.own_edge import OwnEdge, own_edge


class Viewer:
    """Somebody who asks the edge."""

    def __init__(self, own: OwnEdge, user: str, **claims: Any) -> None:
        self._own, self._headers = own, own.bearer(user, **claims)
        self._client = own.app.test_client()

    async def get(self, path: str) -> tuple[int, Any]:
        answer = await self._client.get(path, headers=self._headers)
        return answer.status_code, await answer.get_json(force=True)

    async def stream(self, subject: str, **query: str) -> dict[str, Any]:
        status, document = await self.get(f"/v1/streams/{subject}")
        assert status == 200, document
        return dict(document)

    async def listed(self, query: str = "") -> dict[str, Any]:
        status, document = await self.get(f"/v1/streams{query}")
        assert status == 200, document
        return dict(document)


@pytest.fixture
async def own() -> AsyncIterator[OwnEdge]:
    async with own_edge() as made:
        await folded(made)
        yield made


async def told(own: OwnEdge, subject: str, data: Any, audience: str = "user:alice", **attributes: Any) -> None:
    """Publishes an event of the stream, and waits until the log has it."""
    id_ = await own.publish(audience, subject=subject, data=data, **attributes)

    async def is_there() -> None:
        page = await own.backends.event_log.read(0, 10_000)
        assert any(entry.id == id_ for entry in page.entries)

    await answered(is_there, AssertionError)


async def folded(own: OwnEdge) -> None:
    """Waits until lists hold all of the log."""

    async def is_folded() -> None:
        found = await own.backends.read_models.read("streams", streams.stream("x"))
        assert found.generation.position == (await own.backends.event_log.head()).last

    await answered(is_folded, AssertionError, ModelMissing)


async def test_the_life_of_a_job(own: OwnEdge) -> None:
    alice = Viewer(own, "alice")
    assert (await alice.get("/v1/streams/job/1"))[0] == 404
    await told(own, "job/1", {"status": "running", "progress": 10, "steps": {"a": {"status": "running"}}})
    running = await alice.stream("job/1")
    assert (running["status"], running["progress"], running["version"], running["final"]) == ("running", 10, 1, False)
    assert running["ended_at"] is None
    await told(own, "job/1", {"status": "completed", "steps": {"a": {"status": "passed"}}}, final="true")
    ended = await alice.stream("job/1")
    assert (ended["status"], ended["version"], ended["final"]) == ("completed", 2, True)
    assert ended["state"]["steps"]["a"]["duration_ms"] >= 0
    assert ended["duration_ms"] >= 0
    head = await own.backends.event_log.head()
    assert ended["cursor"] == f"{head.log_id}.{head.last}"


async def test_what_is_not_folded_yet_comes_from_the_log(own: OwnEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the fold had come to version 3 of 7: the edge adds the rest itself, page by page."""
    monkeypatch.setattr(subjects, "PAGE_EVENTS", 2)
    for progress in range(1, 8):
        await told(own, "job/1", {"progress": progress})
    await folded(own)
    models, older = own.backends.read_models, streams.Stream("job/1")
    for entry in (await own.backends.event_log.read_stream("job/1", 0, 3)).entries:
        older.add(entry)
    at = (await models.read("streams", streams.stream("job/1"))).generation
    await models.commit(at, {"streams": {"job/1": older.row()}}, at.position)
    shown = await Viewer(own, "alice").stream("job/1")
    assert (shown["version"], shown["progress"]) == (7, 7)
    monkeypatch.setattr(subjects, "MAX_UNFOLDED_EVENTS", 2)
    assert (await Viewer(own, "alice").get("/v1/streams/job/1"))[0] == 503, (
        "what is far behind is not shown as if it were now"
    )


class TestWhoSees:
    async def test_a_foreign_stream_is_not_there(self, own: OwnEdge) -> None:
        await told(own, "job/1", {"status": "running"})
        await folded(own)
        bob = Viewer(own, "bob")
        foreign, unknown = await bob.get("/v1/streams/job/1"), await bob.get("/v1/streams/job/2")
        assert foreign[0] == unknown[0] == 404
        assert foreign[1]["detail"].replace("job/1", "") == unknown[1]["detail"].replace("job/2", "")
        listed = await bob.listed("?prefix=job/")
        assert (listed["items"], listed["counts"]) == ([], {})

    async def test_everyone_and_topics(self, own: OwnEdge) -> None:
        await told(own, "job/1", {"n": 1}, "topic:builds")
        await told(own, "job/2", {"n": 2}, "everyone")
        plain, granted = Viewer(own, "bob"), Viewer(own, "carol", tags=["topic:builds"])
        asking = Viewer(own, "dave", tags=["topic:build*"])
        assert (await plain.get("/v1/streams/job/1"))[0] == 404
        assert (await plain.stream("job/2"))["state"] == {"n": 2}
        assert (await granted.stream("job/1"))["state"] == {"n": 1}
        assert (await asking.get("/v1/streams/job/1"))[0] == 404, "a pattern is asked for by name"
        assert (await asking.stream("job/1?topics=builds"))["state"] == {"n": 1}
        assert (await plain.get("/v1/streams/job/1?topics=builds"))[0] == 403

    async def test_each_sees_the_fold_of_what_they_may_see(self, own: OwnEdge) -> None:
        await told(own, "job/1", {"status": "running", "secret": "of alice"})
        await told(own, "job/1", {"status": "failed", "error": "boom"}, "user:alice topic:ops")
        await folded(own)
        alice, ops = Viewer(own, "alice"), Viewer(own, "bob", tags=["topic:ops"])
        assert (await alice.stream("job/1"))["state"] == {"status": "failed", "secret": "of alice", "error": "boom"}
        seen = await ops.stream("job/1")
        assert seen["state"] == {"status": "failed", "error": "boom"}
        (item,) = (await ops.listed("?prefix=job/"))["items"]
        assert (item["subject"], item["status"], item["version"]) == ("job/1", "failed", 2)
        assert item["started_at"] == seen["started_at"]
        assert (await Viewer(own, "carol").get("/v1/streams/job/1"))[0] == 404

    async def test_an_event_for_somebody_else_takes_nothing_away(self, own: OwnEdge) -> None:
        await told(own, "job/1", {"n": 1})
        await told(own, "job/1", {"n": 2, "status": "completed"}, "user:bob")
        await told(own, "job/1", {"n": 3}, "")
        for user, state, is_final in (("alice", {"n": 1}, False), ("bob", {"n": 2, "status": "completed"}, True)):
            seen = await Viewer(own, user).stream("job/1")
            assert (seen["state"], seen["final"]) == (state, is_final)
        await folded(own)
        (item,) = (await Viewer(own, "alice").listed())["items"]
        assert (item["status"], item["final"], item["version"]) == (None, False, 1)

    async def test_nobody_without_a_session(self, own: OwnEdge) -> None:
        client = own.app.test_client()
        for path in ("/v1/streams", "/v1/streams/job/1"):
            assert (await client.get(path)).status_code == 401


class TestLists:
    async def test_newest_first_paged_with_counts(self, own: OwnEdge) -> None:
        for number in range(7):
            await told(own, f"job/{number}", {"status": "running", "progress": number})
        await told(own, "job/3", {"status": "failed"})
        await told(own, "order/1", {"status": "running"})
        await told(own, "job/x", {"status": "running"}, "user:bob")
        await folded(own)
        alice = Viewer(own, "alice")
        subjects_seen: list[str] = []
        query = "?prefix=job/&limit=3"
        while True:
            page = await alice.listed(query)
            subjects_seen += [item["subject"] for item in page["items"]]
            assert page["counts"] == {"running": 6, "failed": 1}
            if page["next"] is None:
                break
            query = f"?prefix=job/&limit=3&cursor={page['next']}"
        assert subjects_seen == [f"job/{number}" for number in (6, 5, 4, 3, 2, 1, 0)]
        (failed,) = (await alice.listed("?prefix=job/&status=failed"))["items"]
        assert (failed["subject"], failed["progress"], failed["final"]) == ("job/3", 3, True)
        assert "state" not in failed
        both = await alice.listed("?status=failed,running&limit=100")
        assert len(both["items"]) == 8
        head = await own.backends.event_log.head()
        assert page["cursor"] == f"{head.log_id}.{head.last}"

    async def test_counting_ends(self, own: OwnEdge, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams, "MAX_COUNTED", 2)
        for number in range(4):
            await told(own, f"job/{number}", {"status": "running"})
        await folded(own)
        listed = await Viewer(own, "alice").listed()
        assert (listed["counts"], listed["counts_limit"], len(listed["items"])) == ({"running": 2}, 1, 4)

    async def test_subjects_of_several_parts(self, own: OwnEdge) -> None:
        for subject in ("wf/7/a", "wf/7/b/c", "wf/8/a", "wf"):
            await told(own, subject, {"status": "running"})
        await folded(own)
        alice = Viewer(own, "alice")
        for prefix, count in (("", 4), ("wf/", 3), ("wf/7/", 2), ("wf/9/", 0)):
            assert len((await alice.listed(f"?prefix={prefix}"))["items"]) == count


class TestBadInput:
    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("?limit=0", "limit"),
            ("?limit=101", "limit"),
            ("?limit=ten", "limit"),
            ("?limit=%C2%B2", "limit"),
            ("?status=done", "status"),
            ("?status=", "status"),
            ("?prefix=job", "prefix"),
            ("?prefix=a/b/c/", "prefix"),
            (f"?prefix={'x' * 3000}/", "prefix"),
            ("?cursor=x", "cursor"),
            ("?cursor=otherlog00.7", "cursor"),
            ("?sort=up", "sort"),
            ("?topics=", "topics"),
        ],
    )
    async def test_a_list(self, own: OwnEdge, query: str, field: str) -> None:
        status, problem = await Viewer(own, "alice").get(f"/v1/streams{query}")
        assert (status, problem["field"]) == (400, field), problem
        assert problem["fix"]

    async def test_a_cursor_beyond_all_numbers(self, own: OwnEdge) -> None:
        await told(own, "job/1", {"status": "running"})
        await folded(own)
        log_id = (await own.backends.event_log.head()).log_id
        alice = Viewer(own, "alice")
        assert len((await alice.listed(f"?cursor={log_id}.9999999999999999999"))["items"]) == 1
        assert (await alice.listed(f"?cursor={log_id}.0"))["items"] == []

    @pytest.mark.parametrize("subject", ["job//1", "/job", "job/", "a b", "ä/ö?&#%", "x" * 2000, "."])
    async def test_awkward_subjects_are_found(self, own: OwnEdge, subject: str) -> None:
        await told(own, subject, {"n": 1})
        assert (await Viewer(own, "alice").stream(quote(subject)))["subject"] == subject

    async def test_an_unknown_parameter_is_named(self, own: OwnEdge) -> None:
        status, problem = await Viewer(own, "alice").get("/v1/streams/job/1?state=1")
        assert (status, problem["field"]) == (400, "state")


async def test_a_page_and_what_comes_after_it_join_at_the_cursor(own: OwnEdge) -> None:
    """Writes race with loads: each list, continued by the log above its cursor, is the whole."""
    writing = asyncio.create_task(_write(own, 60))
    alice = Viewer(own, "alice")
    while not writing.done():
        listed = await alice.listed("?prefix=job/&limit=100")
        _, position = listed["cursor"].split(".")
        known = {item["subject"]: item["version"] for item in listed["items"]}
        for entry in (await own.backends.event_log.read(int(position), 10_000)).entries:
            assert entry.version == known.get(entry.subject or "", 0) + 1, "a gap or a repeat"
            known[entry.subject or ""] = entry.version
    await writing


async def _write(own: OwnEdge, count: int) -> None:
    for number in range(count):
        await own.publish("user:alice", subject=f"job/{number % 9}", data={"progress": number})
        if number % 7 == 0:
            await asyncio.sleep(0.01)
