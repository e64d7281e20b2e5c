"""The console's login at an issuer on a real socket: who gets in as what, who does not, and what that is told as."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from pydantic import SecretStr
from quart.typing import TestClientProtocol as Client

from services.console.acts import Actor
from services.console.gate import OVER
from services.console.operators import OperatorCookie, Person
from services.console.roles import MAX_NAME_CHARS, NoRole, Roles
from shared.identity.transactions import LoginRefused
from shared.model.errors import InvalidInput
from shared.model.settings import Settings
from tests.harness.issuer import DISCOVERY, TOKEN, LocalIssuer, Spoiled, oidc_settings
from tests.unit.test_console import HTML, console, published, sign_in, token_of

ROLES = Roles("https://login.example", "roles", ("ops", "on call"), ("staff",))
SECRET = SecretStr("s" * 32)


def settings(issuer: LocalIssuer, **given: Any) -> Settings:
    fitting: dict[str, Any] = {
        "public_url": "https://console.example",
        "session_secret": SECRET,
        "console_operator_roles": ("ops",),
        "console_viewer_roles": ("staff",),
        "operator_keys": SecretStr("key=key-of-ops"),
    }
    return oidc_settings(issuer, **fitting | given)


async def get(client: Client, path: str) -> Any:
    return await client.get(path, headers=HTML, scheme="https")


async def begin(client: Client, query: str = "") -> str:
    """The issuer's address that the browser is sent to."""
    answer = await get(client, f"/console/login/oidc{query}")
    assert answer.status_code == 303, await answer.get_data(as_text=True)
    return str(answer.location)


def asked(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query))


async def come_back(client: Client, address: str, code: str, /, **changed: str) -> Any:
    parameters = {"code": code, "state": asked(address)["state"]} | changed
    return await get(client, f"/console/login/callback?{urlencode(parameters)}")


async def log_in(client: Client, issuer: LocalIssuer, query: str = "", **claims: Any) -> Any:
    address = await begin(client, query)
    return await come_back(client, address, issuer.log_in(address, **claims))


async def is_in(client: Client) -> bool:
    return bool((await get(client, "/console/events")).status_code == 200)


@pytest.mark.parametrize(
    ("held", "may_act"),
    [
        (["ops"], True),
        (["staff"], False),
        (["staff", "ops", "others"], True),
        ("ops", True),
        ("on call", True),
        (["ops", 7, None, ["x"]], True),
        ("not ops", None),
        ("opsx", None),
        (["OPS"], None),
        ([["ops"]], None),
        ({"ops": True}, None),
        ([], None),
        ("", None),
        (None, None),
        (True, None),
    ],
)
def test_what_the_claim_lets_one_do(held: object, may_act: bool | None) -> None:
    claims = {"sub": "248", "name": "Alice", "roles": held}
    if may_act is None:
        with pytest.raises(NoRole) as refused:
            ROLES.person(claims)
        assert (refused.value.field, refused.value.status, refused.value.actor.sub) == ("roles", 403, "248")
    else:
        assert ROLES.person(claims) == Person(Actor("Alice", "https://login.example", "248"), may_act)


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"name": " Alice\n\x00Example\u202e "}, "Alice Example"),
        ({"name": "", "preferred_username": "alice", "email": "a@b"}, "alice"),
        ({"name": ["Alice"], "email": "a@b"}, "a@b"),
        ({"name": "x" * 1000}, "x" * MAX_NAME_CHARS),
        ({"name": "\x00 \n"}, "248"),
        ({}, "248"),
    ],
)
def test_people_are_called_by_their_names(claims: dict[str, object], name: str) -> None:
    assert ROLES.person({"sub": "248", "roles": "ops", **claims}).actor.name == name


@pytest.mark.parametrize("sub", [None, "", 7, "a\nb", "x" * 256])
def test_whoever_has_no_id_is_nobody(sub: object) -> None:
    with pytest.raises(LoginRefused) as refused:
        ROLES.person({"sub": sub, "roles": "ops", "name": "Alice"})
    assert (refused.value.field, refused.value.status) == ("sub", 502)


async def test_an_operator_logs_in_and_what_they_do_is_told(issuer: LocalIssuer) -> None:
    async with console(settings(issuer)) as (client, backends):
        page = await (await get(client, "/console/login?next=/console/runs")).get_data(as_text=True)
        assert 'href="/console/login/oidc?next=/console/runs"' in page
        address = await begin(client, "?next=/console/connections?user=bob")
        back = "https://console.example/console/login/callback"
        assert (asked(address)["redirect_uri"], asked(address).get("prompt")) == (back, None)
        code = issuer.log_in(address, sub="248", name="Alice Example", roles=["ops"])
        answer = await come_back(client, address, code)
        assert (answer.status_code, answer.location) == (303, "/console/connections?user=bob")
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        [cookie] = [line for line in answer.headers.getlist("Set-Cookie") if "carillon-console" in line]
        assert {"HttpOnly", "Secure", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
        form = {"token": await token_of(client, "/console/connections"), "user": "bob"}
        assert (await client.post("/console/connections/disconnect", form=form, scheme="https")).status_code == 303
        told, done = await published(backends)
    assert told["data"] | {"about": {}} == {
        "by": "Alice Example",
        "issuer": issuer.url,
        "sub": "248",
        "action": "disconnect",
        "about": {},
    }
    assert done["data"]["by"] == "Alice Example"


async def test_who_may_look_cannot_act(issuer: LocalIssuer) -> None:
    async with console(settings(issuer)) as (client, backends):
        await log_in(client, issuer, roles="staff")
        assert "read-only" in await (await get(client, "/console")).get_data(as_text=True)
        form = {"token": await token_of(client, "/console/connections"), "user": "bob"}
        answer = await client.post("/console/connections/disconnect", form=form, scheme="https")
        assert answer.status_code == 403
        assert (await backends.broker.waiting()).intake == 0


async def test_nobody_gets_in_without_a_role(issuer: LocalIssuer, caplog: pytest.LogCaptureFixture) -> None:
    async with console(settings(issuer, console_roles_claim="groups")) as (client, _):
        held = ["sales", "<script>", *(f"group-{number:02}" for number in range(40))]
        answer = await log_in(client, issuer, name="<b>Bob</b>", groups=held, roles=["ops"])
        page = await answer.get_data(as_text=True)
        assert answer.status_code == 403
        assert "claim <code>groups</code>" in page
        assert "&lt;b&gt;Bob&lt;/b&gt;" in page
        assert "<script>" not in page
        assert "and 22 more" in page
        assert "/console/login/oidc?next=/console&amp;another" in page
        assert not await is_in(client)
        [told] = [each for each in caplog.records if each.name == "services.console.login"]
        assert (told.levelno, "'groups'" in told.getMessage(), "'alice'" in told.getMessage()) == (
            logging.WARNING,
            True,
            True,
        )
        # As another: the issuer is asked not to take whom it knows.
        assert asked(await begin(client, "?another"))["prompt"] == "login"
        assert (await log_in(client, issuer, "?another", sub="carol", groups=["ops"])).status_code == 303
        assert await is_in(client)


async def test_an_answer_that_this_browser_did_not_ask_for(issuer: LocalIssuer) -> None:
    async with console(settings(issuer)) as (client, _):
        address = await begin(client)
        code = issuer.log_in(address, roles="ops")
        victim = client.app.test_client()  # type: ignore[attr-defined]  # the protocol leaves it out
        await begin(victim)
        refused = await come_back(victim, address, code)
        assert (refused.status_code, issuer.asked[TOKEN]) == (400, 0)
        assert "did not begin this login" in await refused.get_data(as_text=True)
        assert not await is_in(victim)
        assert (await come_back(client, address, code)).status_code == 303
        again = await come_back(client, address, code)
        assert again.status_code == 400, "an answer works once"


@pytest.mark.parametrize(
    ("changed", "status", "field"),
    [
        ({"state": "x" * 32}, 400, "state"),
        ({"code": "made-up"}, 400, "code"),
        ({"error": "access_denied"}, 403, "error"),
        ({"error": "<script>"}, 502, "error"),
        ({"iss": "https://other"}, 400, "iss"),
    ],
)
async def test_an_answer_that_is_not_good(
    issuer: LocalIssuer, changed: dict[str, str], status: int, field: str
) -> None:
    async with console(settings(issuer)) as (client, _):
        address = await begin(client)
        answer = await come_back(client, address, issuer.log_in(address, roles="ops"), **changed)
        page = await answer.get_data(as_text=True)
        assert (answer.status_code, f"<code>{field}</code>" in page, "<script>" in page) == (status, True, False)
        assert "Try again" in page
        assert not await is_in(client)


async def test_an_id_token_of_another_login_is_not_taken(issuer: LocalIssuer) -> None:
    async with console(settings(issuer)) as (client, _):
        answer = await log_in(client, issuer, roles="ops", nonce="of-another")
        assert (answer.status_code, "nonce" in await answer.get_data(as_text=True)) == (502, True)
        assert not await is_in(client)


@pytest.mark.parametrize("wanted", ["https://evil.example", "//evil.example", "/v1", "/console\\@evil", "/console//x"])
async def test_a_login_leads_nowhere_else(issuer: LocalIssuer, wanted: str) -> None:
    async with console(settings(issuer)) as (client, _):
        answer = await log_in(client, issuer, f"?{urlencode({'next': wanted})}", roles="ops")
        assert answer.location == "/console"


async def test_keys_go_on_working_while_the_issuer_does_not(issuer: LocalIssuer) -> None:
    async with console(settings(issuer)) as (client, _):
        issuer.spoiled[DISCOVERY] = Spoiled(500, b"")
        answer = await get(client, "/console/login/oidc")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert issuer.url not in await answer.get_data(as_text=True)
        assert (await sign_in(client, "key-of-ops")).status_code == 303
        assert await is_in(client)


async def test_a_session_that_is_over(issuer: LocalIssuer) -> None:
    live = {"Accept": "text/event-stream"}
    async with console(settings(issuer, console_session_s=1.0)) as (client, _):
        await log_in(client, issuer, roles="ops")
        stream = await client.get("/console/live/overview", headers=live, scheme="https")
        # The stream ends with the session, and of itself.
        async with asyncio.timeout(30):
            assert b"data:" in await stream.get_data(as_text=False)
        again = await client.get("/console/live/overview", headers=live, scheme="https")
        assert await again.get_data(as_text=False) == OVER
        gone = await get(client, "/console/runs?status=failed")
        assert (gone.status_code, gone.location) == (303, "/console/login?next=/console/runs%3Fstatus%3Dfailed")


def test_other_roles_or_another_secret_end_all_sessions() -> None:
    def cookie(*secrets: str, rules: bytes = b"a") -> OperatorCookie:
        return OperatorCookie(secrets, rules, 60, secure=True)

    opened = cookie("first").open(Person(Actor("Alice", "https://login.example", "248"), True))
    value = cookie("first").sign(opened)
    assert cookie("first").read(value) == cookie("second", "first").read(value) == opened
    assert cookie("second").read(value) is None
    assert cookie("first", rules=b"b").read(value) is None


@pytest.mark.parametrize(
    ("given", "at_fault"),
    [
        ({"oidc_issuer": None}, "CARILLON_OIDC_ISSUER"),
        ({"oidc_client_id": None}, "CARILLON_OIDC_CLIENT_ID"),
        ({"oidc_scopes": "profile"}, "CARILLON_OIDC_SCOPES"),
    ],
)
async def test_settings_that_cannot_work(issuer: LocalIssuer, given: dict[str, Any], at_fault: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        async with console(settings(issuer, **given)):
            pass
    assert refused.value.field == at_fault


async def test_without_roles_there_is_no_login(issuer: LocalIssuer) -> None:
    """The edge's issuer, in an environment that all services share, opens the console to none of its users."""
    async with console(settings(issuer, console_operator_roles=(), console_viewer_roles=())) as (client, _):
        assert (await get(client, "/console/login/oidc")).status_code == 404
        assert "oidc" not in await (await get(client, "/console/login")).get_data(as_text=True)
