"""The console without a browser: who gets in, what is found, what the figures say, and what it makes of bad input."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from quart.typing import TestClientProtocol as Client

from services.console.figures import charts, figures, grown, percentile, rates
from services.console.live import frame
from services.console.operators import OperatorCookie, Operators
from services.console.sampling import Sample, Sampler, measured
from services.console.search import SCANNED, SHOWN, Search, Wanted
from services.console.service import open_console
from services.console.wording import number
from shared.conformance.samples import NOON
from shared.embedded import open_embedded
from shared.model.entry import Entry
from shared.model.errors import BrokerUnavailable, InvalidInput
from shared.model.settings import Settings
from shared.ports.event_log import EventLog
from shared.telemetry import metrics
from shared.web.app import make_app
from shared.wiring import Backends
from tests.eventually import eventually
from tests.unit.test_lines import an_entry

SETTINGS = Settings(operator_keys=SecretStr("ops=key-of-ops"), viewer_keys=SecretStr("eve=key-of-eve"))
HTML = {"Accept": "text/html"}


async def away() -> None:
    raise BrokerUnavailable("<b>refused</b>")


@asynccontextmanager
async def console(settings: Settings = SETTINGS) -> AsyncIterator[tuple[Client, Backends]]:
    """A client of a console on empty backends, one of whose parts is away."""
    async with open_embedded(None) as opened:
        backends = Backends(*opened)
        probes = {"broker": away, "log": backends.event_log.head}
        async with open_console(settings, backends, probes, asyncio.Event()) as pages:
            app = make_app("console", settings, pages, probes={})
            yield app.test_client(), backends


async def sign_in(client: Client, key: str) -> Any:
    # The test client keeps cookies as a browser on https does.
    return await client.post("/console/login", form={"key": key, "next": "/console/events?type=a"}, scheme="https")


async def append(log: EventLog, entries: list[Entry]) -> None:
    fence = await log.claim("test", 60, force=True)
    assert fence is not None
    await log.append(fence, [replace(entry, position=at) for at, entry in enumerate(entries, fence.last + 1)])


async def test_nobody_sees_a_page_without_a_key() -> None:
    async with console() as (client, _):
        for path in ("/console", "/console/events", "/console/events/1", "/console/nothing-here"):
            answer = await client.get(path, headers=HTML)
            assert answer.status_code in (303, 404), path
        assert (await client.get("/console/live/overview")).status_code == 401
        refused = await sign_in(client, "key-of-nobody")
        assert refused.status_code == 401
        assert "nobody has this key" in await refused.get_data(as_text=True)


async def test_a_key_opens_the_pages_and_markup_is_text() -> None:
    async with console() as (client, _):
        answer = await sign_in(client, "key-of-ops")
        assert (answer.status_code, answer.location) == (303, "/console/events?type=a")
        cookie = answer.headers["Set-Cookie"]
        assert {"HttpOnly", "Secure", "SameSite=Lax"} <= set(cookie.split("; "))
        overview = await client.get("/console", scheme="https")
        shown = await overview.get_data(as_text=True)
        assert "broker unavailable: &lt;b&gt;refused&lt;/b&gt;" in shown
        assert "script-src 'self'" in overview.headers["Content-Security-Policy"]


@pytest.mark.parametrize("next_", ["https://evil.example", "//evil.example", "/console\\@evil", "/consoles", "/v1"])
async def test_signing_in_leads_nowhere_else(next_: str) -> None:
    async with console() as (client, _):
        answer = await client.post("/console/login", form={"key": "key-of-ops", "next": next_})
        assert answer.location == "/console"


async def test_another_sites_form_is_refused() -> None:
    async with console() as (client, _):
        evil = {"Origin": "https://evil.example"}
        assert (await client.post("/console/login", form={"key": "key-of-ops"}, headers=evil)).status_code == 403
        await sign_in(client, "key-of-ops")
        assert (await client.post("/console/logout", form={"token": "guessed"}, scheme="https")).status_code == 403
        page = await (await client.get("/console", scheme="https")).get_data(as_text=True)
        token = re.findall(r'name="token" value="([^"]+)"', page)[0]
        assert (await client.post("/console/logout", form={"token": token}, scheme="https")).status_code == 303
        assert (await client.get("/console", scheme="https", headers=HTML)).status_code == 303


def test_a_cookie_lasts_as_long_as_its_time_and_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    operators = Operators({"ops": "a"}, {"eve": "b"})
    cookie = OperatorCookie(["secret"], operators.fingerprint, 60, secure=True)
    opened = cookie.open(operators.identify("b", from_loopback=False))
    assert (opened.name, opened.may_act) == ("eve", False)
    value = cookie.sign(opened)
    assert cookie.read(value) == opened
    assert OperatorCookie(["new", "secret"], operators.fingerprint, 60, secure=True).read(value) == opened
    for forged in ("", "x", value + "x", value.replace(".", "..", 1), None):
        assert cookie.read(forged) is None
    # Made an operator or given another key, eve signs in again.
    for changed in (Operators({"ops": "a"}, {"eve": "c"}), Operators({"ops": "a", "eve": "b"}, {})):
        assert OperatorCookie(["secret"], changed.fingerprint, 60, secure=True).read(value) is None
    monkeypatch.setattr("services.console.operators.time.time", lambda: 4e9)
    assert cookie.read(value) is None


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/console/events/2", 404),
        ("/console/events/x", 400),
        ("/console/events/99999999999999999999", 400),
        ("/console/events/%F0%9F%94%94", 400),
        ("/console/events?before=-1", 400),
        ("/console/events?since=yesterday", 400),
        (f"/console/events?type={'a' * 301}", 400),
        ("/console/events?find=%00%27%22%3Cscript%3E&source=[a-z&subject=%25_*", 200),
        ("/console/events/by-id/none", 404),
        ("/console/events/1", 200),
    ],
)
async def test_bad_input_is_told_on_a_page(path: str, status: int) -> None:
    async with console() as (client, backends):
        await append(backends.event_log, [an_entry(id="<img src=x>", data={"html": "<script>"}, audience="user:a")])
        await sign_in(client, "key-of-ops")
        answer = await client.get(path, scheme="https")
        shown = await answer.get_data(as_text=True)
        assert answer.status_code == status, shown
        assert "<img src=x>" not in shown
        assert "<script>" not in shown


async def test_a_search_finds_by_each_term_newest_first_and_pages_to_the_end() -> None:
    async with open_embedded(None) as opened:
        log, journeys = Backends(*opened).event_log, Backends(*opened).journeys
        made = [
            an_entry(
                id=f"e{at}",
                source="/a[b]" if at % 2 else "/s",
                type="order.created" if at % 3 else "order.paid",
                audience="user:rare" if at == 40 else "user:alice",
            )
            for at in range(1, SCANNED + 600)
        ]
        await append(log, [replace(entry, appended_at=NOON + timedelta(seconds=at)) for at, entry in enumerate(made)])
        search = Search(log, journeys)

        async def all_of(wanted: Wanted) -> list[int]:
            found, before = [], None
            while True:
                page = await search.page(wanted, before)
                found += [entry.position for entry in page.entries]
                if page.next is None:
                    return found
                before = page.next

        last = len(made)
        assert await all_of(Wanted()) == list(range(last, 0, -1))
        assert await all_of(Wanted(tag="user:alice")) == [at for at in range(last, 0, -1) if at != 40]
        assert await all_of(Wanted(tag="user:rare")) == [40]
        assert await all_of(Wanted(find="e7")) == [7]
        # An id with its source is found in the log's index, and nothing else is looked at.
        assert (await search.page(Wanted(find="e7", source="/a[b]"))).scanned == 1
        assert await all_of(Wanted(find="e7", source="/s")) == []
        assert await all_of(Wanted(type="order.p*")) == [at for at in range(last, 0, -1) if at % 3 == 0]
        assert await all_of(Wanted(source="/a[b]", type="order.paid", until=str(NOON + timedelta(seconds=20)))) == [
            at for at in range(21, 0, -1) if at % 2 and at % 3 == 0
        ]
        since = Wanted(since=str(NOON + timedelta(seconds=last - 3)))
        assert await all_of(since) == [last, last - 1, last - 2]
        assert len((await search.page(Wanted())).entries) == SHOWN
        # The rare one is found without a look at all the others.
        assert (await search.page(Wanted(tag="user:rare"))).scanned == 1


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match="until"):
        Wanted.of({"until": "12 o'clock"})


def sample(at: float, last: int, **more: Any) -> Sample:
    return Sample(at, last, 0, 0, 0, 0, {}, **more)


def test_rates_leave_out_what_does_not_compare() -> None:
    samples = [
        sample(0, 10),
        sample(5, 20),
        sample(10, 0),
        sample(15, 5),
        sample(20, 900, silent=frozenset({"http://edge/metrics"})),
    ]
    assert list(rates(samples, lambda each: each.last)) == [(5, 2.0), (15, 1.0)]
    assert figures([]).persisted_per_s is None
    assert figures(samples[:2]).persisted_per_s == 2.0
    assert figures(samples[:2]).accepted_per_s is None, "what nobody told is not 0"


@pytest.mark.parametrize(
    ("latency", "share", "expected"),
    [
        ({}, 50, None),
        ({0.1: 0, math.inf: 0}, 50, None),
        ({0.1: 10, math.inf: 10}, 50, 0.05),
        ({0.1: 0, 0.2: 10, math.inf: 10}, 50, 0.15),
        ({0.1: 90, 0.2: 100, math.inf: 100}, 95, 0.15),
        ({0.1: 1, math.inf: 100}, 99, 0.1),
    ],
)
def test_percentiles(latency: dict[float, float], share: int, expected: float | None) -> None:
    assert percentile(latency, share) == (expected if expected is None else pytest.approx(expected))


def test_a_histogram_that_began_anew_counts_whole() -> None:
    assert grown({0.1: 5, math.inf: 9}, {0.1: 7, math.inf: 12}) == {0.1: 2, math.inf: 3}
    assert grown({0.1: 5, math.inf: 9}, {0.1: 1, math.inf: 2}) == {0.1: 1, math.inf: 2}


def test_a_chart_keeps_its_peak_however_many_samples() -> None:
    samples = [sample(at * 5, 0) for at in range(720)]
    samples[333] = replace(samples[333], dead=7)
    chart = next(each for each in charts(samples) if each.name == "Dead letters")
    assert chart.highest == 7
    assert re.search(r"L[\d.]+ 4\.0 ", chart.line), "the peak is drawn at the top"


def test_what_services_count_is_read_off_their_metrics() -> None:
    metrics.delivery_seconds.observe(0.004)
    metrics.deliveries["live"].total += 1
    counted, latency = measured([metrics.REGISTRY.collect()])
    assert counted["carillon_deliveries_total"] >= 1
    assert latency[math.inf] >= latency[0.005] >= 1


def test_percentiles_leave_out_what_a_process_tells_again() -> None:
    """One that was silent for a moment brought all that it had ever counted into the last minute."""
    fast, all_of_time = {0.1: 10, math.inf: 10}, {0.1: 10, 10.0: 900_000, math.inf: 900_000}
    samples = [
        sample(0, 0, latency={0.1: 0, math.inf: 0}, silent=frozenset({"http://edge/metrics"})),
        sample(5, 0, latency=fast, silent=frozenset({"http://edge/metrics"})),
        sample(10, 0, latency=all_of_time),
        sample(15, 0, latency=all_of_time),
    ]
    assert figures(samples).percentiles_ms[99] == pytest.approx(99)
    assert max(chart.highest for chart in charts(samples) if chart.name.startswith("Delivery")) <= 100


@asynccontextmanager
async def answering(body: bytes) -> AsyncIterator[str]:
    """The address of a server that answers everything with this."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"


async def test_an_address_that_tells_no_metrics_is_silent_and_the_others_are_heard() -> None:
    """A page of HTML at one of them ended the sampling for good, and nobody was told."""
    bad = [b"<!DOCTYPE html><p>hello", b'carillon_delivery_seconds_bucket{le="x"} 1\n', b"\xff", b"x 1\n" * 2_000_000]
    async with AsyncExitStack() as stack:
        backends = Backends(*await stack.enter_async_context(open_embedded(None)))
        silent = [await stack.enter_async_context(answering(body)) for body in bad]
        silent += ["nonsense", "http://[", "http://127.0.0.1:1/metrics"]
        good = await stack.enter_async_context(answering(b"carillon_events_accepted_total 1e9\n"))
        sampler = Sampler(backends, [*silent, good], timeout_s=30.0)
        sampling = asyncio.create_task(sampler.run())
        try:
            await eventually(lambda: bool(sampler.samples), within_s=60)
        finally:
            sampling.cancel()
        assert sampler.samples[0].silent == set(silent)
        assert sampler.samples[0].counted["carillon_events_accepted_total"] >= 1e9


def test_frames_keep_their_lines() -> None:
    assert frame("<p>\r\na\n</p>", 3) == b"id: 3\ndata: <p>\ndata: a\ndata: </p>\n\n"


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (0, "0"), (1234567, "1,234,567"), (12.34, "12.3"), (0.123, "0.12")]
)
def test_numbers(value: float | None, shown: str) -> None:
    assert number(value) == shown


async def token_of(client: Client, path: str) -> str:
    page = await (await client.get(path, scheme="https")).get_data(as_text=True)
    return str(re.findall(r'name="token" value="([^"]+)"', page)[0])


async def published(backends: Backends) -> list[dict[str, Any]]:
    """What lies on the intake, as JSON."""
    async with backends.broker.intake(100) as intake:
        return [json.loads(arrival.body) for arrival in await intake.batch(100, 0.2)]


async def test_disconnecting_is_told_and_done() -> None:
    async with console() as (client, backends):
        await sign_in(client, "key-of-ops")
        token = await token_of(client, "/console/connections")
        form = {"token": token, "user": "alice", "session": "s1"}
        answer = await client.post("/console/connections/disconnect", form=form, scheme="https")
        assert answer.status_code == 303
        told, done = await published(backends)
    assert (told["type"], "audience" in told) == ("carillon.operator.acted", False)
    assert told["data"] == {"by": "ops", "action": "disconnect", "about": {"user": "alice", "session": "s1"}}
    assert (done["type"], done["audience"]) == ("carillon.connection.disconnected", "control:alice")
    assert done["data"] == {"sub": "alice", "sid": "s1", "by": "ops"}


async def test_who_may_only_look_cannot_act() -> None:
    async with console() as (client, backends):
        await sign_in(client, "key-of-eve")
        form = {"token": await token_of(client, "/console/connections"), "user": "alice"}
        answer = await client.post("/console/connections/disconnect", form=form, scheme="https")
        assert answer.status_code == 403
        assert "may look, and not act" in await answer.get_data(as_text=True)
        assert (await backends.broker.waiting()).intake == 0


async def test_a_name_that_is_none_is_refused() -> None:
    async with console() as (client, _):
        await sign_in(client, "key-of-ops")
        form = {"token": await token_of(client, "/console"), "user": "a b\r\n"}
        assert (await client.post("/console/connections/disconnect", form=form, scheme="https")).status_code == 400
        assert (await client.get("/console/connections?user=%00", scheme="https")).status_code == 400
