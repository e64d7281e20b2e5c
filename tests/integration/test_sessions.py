"""Sessions, their cookies and tickets: who gets a stream, until when, and what ends it on every edge."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.eventually import answered
from tests.harness.checker import Confirmed
from tests.harness.platform import FourServices, Platform
from tests.harness.shared import BOTH_ADAPTERS, FOUR_SERVICES, bare_services, shared_platform
from tests.harness.visitor import Stream, Visitor, Visitors

pytestmark = pytest.mark.servers

# Far less than until a heartbeat fails or a session is over, which would end a stream in the end as well.
AT_ONCE_S = 10.0
TTL_S, EXPIRING_S, TICKET_TTL_S = 4.0, 1.5, 1.0
COOKIE = re.compile(r"carillon=[\w-]+\.[\w-]+\.[\w-]+; Expires=[^;]+; Max-Age=(\d+); HttpOnly; Path=/; SameSite=Lax")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BOTH_ADAPTERS)
async def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Tells all that it does, so that a secret in its output is found."""
    async with shared_platform(request, tmp_path_factory, log_level="debug") as ready:
        yield ready


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BOTH_ADAPTERS)
async def hasty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Sessions of seconds."""
    settings = {"session_ttl_s": TTL_S, "session_expiring_s": EXPIRING_S, "ticket_ttl_s": TICKET_TTL_S}
    async with shared_platform(request, tmp_path_factory, **settings) as ready:
        yield ready


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=FOUR_SERVICES)
async def no_edges(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FourServices]:
    async with bare_services(request, tmp_path_factory) as ready:
        yield ready


def edges(platform: Platform) -> range:
    return range(len(platform.edge_urls))


async def open_everywhere(visitor: Visitor, platform: Platform) -> list[Stream]:
    return [await visitor.open(edge) for edge in edges(platform)]


async def closed_at_once(streams: Sequence[Stream], since: float) -> set[str | None]:
    """Their reasons, once they have ended in time."""
    reasons = {await stream.closed() for stream in streams}
    latest = max(stream.ended_at or 0.0 for stream in streams) - since
    assert latest < AT_ONCE_S, f"the last stream ended after {latest:.2f} s"
    return reasons


async def is_refused_everywhere(visitor: Visitor, platform: Platform) -> bool:
    """As a session and for a stream, on each edge, with the challenge that RFC 9110 asks of a 401."""
    answers = [await visitor.ask("GET", "/v1/session", edge) for edge in edges(platform)]
    answers += [await visitor.refused(edge) for edge in edges(platform)]
    return all(is_unauthorized(answer) for answer in answers)


def is_unauthorized(answer: httpx.Response) -> bool:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_bearer_becomes_a_cookie_that_says_who_and_until_when(platform: Platform) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        visitor = visitors.visitor("exchange", "topic:builds", "topic:jobs/*")
        began_at = time.time()
        opened = await visitor.sign_in()
        shown = [await visitor.ask("GET", "/v1/session", edge) for edge in edges(platform)]
        stream = await visitor.open()
        for audience in ("user:exchange", "topic:builds", "topic:jobs/1", f"session:{visitor.sid}", "everyone"):
            await publisher.publish(audience)
        await visitors.keep_their_promises(publisher)

    attributes = COOKIE.fullmatch(opened.headers["set-cookie"])
    assert attributes, opened.headers["set-cookie"]
    # The token ends before the session would.
    assert 3500 <= int(attributes[1]) <= 3600
    assert opened.headers["cache-control"] == "no-store"
    about = opened.json()
    assert about["sub"] == "exchange"
    assert about["tags"] == sorted(
        {"user:exchange", "everyone", f"session:{about['sid']}", "topic:builds", "topic:jobs/*"}
    )
    assert 3500 <= about["expires_in"] <= 3600
    assert 3500 <= about["expires_at"] - began_at <= 3601
    for answer in shown:
        assert answer.json() | {"expires_in": 0} == about | {"expires_in": 0}
        assert "set-cookie" not in answer.headers
    assert len(stream.received) == 4


async def test_over_https_only_the_cookie_takes_the_host_prefix(no_edges: FourServices) -> None:
    await no_edges.add_edge(cookie_secure=True)
    async with Visitors(no_edges) as visitors:
        visitor = visitors.visitor("host")
        last = len(no_edges.edges) - 1
        cookie = (await visitor.sign_in(last)).headers["set-cookie"]
        deleted = (await visitor.ask("DELETE", "/v1/session", last)).headers["set-cookie"]

    assert cookie.startswith("__Host-carillon=")
    assert cookie.endswith("; Secure; HttpOnly; Path=/; SameSite=Lax")
    assert deleted.startswith("__Host-carillon=; ")
    assert "Max-Age=0; Secure; HttpOnly; Path=/; SameSite=Lax" in deleted


async def test_signing_out_ends_the_streams_of_the_session_on_every_edge(platform: Platform) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        leaving, staying = visitors.visitor("leaver"), visitors.visitor("leaver")
        await leaving.sign_in()
        await staying.sign_in()
        streams = await open_everywhere(leaving, platform)
        others = await open_everywhere(staying, platform)
        ticket = await leaving.ticket()
        before = await publisher.publish("user:leaver")
        for stream in (*streams, *others):
            await stream.has(before.attributes["id"])
        began = time.monotonic()
        answer = await leaving.ask("DELETE", "/v1/session", edges(platform)[-1])
        assert await closed_at_once(streams, began) == {"session-revoked"}
        assert await is_refused_everywhere(leaving, platform)
        by_ticket = await visitors.visitor("leaver").refused(query={"ticket": ticket})
        again = await leaving.ask("DELETE", "/v1/session")
        await publisher.publish("user:leaver")
        await visitors.keep_their_promises(publisher)

    assert (answer.status_code, answer.content) == (204, b"")
    assert re.match(
        r"carillon=; Expires=[^;]+; Max-Age=0; HttpOnly; Path=/; SameSite=Lax", answer.headers["set-cookie"]
    )
    assert is_unauthorized(by_ticket)
    assert again.status_code == 204
    assert [stream.frames[-1].data for stream in streams] == [
        {"reason": "session-revoked", "reconnect": False} for _ in streams
    ]
    assert all(len(stream.received) == 1 for stream in streams)
    assert all(len(stream.received) == 2 for stream in others)


async def test_signing_out_everywhere_ends_what_was_opened_before_and_nothing_else(platform: Platform) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        before = [visitors.visitor("roamer") for _ in range(2)]
        streams = []
        for number, visitor in enumerate(before):
            await visitor.sign_in(number % len(platform.edge_urls))
            streams += await open_everywhere(visitor, platform)
        by_bearer = visitors.visitor("roamer")
        streams.append(await by_bearer.open(headers=by_bearer.bearer))
        stranger = visitors.visitor("stranger")
        await stranger.sign_in()
        untouched = await open_everywhere(stranger, platform)

        began = time.monotonic()
        answer = await before[0].ask("DELETE", "/v1/session?everywhere=1")
        assert answer.status_code == 204
        assert await closed_at_once(streams, began) == {"session-revoked"}
        for visitor in before:
            assert await is_refused_everywhere(visitor, platform)
        after = visitors.visitor("roamer")
        await after.sign_in()
        alive = await open_everywhere(after, platform)
        await publisher.publish("user:roamer user:stranger")
        await visitors.keep_their_promises(publisher)

    assert all(len(stream.received) == 1 for stream in [*alive, *untouched])


async def test_signing_in_again_replaces_the_session(platform: Platform) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        visitor = visitors.visitor("promoted", "topic:old")
        await visitor.sign_in()
        former = visitor.cookie
        streams = await open_everywhere(visitor, platform)
        await publisher.publish("topic:old topic:new")
        for stream in streams:
            await stream.until(lambda stream: stream.received)
        began = time.monotonic()
        visitor.tags = ("topic:new",)
        await visitor.sign_in(token=visitor.new_token())
        assert await closed_at_once(streams, began) == {"session-replaced"}
        resumed = [
            await visitor.open(edge, headers={"Last-Event-ID": str(stream.cursor)})
            for edge, stream in enumerate(streams)
        ]
        for audience in ("topic:old", "topic:new"):
            await publisher.publish(audience)
        with_former = visitors.visitor("promoted")
        with_former.cookie = former
        assert await is_refused_everywhere(with_former, platform)
        await visitors.keep_their_promises(publisher)

    assert all(stream.frames[-1].data["reconnect"] for stream in streams)
    assert all(len(stream.received) == 1 for stream in resumed)


async def test_signing_in_as_somebody_else_leaves_the_former_users_session_alone(platform: Platform) -> None:
    async with Visitors(platform) as visitors:
        first, second = visitors.visitor("first"), visitors.visitor("second")
        await first.sign_in()
        second.cookie = first.cookie
        await second.sign_in()
        answer = await first.ask("GET", "/v1/session")
    assert answer.json()["sub"] == "first"


async def test_tickets_are_good_once_on_any_edge_however_they_were_asked_for(platform: Platform) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        visitor, bare = visitors.visitor("ticketed", "topic:builds"), visitors.visitor("ticketed", "topic:builds")
        here, there = edges(platform)[0], edges(platform)[-1]
        by_bearer = await bare.ticket(here, headers=bare.bearer)
        await visitor.sign_in(here)
        by_cookie = await visitor.ticket(there)
        bare_stream = await bare.open(there, query={"ticket": by_bearer})
        bare.sid = visitor.sid
        streams = [bare_stream, await bare.open(here, query={"ticket": by_cookie})]
        used = [
            await bare.refused(edge, query={"ticket": ticket})
            for ticket in (by_bearer, by_cookie)
            for edge in (here, there)
        ]
        await publisher.publish("topic:builds")
        await publisher.publish(f"session:{visitor.sid}")
        await visitors.keep_their_promises(publisher)

    assert [len(stream.received) for stream in streams] == [1, 2]
    assert all(is_unauthorized(answer) for answer in used)
    assert {answer.json()["field"] for answer in used} == {"ticket"}


async def test_of_two_that_use_one_ticket_at_once_one_gets_a_stream(platform: Platform) -> None:
    async with Visitors(platform) as visitors:
        visitor = visitors.visitor("racer")
        for _ in range(5):
            ticket = await visitor.ticket(headers=visitor.bearer)
            racing = (
                visitor.try_open(edge, query={"ticket": ticket})
                for edge in (edges(platform)[0], edges(platform)[-1]) * 2
            )
            answers = await asyncio.gather(*racing)
            assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]
            await asyncio.gather(*(answer.aclose() for answer in answers))


@pytest.mark.parametrize("ticket", ["never-issued", "x" * 10_000, "%00", "é"])
async def test_what_is_no_ticket_is_refused(platform: Platform, ticket: str) -> None:
    async with Visitors(platform) as visitors:
        answer = await visitors.visitor("forger").refused(query={"ticket": ticket})
    assert is_unauthorized(answer)
    assert ticket not in answer.text


async def test_a_ticket_counts_before_a_cookie_or_a_header(platform: Platform) -> None:
    """Whoever sends one means it: a bad one must not open a stream as somebody else."""
    async with Visitors(platform) as visitors:
        visitor = visitors.visitor("both")
        await visitor.sign_in()
        answer = await visitor.refused(query={"ticket": "bad"}, headers=visitor.bearer)
    assert is_unauthorized(answer)


async def test_a_bearer_in_the_header_opens_a_stream(platform: Platform) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        visitor = visitors.visitor("server", "topic:builds")
        streams = [await visitor.open(edge, headers=visitor.bearer) for edge in edges(platform)]
        await publisher.publish("user:server")
        await publisher.publish("topic:builds")
        await visitors.keep_their_promises(publisher)

    assert all(len(stream.received) == 2 for stream in streams)
    assert all("set-cookie" not in stream.response.headers for stream in streams)


def forged_cookies(cookie: str, token: str) -> dict[str, str]:
    """Each by what is wrong with it."""
    head, payload, signature = cookie.removeprefix("carillon=").split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    everyone = base64.urlsafe_b64encode(json.dumps(claims | {"sub": "root"}).encode()).decode().rstrip("=")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    return {
        "another user": f"{head}.{everyone}.{signature}",
        "no algorithm": f"{unsigned}.{payload}.",
        "half a signature": f"{head}.{payload}.{signature[:20]}",
        "a bearer token": token,
        "8 KB": "x" * 8192,
        "8 KB of dots": "." * 8192,
        "nothing": "",
        "not ASCII": "é",
    }


async def test_forged_and_huge_cookies_are_refused(platform: Platform) -> None:
    async with Visitors(platform) as visitors:
        visitor = visitors.visitor("forged")
        await visitor.sign_in()
        assert visitor.cookie is not None
        as_bearer = await visitor.refused(headers={"Authorization": visitor.cookie.replace("carillon=", "Bearer ")})
        forged = forged_cookies(visitor.cookie, visitor.token)
        for value in forged.values():
            visitor.cookie = f"carillon={value}"
            assert await is_refused_everywhere(visitor, platform), visitor.cookie[:60]
            assert is_unauthorized(await visitor.ask("POST", "/v1/tickets"))
            assert (await visitor.ask("DELETE", "/v1/session")).status_code == 204
        visitor.cookie = f"other={'y' * 8192}; carillon={forged['nothing']}"
        assert await is_refused_everywhere(visitor, platform)
    assert is_unauthorized(as_bearer)


@pytest.mark.parametrize(
    ("authorization", "named"),
    [("", "Authorization"), ("Bearer", "Authorization"), ("Basic YTpi", "Authorization"), ("Bearer x.y.z", "token")],
)
async def test_bad_bearers_are_refused_by_name(platform: Platform, authorization: str, named: str) -> None:
    async with Visitors(platform) as visitors:
        visitor = visitors.visitor("nobody")
        headers = {"Authorization": authorization}
        answers = [await visitor.ask("POST", path, headers=headers) for path in ("/v1/session", "/v1/tickets")]
        answers.append(await visitor.refused(headers=headers))
    assert all(is_unauthorized(answer) for answer in answers)
    assert {answer.json()["field"] for answer in answers} == {named}


async def test_nothing_secret_is_told(platform: Platform) -> None:
    """Tokens, cookies and tickets, good and bad ones, with everything logged that can be."""
    async with Visitors(platform) as visitors:
        visitor = visitors.visitor("discreet")
        await visitor.sign_in()
        used, unused = await visitor.ticket(), await visitor.ticket(headers=visitor.bearer)
        await visitor.open(query={"ticket": used})
        await visitor.refused(query={"ticket": used})
        await visitor.open(headers=visitor.bearer)
        forged = f"{visitor.token[:-4]}AAAA"
        await visitor.refused(headers={"Authorization": f"Bearer {forged}"})
        await visitor.open()
        await visitor.ask("DELETE", "/v1/session?everywhere=1")
        secrets = {*visitors.secrets, unused, forged, platform.jwt_secret}
    output = "\n".join(service.output for service in platform.services)
    assert len(output) > 1000
    assert [secret for secret in secrets if any(part in output for part in telling_parts(secret))] == []


def telling_parts(secret: str) -> list[str]:
    """Loggers cut long lines, and the head of a JWT is everybody's: what is left of it must not be there either."""
    whole = secret.split(".", 1)[-1]
    return [whole[:24], whole[-24:]]


# Sessions of seconds.


async def test_a_session_that_is_used_is_renewed(hasty: Platform) -> None:
    async with Visitors(hasty) as visitors:
        visitor = visitors.visitor("busy")
        first, by_ask, by_stream, last = await answered(lambda: renewed_twice(visitor), TooLate)

    assert COOKIE.fullmatch(by_ask)
    assert COOKIE.fullmatch(by_stream)
    assert last["sid"] == first["sid"]
    assert last["expires_at"] > first["expires_at"]


class TooLate(Exception):
    """The machine stood still, and a session of seconds was over before anybody could look."""


async def renewed_twice(visitor: Visitor) -> tuple[dict[str, Any], str, str, dict[str, Any]]:
    """(the session at first, the cookie that a request brought, the one that a stream brought, the session at last)."""
    first = (await visitor.sign_in()).json()
    by_ask = await renewal(visitor, "/v1/session")
    visitor.keep_cookie(by_ask)
    by_stream = await renewal(visitor, "/v1/events")
    visitor.keep_cookie(by_stream)
    last = await visitor.ask("GET", "/v1/session")
    is_still_there(last)
    return first, by_ask.headers["set-cookie"], by_stream.headers["set-cookie"], last.json()


async def renewal(visitor: Visitor, path: str) -> httpx.Response:
    """The first answer that brings a new cookie; before half of its time is over there is none."""

    async def ask() -> httpx.Response:
        answer = await visitor.try_open() if path == "/v1/events" else await visitor.ask("GET", path)
        await answer.aclose()
        is_still_there(answer)
        assert "set-cookie" in answer.headers
        return answer

    answer = await answered(ask, AssertionError)
    # Both are whole seconds.
    assert end_of(answer.headers["set-cookie"]) - end_of(str(visitor.cookie)) > TTL_S / 2 - 1
    return answer


def end_of(cookie: str) -> int:
    """When the session is over that the cookie is for."""
    payload = cookie.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return int(claims["exp"])


def is_still_there(answer: httpx.Response) -> None:
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise TooLate


async def test_a_session_is_not_renewed_beyond_its_token(hasty: Platform) -> None:
    async with Visitors(hasty) as visitors:
        visitor = visitors.visitor("brief")

        async def opened() -> tuple[httpx.Response, Stream]:
            signed_in = await visitor.sign_in(token=visitor.new_token(ttl_s=2))
            return signed_in, await visitor.open()

        # Again where a busy machine opened it too late.
        signed_in, stream = await answered(opened, AssertionError)
        assert await stream.closed() == "session-expired"
        answer = await visitor.ask("GET", "/v1/session")
    assert signed_in.json()["expires_in"] <= 2
    assert is_unauthorized(answer)


async def test_the_end_of_a_session_is_announced_and_ends_its_streams(hasty: Platform) -> None:
    async with hasty.publisher() as publisher, Visitors(hasty) as visitors:
        visitor = visitors.visitor("idle")

        async def announced() -> tuple[float, list[Stream], Confirmed]:
            ends_at = (await visitor.sign_in()).json()["expires_at"]
            streams = await open_everywhere(visitor, hasty)
            streams.append(await visitor.open(query={"ticket": await visitor.ticket()}))
            event = await publisher.publish("user:idle")
            for stream in streams:
                await stream.until(lambda stream: stream.named("session-expiring") or not stream.is_open)
                # An edge that stands still until the end announces nothing any more.
                assert stream.named("session-expiring")
            return ends_at, streams, event

        # Again where a busy machine was too late for one of them.
        ends_at, streams, before = await answered(announced, AssertionError)
        assert time.time() > ends_at - EXPIRING_S - 1
        assert {await stream.closed() for stream in streams} == {"session-expired"}
        assert time.time() > ends_at - 1
        assert await is_refused_everywhere(visitor, hasty)
        assert is_unauthorized(await visitor.ask("POST", "/v1/tickets"))
        await visitor.sign_in()
        resumed = await visitor.open(headers={"Last-Event-ID": str(streams[0].cursor)})
        after = await publisher.publish("user:idle")
        await visitors.keep_their_promises(publisher)

    for stream in streams:
        [expiring] = stream.named("session-expiring")
        assert expiring["expires_in"] in range(int(EXPIRING_S) + 1)
        assert stream.frames[-1].data == {"reason": "session-expired", "reconnect": False}
    assert [*streams[0].received, *resumed.received] == [each.attributes["id"] for each in (before, after)]


async def test_a_ticket_is_good_for_seconds(hasty: Platform) -> None:
    async with Visitors(hasty) as visitors:
        visitor = visitors.visitor("late")
        issued = await visitor.ask("POST", "/v1/tickets", headers=visitor.bearer)
        await asyncio.sleep(TICKET_TTL_S + 0.1)
        answer = await visitor.refused(query={"ticket": issued.json()["ticket"]})
    assert issued.json()["expires_in"] == TICKET_TTL_S
    assert issued.headers["cache-control"] == "no-store"
    assert is_unauthorized(answer)


# Changing the secret.


async def test_the_session_secret_is_changed_under_way(no_edges: FourServices) -> None:
    """First every edge learns to verify the next one, then each signs with it: nobody is signed out."""
    old, new = "o" * 32, "n" * 32
    async with no_edges.publisher() as publisher, Visitors(no_edges) as visitors:
        settings = {"session_secret": old}, {"session_secret": old, "session_secret_previous": new}
        begun = len(no_edges.edges)
        before, learned = [await no_edges.add_edge(**each) for each in settings]
        visitor = visitors.visitor("patient")
        await visitor.sign_in(begun)
        stream = await visitor.open(begun + 1)
        await publisher.publish("user:patient")
        await stream.until(lambda stream: stream.received)
        before.terminate()
        assert await before.ended() == 0

        await no_edges.add_edge(session_secret=new, session_secret_previous=old)
        resumed = await visitor.open(begun + 2, headers={"Last-Event-ID": str(stream.cursor)})
        ticket = await visitor.ticket(begun + 1)
        by_ticket = await visitor.open(begun + 2, query={"ticket": ticket})
        newer = visitors.visitor("patient")
        await newer.sign_in(begun + 2)
        by_new_key = await newer.open(begun + 1)
        await publisher.publish("user:patient")
        await visitors.keep_their_promises(publisher)

        learned.terminate()
        assert await learned.ended() == 0
        await no_edges.add_edge(session_secret=new)
        forgotten = await visitor.refused(begun + 3)
        assert (await newer.ask("GET", "/v1/session", begun + 3)).status_code == 200

    assert is_unauthorized(forgotten)
    assert [len(each.received) for each in (stream, resumed, by_ticket, by_new_key)] == [2, 1, 1, 1]
