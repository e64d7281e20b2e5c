"""Login against an issuer on a real socket: the way that works, and every way that must not."""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from joserfc.jwk import OctKey
from pydantic import SecretStr
from quart import Quart, Response

from services.edge.login import LOGIN_PATH, Entrance, blueprint
from services.edge.sessions import Session, SessionCookie
from shared.identity import code_flow, id_tokens, keysets
from shared.identity.issuers import Issuer
from shared.identity.login import Login
from shared.identity.transactions import MAX_OPEN_LOGINS, LoginRefused
from shared.model.errors import InvalidInput
from shared.model.settings import Settings
from shared.web.app import make_app
from tests.harness.issuer import CLIENT_ID, CLIENT_SECRET, DISCOVERY, KEYS, TOKEN, LocalIssuer, Spoiled, oidc_settings
from tests.harness.issuer import new_key as fresh_key

SECRET = "s" * 32
NOW = int(time.time())
HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def settings(issuer: LocalIssuer, **given: Any) -> Settings:
    fitting: dict[str, Any] = {
        "session_secret": SecretStr(SECRET),
        "cookie_secure": False,
        "public_url": "http://127.0.0.1:8082",
    }
    return oidc_settings(issuer, **fitting | given)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    """An edge with nothing but the login; and a browser, that keeps cookies as one does."""

    app: Quart
    cookie: SessionCookie
    clock: Clock
    jar: dict[str, str] = field(default_factory=dict)
    last: Any = None

    async def get(self, path: str, **headers: str) -> Any:
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items())} if self.jar else {}
        self.last = await self.app.test_client().get(path, headers=sent | headers)
        for line in self.last.headers.getlist("Set-Cookie"):
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.jar.pop(name, None)
                else:
                    self.jar[name] = morsel.value
        return self.last

    async def begin(self, return_to: str = "/inbox") -> str:
        """The issuer's address that the browser is sent to."""
        answer = await self.get(f"/v1/login?{urlencode({'return_to': return_to})}")
        assert answer.status_code == 303, await answer.get_data()
        return str(answer.headers["Location"])

    async def come_back(self, address: str, code: str, /, **changed: Any) -> Any:
        state = dict(parse_qsl(urlsplit(address).query))["state"]
        parameters = {"code": code, "state": state} | changed
        return await self.get(
            "/v1/login/callback?" + urlencode({name: value for name, value in parameters.items() if value is not None})
        )

    @property
    def session(self) -> Session | None:
        value = self.jar.get(self.cookie.name)
        return None if value is None else self.cookie.read(value)


def a_site(settings: Settings) -> Site:
    cookie = SessionCookie([SECRET], 3600, secure=False)

    async def let_in(session: Session, response: Response) -> None:
        response.set_cookie(cookie.name, cookie.sign(session), path="/", httponly=True)

    clock = Clock()
    login = Login(settings, Issuer(str(settings.oidc_issuer), clock), [SECRET], LOGIN_PATH)
    entrance = Entrance(cookie.open, let_in, settings.oidc_tags_claim, settings.session_max_s)
    return Site(make_app("test", settings, blueprint(login, entrance), probes={}), cookie, clock)


@pytest.fixture
async def site(issuer: LocalIssuer) -> Site:
    return a_site(settings(issuer))


async def refusal(answer: Any) -> tuple[int, str]:
    """(status, field) of a problem document."""
    document = await answer.get_json(force=True)
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code, document.get("field")


async def test_a_login(issuer: LocalIssuer, site: Site) -> None:
    address = await site.begin("/inbox?unread=1")
    asked = dict(parse_qsl(urlsplit(address).query))
    assert address.startswith(f"{issuer.url}/authorize?")
    assert asked | {"state": "", "nonce": "", "code_challenge": ""} == {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": "http://127.0.0.1:8082/v1/login/callback",
        "scope": "openid profile email",
        "state": "",
        "nonce": "",
        "code_challenge": "",
        "code_challenge_method": "S256",
    }
    [cookie] = site.last.headers.getlist("Set-Cookie")
    parts = {part.strip() for part in cookie.split(";")}
    # A second may have begun between the transaction and its cookie.
    assert {"HttpOnly", "SameSite=Lax", "Path=/v1/login"} <= parts
    assert {"Max-Age=600", "Max-Age=599", "Max-Age=598"} & parts
    answer = await site.come_back(address, issuer.log_in(address, carillon_tags=["topic:builds/*"]))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/inbox?unread=1")
    assert (answer.headers["Cache-Control"], answer.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert site.session is not None
    assert (site.session.sub, site.session.grants) == ("alice", ("topic:builds/*",))
    assert list(site.jar) == [site.cookie.name], "the transaction is over"


async def test_secure_cookies_are_secure(issuer: LocalIssuer) -> None:
    site = a_site(settings(issuer, cookie_secure=True, public_url="https://events.example/"))
    address = await site.begin()
    assert "redirect_uri=https%3A%2F%2Fevents.example%2Fv1%2Flogin%2Fcallback" in address
    assert site.last.headers["Set-Cookie"].startswith("__Secure-carillon-login-")
    assert "; Secure;" in site.last.headers["Set-Cookie"]


async def test_two_tabs_log_in_at_once(issuer: LocalIssuer, site: Site) -> None:
    first, second = await site.begin("/first"), await site.begin("/second")
    for address, sub, path in ((first, "alice", "/first"), (second, "bob", "/second")):
        answer = await site.come_back(address, issuer.log_in(address, sub=sub))
        assert answer.headers["Location"] == path
        assert site.session is not None
        assert site.session.sub == sub


async def test_tabs_beyond_the_bound_push_out_the_oldest(issuer: LocalIssuer, site: Site) -> None:
    for _ in range(MAX_OPEN_LOGINS + 3):
        await site.begin()
    assert len(site.jar) == MAX_OPEN_LOGINS


@pytest.mark.parametrize("claim", [["topic:a", "topic:b/*"], "topic:a topic:b/*", " topic:a  topic:b/* "])
async def test_tags_are_a_list_or_words(issuer: LocalIssuer, claim: Any) -> None:
    site = a_site(settings(issuer, oidc_tags_claim="groups"))
    address = await site.begin()
    await site.come_back(address, issuer.log_in(address, groups=claim))
    assert site.session is not None
    assert site.session.grants == ("topic:a", "topic:b/*")


async def test_a_public_client_and_one_that_posts_its_secret(issuer: LocalIssuer) -> None:
    issuer.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    site = a_site(settings(issuer))
    address = await site.begin()
    assert (await site.come_back(address, issuer.log_in(address))).status_code == 303
    public = a_site(settings(issuer, oidc_client_secret=None))
    address = await public.begin()
    answer = await public.come_back(address, issuer.log_in(address))
    assert "invalid_client" in (await answer.get_json(force=True))["detail"]


@pytest.mark.parametrize(
    ("changed", "at_fault"),
    [
        ({"iss": ...}, "iss"),
        ({"iss": "https://other"}, "iss"),
        ({"aud": ...}, "aud"),
        ({"aud": "other"}, "aud"),
        ({"aud": ["other"]}, "aud"),
        ({"aud": [CLIENT_ID, "other"]}, "azp"),
        ({"aud": [CLIENT_ID, "other"], "azp": "other"}, "azp"),
        ({"azp": "other"}, "azp"),
        ({"azp": None}, "azp"),
        ({"exp": ...}, "exp"),
        ({"exp": NOW - 5}, "exp"),
        ({"exp": "soon"}, "exp"),
        ({"iat": ...}, "iat"),
        ({"iat": "now"}, "iat"),
        ({"iat": NOW + 3600}, "iat"),
        ({"iat": NOW - id_tokens.MAX_AGE_S - 60}, "iat"),
        ({"nbf": NOW + 3600}, "nbf"),
        ({"nonce": ...}, "nonce"),
        ({"nonce": ""}, "nonce"),
        ({"nonce": 7}, "nonce"),
        ({"nonce": "é" * 43}, "nonce"),
    ],
)
async def test_a_wrong_claim_of_the_id_token(
    issuer: LocalIssuer, site: Site, changed: dict[str, Any], at_fault: str
) -> None:
    address = await site.begin()
    answer = await site.come_back(address, issuer.log_in(address, **changed))
    assert await refusal(answer) == (502, "id_token")
    assert f": {at_fault}: " in (await answer.get_json(force=True))["detail"]
    assert site.jar == {}


@pytest.mark.parametrize(
    "changed", [{"aud": [CLIENT_ID]}, {"aud": [CLIENT_ID, "x"], "azp": CLIENT_ID}, {"azp": CLIENT_ID}]
)
async def test_lawful_audiences(issuer: LocalIssuer, site: Site, changed: dict[str, Any]) -> None:
    address = await site.begin()
    assert (await site.come_back(address, issuer.log_in(address, **changed))).status_code == 303


def spoiled_id_tokens(issuer: LocalIssuer, address: str) -> dict[str, str | None]:
    nonce = dict(parse_qsl(urlsplit(address).query))["nonce"]
    claims = issuer.claims(nonce=nonce)
    head, body, signature = issuer.sign(claims).split(".")
    public_key = json.dumps(issuer.key_set()["keys"][0])
    return {
        "none": None,
        "unsigned": f"eyJhbGciOiJub25lIn0.{body}.",
        "without a signature": f"{head}.{body}.",
        "other bytes": f"{head}.{body}.{'A' * len(signature)}",
        "another key": issuer.sign(claims, fresh_key("first")),
        "an unknown key": issuer.sign(claims, fresh_key("unknown")),
        "the client's secret": issuer.sign(claims, OctKey.import_key(CLIENT_SECRET), alg="HS256", kid=None),
        "the public key as a secret": issuer.sign(claims, OctKey.import_key(public_key), alg="HS256", kid="first"),
        "nonsense": "nonsense",
    }


async def test_an_id_token_that_the_issuer_did_not_sign(issuer: LocalIssuer, site: Site) -> None:
    for name in spoiled_id_tokens(issuer, await site.begin()):
        address = await site.begin()
        spoiled = spoiled_id_tokens(issuer, address)[name]
        answer = await site.come_back(address, issuer.log_in(address, id_token=spoiled))
        assert await refusal(answer) == (502, "id_token"), name
        assert site.session is None


@pytest.mark.parametrize(
    ("changed", "at_fault"),
    [
        ({"sub": ...}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "a b"}, "sub"),
        ({"carillon_tags": 7}, "carillon_tags"),
        ({"carillon_tags": {"a": 1}}, "carillon_tags"),
        ({"carillon_tags": [1]}, "carillon_tags"),
        ({"carillon_tags": "admins"}, "carillon_tags"),
        ({"carillon_tags": ["control:alice"]}, "carillon_tags"),
        ({"carillon_tags": ["user:*"]}, "carillon_tags"),
        ({"carillon_tags": [f"topic:{number}" for number in range(100)]}, "carillon_tags"),
    ],
)
async def test_who_cannot_be_a_user_here(
    issuer: LocalIssuer, site: Site, changed: dict[str, Any], at_fault: str
) -> None:
    address = await site.begin()
    answer = await site.come_back(address, issuer.log_in(address, **changed))
    assert await refusal(answer) == (403, at_fault)
    assert site.session is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"state": None}, (400, "state")),
        ({"state": "x" * 32}, (400, "state")),
        ({"state": "short"}, (400, "state")),
        ({"code": None}, (400, "code")),
        ({"code": ""}, (400, "code")),
        ({"code": "x" * 5000}, (400, "code")),
        ({"code": "a\r\nb"}, (400, "code")),
        ({"code": "made-up"}, (400, "code")),
        ({"code": None, "error": "access_denied"}, (403, "error")),
        ({"error": "access_denied"}, (403, "error")),
        ({"code": None, "error": "server_error"}, (502, "error")),
        ({"code": None, "error": "<script>alert(1)</script>"}, (502, "error")),
        ({"iss": "https://other"}, (400, "iss")),
    ],
)
async def test_an_answer_that_is_not_good(
    issuer: LocalIssuer, site: Site, given: dict[str, Any], expected: tuple[int, str]
) -> None:
    address = await site.begin()
    answer = await site.come_back(address, issuer.log_in(address), **given)
    assert await refusal(answer) == expected
    assert "script" not in await answer.get_data(as_text=True)
    assert site.session is None


async def test_an_issuer_that_names_itself_must_do_so(issuer: LocalIssuer) -> None:
    issuer.metadata = {"authorization_response_iss_parameter_supported": True}
    site = a_site(settings(issuer))
    address = await site.begin()
    assert await refusal(await site.come_back(address, issuer.log_in(address))) == (400, "iss")
    address = await site.begin()
    assert (await site.come_back(address, issuer.log_in(address), iss=issuer.url)).status_code == 303


async def test_a_parameter_that_is_there_twice(issuer: LocalIssuer, site: Site) -> None:
    address = await site.begin()
    state = dict(parse_qsl(urlsplit(address).query))["state"]
    code = issuer.log_in(address)
    assert await refusal(await site.get(f"/v1/login/callback?state={state}&code={code}&code=x")) == (400, "code")


async def test_another_browser_cannot_use_the_answer(issuer: LocalIssuer, site: Site) -> None:
    """Else an attacker's link would log the victim in as the attacker (RFC 6749, 10.12)."""
    address = await site.begin()
    code = issuer.log_in(address)
    victim = Site(site.app, site.cookie, site.clock)
    await victim.begin()
    assert await refusal(await victim.come_back(address, code)) == (400, "state")
    assert issuer.asked[TOKEN] == 0, "the code was not even tried"


async def test_an_answer_works_once(issuer: LocalIssuer, site: Site) -> None:
    address = await site.begin()
    code, before = issuer.log_in(address), dict(site.jar)
    assert (await site.come_back(address, code)).status_code == 303
    assert await refusal(await site.come_back(address, code)) == (400, "state")
    # Somebody who kept the cookie, too, fails at the issuer, that takes a code once.
    thief = Site(site.app, site.cookie, site.clock, jar=before)
    assert await refusal(await thief.come_back(address, code)) == (400, "code")
    assert thief.session is None


async def test_a_code_of_another_login_does_not_do(issuer: LocalIssuer, site: Site) -> None:
    """PKCE: a stolen code is worth nothing without the verifier of the login that asked for it."""
    stolen = issuer.log_in(await site.begin())
    address = await site.begin()
    assert await refusal(await site.come_back(address, stolen)) == (400, "code")


async def test_a_new_key_of_the_issuer_is_looked_for_once(issuer: LocalIssuer, site: Site) -> None:
    address = await site.begin()
    assert (await site.come_back(address, issuer.log_in(address))).status_code == 303
    issuer.keys = [fresh_key("second")]
    site.clock.now += keysets.ASKED_EVERY_S
    for _ in range(3):
        address = await site.begin()
        assert (await site.come_back(address, issuer.log_in(address))).status_code == 303
    assert issuer.asked[KEYS] == 2


@pytest.mark.parametrize("path", [DISCOVERY, KEYS, TOKEN])
@pytest.mark.parametrize(
    "answer",
    [
        Spoiled(500, b"{}"),
        Spoiled(200, b"<html>"),
        Spoiled(200, b"[]"),
        Spoiled(200, b'{"id_token":"' + b"x" * keysets.ANSWER_MAX_BYTES + b'"}'),
        Spoiled(302, b"", (("Location", "/elsewhere"),)),
    ],
    ids=lambda answer: f"{answer.status}-{answer.body[:10]!r}",
)
async def test_an_issuer_that_does_not_work(issuer: LocalIssuer, site: Site, path: str, answer: Spoiled) -> None:
    issuer.spoiled[path] = answer
    if path == DISCOVERY:
        refused = await site.get("/v1/login")
    else:
        address = await site.begin()
        refused = await site.come_back(address, issuer.log_in(address))
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    assert issuer.url not in await refused.get_data(as_text=True)


async def test_an_issuer_that_hangs(issuer: LocalIssuer, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    address = await site.begin()
    monkeypatch.setattr(code_flow, "ASK_TIMEOUT_S", 0.1)
    let_go = threading.Event()
    issuer.spoiled[TOKEN] = Spoiled(200, b"{}", held=let_go)
    assert (await site.come_back(address, issuer.log_in(address))).status_code == 503
    let_go.set()


async def test_logins_go_on_with_what_is_kept_while_documents_cannot_be_had(issuer: LocalIssuer, site: Site) -> None:
    address = await site.begin()
    assert (await site.come_back(address, issuer.log_in(address))).status_code == 303
    issuer.spoiled = {DISCOVERY: Spoiled(500, b""), KEYS: Spoiled(500, b"")}
    site.clock.now += keysets.KEPT_S + 1
    address = await site.begin()
    assert (await site.come_back(address, issuer.log_in(address))).status_code == 303


@pytest.mark.parametrize(
    "query", ["return_to=//evil", "return_to=https://evil", "return_to=/%5cevil", "next=/", "return_to="]
)
async def test_a_login_that_would_lead_elsewhere(issuer: LocalIssuer, site: Site, query: str) -> None:
    answer = await site.get(f"/v1/login?{query}")
    assert answer.status_code == 400
    assert site.jar == {}
    assert not issuer.asked


async def test_without_a_public_url_only_loopback_logs_in(issuer: LocalIssuer) -> None:
    site = a_site(settings(issuer, public_url=None))
    answer = await site.get("/v1/login", Host="127.0.0.1:9000")
    assert "redirect_uri=http%3A%2F%2F127.0.0.1%3A9000%2Fv1%2Flogin%2Fcallback" in answer.headers["Location"]
    assert await refusal(await site.get("/v1/login", Host="evil.example")) == (400, "Host")


async def test_a_host_that_is_no_address_is_refused(issuer: LocalIssuer) -> None:
    login = Login(settings(issuer, public_url=None), Issuer(issuer.url), [SECRET], LOGIN_PATH)
    with pytest.raises(LoginRefused, match="not set up for this address"):
        await login.begin("/", "http://[")


async def test_browsers_get_a_page(issuer: LocalIssuer, site: Site) -> None:
    address = await site.begin("/inbox?a='b'&c=d")
    state = dict(parse_qsl(urlsplit(address).query))["state"]
    answer = await site.get(f"/v1/login/callback?state={state}&error=access_denied", **HTML)
    page = await answer.get_data(as_text=True)
    assert (answer.status_code, answer.content_type) == (403, "text/html; charset=utf-8")
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert answer.headers["Vary"] == "Accept"
    assert 'href="/v1/login?return_to=%2Finbox%3Fa%3D%27b%27%26c%3Dd"' in page
    assert "access was denied" in page
    for path in ("/v1/login?<script>=1", "/v1/login/callback?state=x"):
        answer = await site.get(path, **HTML)
        assert answer.status_code == 400
        assert "<script>" not in await answer.get_data(as_text=True)
        assert 'href="/v1/login"' in await answer.get_data(as_text=True)
    issuer.stop()
    away = await a_site(settings(issuer)).get("/v1/login", **HTML)
    assert (away.status_code, away.headers["Retry-After"]) == (503, "2")
    assert "do not work at the moment" in await away.get_data(as_text=True)
    issuer.start()


@pytest.mark.parametrize(
    ("given", "at_fault"),
    [
        ({"oidc_client_id": None}, "CARILLON_OIDC_CLIENT_ID"),
        ({"oidc_scopes": "profile"}, "CARILLON_OIDC_SCOPES"),
        ({"public_url": "http://events.example"}, "CARILLON_PUBLIC_URL"),
        ({"public_url": "https://events.example/path"}, "CARILLON_PUBLIC_URL"),
    ],
)
def test_settings_that_cannot_work(issuer: LocalIssuer, given: dict[str, Any], at_fault: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        a_site(settings(issuer, **given))
    assert refused.value.field == at_fault


async def test_nothing_secret_is_logged(issuer: LocalIssuer, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    address = await site.begin()
    good = issuer.log_in(address)
    await site.come_back(address, good)
    address = await site.begin()
    bad = issuer.log_in(address, nonce="x", jti="bad-token")
    await site.come_back(address, bad)
    state = dict(parse_qsl(urlsplit(address).query))["state"]
    await site.get("/v1/login?a%0aforged-line=1")
    told = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith(("services", "shared")))
    assert "nonce" in told
    assert "\nforged" not in told
    for secret in (good, bad, state, CLIENT_SECRET, "eyJ", SECRET):
        assert secret not in told
