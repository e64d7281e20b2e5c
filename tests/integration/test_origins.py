"""Which sites' pages may use the edges: their own, and those on the list, with credentials."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.harness.platform import Platform
from tests.harness.shared import BOTH_ADAPTERS, shared_platform
from tests.harness.visitor import Visitor, Visitors

pytestmark = pytest.mark.servers

LISTED, ALSO_LISTED = "https://app.example.com", "http://localhost:3000"
# Near misses of what is on the list, and what browsers send for pages without a site.
FOREIGN = [
    "https://evil.example",
    "null",
    "",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://app.example.com.evil.example",
    "https://APP.example.com",
    "https://app.example.com/",
    "https://app.example.com https://evil.example",
    "*",
]
CHANGING = [
    ("POST", "/v1/session"),
    ("DELETE", "/v1/session"),
    ("POST", "/v1/tickets"),
    ("DELETE", "/v1/connections?user=alice"),
]
CORS = "access-control-"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BOTH_ADAPTERS)
async def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    async with shared_platform(request, tmp_path_factory, cors_origins=[LISTED, ALSO_LISTED]) as ready:
        yield ready


def cors_of(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith(CORS)}


def is_forbidden(answer: httpx.Response) -> bool:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code == 403 and answer.json()["field"] == "Origin" and not cors_of(answer)


async def signed_in(visitors: Visitors, user: str) -> Visitor:
    visitor = visitors.visitor(user)
    await visitor.sign_in()
    return visitor


@pytest.mark.parametrize("origin", [LISTED, ALSO_LISTED])
async def test_a_listed_page_signs_in_reads_and_streams_with_credentials(platform: Platform, origin: str) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        visitor, page = visitors.visitor("visitor"), {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
        answers = [await visitor.ask("POST", "/v1/session", headers=visitor.bearer | page)]
        visitor.keep_cookie(answers[0])
        answers.append(await visitor.ask("GET", "/v1/session", headers=page))
        answers.append(await visitor.ask("POST", "/v1/tickets", headers=page))
        stream = await visitor.open(headers=page)
        answers.append(stream.response)
        refused = [await visitor.ask("GET", "/v1/events?nonsense=1", headers=page)]
        await publisher.publish("user:visitor")
        await visitors.keep_their_promises(publisher)
        answers.append(await visitor.ask("DELETE", "/v1/session", headers=page))
        refused.append(await visitor.ask("GET", "/v1/session", headers=page))

    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 204]
    assert [answer.status_code for answer in refused] == [400, 401]
    # Errors, too: what a page may not read tells its author nothing.
    for answer in (*answers, *refused):
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert "Origin" in answer.headers["vary"]
    assert len(stream.received) == 1


async def test_without_an_origin_caches_are_still_told_that_it_matters(platform: Platform) -> None:
    async with Visitors(platform) as visitors:
        visitor = await signed_in(visitors, "cached")
        answers = [await visitor.ask("GET", "/v1/session"), (await visitor.open()).response]
    for answer in answers:
        assert "Origin" in answer.headers["vary"]
        assert cors_of(answer) == {}


@pytest.mark.parametrize(
    ("path", "method"), [("/v1/session", "DELETE"), ("/v1/tickets", "POST"), ("/v1/events", "GET")]
)
async def test_a_preflight_of_a_listed_page_is_answered_without_a_session(
    platform: Platform, path: str, method: str
) -> None:
    headers = {
        "Origin": LISTED,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,last-event-id",
    }
    async with Visitors(platform) as visitors:
        answer = await visitors.visitor("preflight").ask("OPTIONS", path, headers=headers)
    assert answer.status_code in (200, 204)
    assert answer.headers["access-control-allow-origin"] == LISTED
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert method in answer.headers["access-control-allow-methods"].split(", ")
    allowed = {name.lower() for name in answer.headers["access-control-allow-headers"].split(", ")}
    assert {"authorization", "last-event-id", "content-type"} <= allowed
    assert int(answer.headers["access-control-max-age"]) > 0
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_preflight_of_a_foreign_page_allows_nothing(platform: Platform, origin: str) -> None:
    async with Visitors(platform) as visitors:
        headers = {"Origin": origin, "Access-Control-Request-Method": "DELETE"}
        answer = await visitors.visitor("preflight").ask("OPTIONS", "/v1/session", headers=headers)
    assert is_forbidden(answer)
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_foreign_pages_change_nothing_and_get_no_stream(platform: Platform, origin: str) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        visitor = await signed_in(visitors, "victim")
        stream = await visitor.open()
        headers = {"Origin": origin}
        for method, path in CHANGING:
            assert is_forbidden(await visitor.ask(method, path, headers=headers)), (method, path)
        assert is_forbidden(await visitor.refused(headers=headers))
        assert is_forbidden(await visitor.ask("GET", "/v1/session", headers=headers))
        await publisher.publish("user:victim")
        await visitors.keep_their_promises(publisher)
    assert len(stream.received) == 1, "the session outlived the attempt to end it"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_where_the_origin_is_missing_the_browser_still_tells(platform: Platform, site: str) -> None:
    """An image on a neighbour's page sends the Lax cookie and no Origin: it took one of its user's streams."""
    async with Visitors(platform) as visitors:
        visitor = await signed_in(visitors, "framed")
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
        for method, path in CHANGING:
            assert is_forbidden(await visitor.ask(method, path, headers=headers)), (method, path)
        assert is_forbidden(await visitor.refused(headers=headers))
        ticket = await visitor.ticket()
        assert is_forbidden(await visitor.refused(headers=headers, query={"ticket": ticket}))
        await visitor.open(query={"ticket": ticket})  # not used up by the attempt
        link = await visitor.ask("GET", "/v1/session", headers=headers | {"Sec-Fetch-Mode": "navigate"})
    assert link.status_code == 200


@pytest.mark.parametrize("site", ["same-origin", "none"])
async def test_own_pages_need_no_list(platform: Platform, site: str) -> None:
    async with platform.publisher() as publisher, Visitors(platform) as visitors:
        own = {"Origin": platform.edge_urls[0], "Sec-Fetch-Site": site}
        # Behind a proxy that ends TLS, the browser's scheme is not the edge's.
        behind_proxy = {"Origin": "https://notify.example", "Host": "notify.example", "Sec-Fetch-Site": site}
        # No page can set these; `carillon dev` serves loopback names only.
        pages = [own] if len(platform.services) == 1 else [own, behind_proxy]
        for page in pages:
            visitor = visitors.visitor("owner")
            answer = await visitor.ask("POST", "/v1/session", headers=visitor.bearer | page)
            assert answer.status_code == 200
            assert cors_of(answer) == {}
            visitor.keep_cookie(answer)
            await visitor.open(headers=page)
        without_origin = await visitor.open(headers={"Sec-Fetch-Site": site})
        await publisher.publish("user:owner")
        await visitors.keep_their_promises(publisher)
    assert len(without_origin.received) == 1
