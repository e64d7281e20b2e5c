"""Logins under way: what leads to another site, and which cookies are ours."""

from __future__ import annotations

import base64
import re
import time

import pytest

from shared.identity import transactions
from shared.identity.transactions import (
    MAX_OPEN_LOGINS,
    MAX_RETURN_TO_CHARS,
    TRANSACTION_TTL_S,
    LoginRefused,
    Transactions,
    checked_return_to,
)

SECRET, FORMER = "a" * 32, "b" * 32
PATH = "/v1/login"
BACK = "http://127.0.0.1:8082/v1/login/callback"


@pytest.fixture
def ours() -> Transactions:
    return Transactions([SECRET], PATH, secure=True)


@pytest.mark.parametrize(
    "path",
    ["/", "/inbox", "/a/b?c=d&e=%2F%2Fx#f", "/~x/(y)", "/" + "x" * (MAX_RETURN_TO_CHARS - 1), "/%0d%0aX:y", "/a:b@c"],
)
def test_paths_of_ours(path: str) -> None:
    assert checked_return_to(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "inbox",
        "//evil.example",
        "///evil.example",
        "/a//b",
        "/\\evil.example",
        "\\\\evil.example",
        "/a\\b",
        "/\t/evil.example",
        "/\n/evil.example",
        "/a\r\nSet-Cookie: x=y",
        "/a b",
        "/a\x00",
        "/a\x7f",
        "/é",
        "/\u2028",
        "/\uff0fevil.example",
        "/a\n",
        " /a",
        "https://evil.example",
        "https:/evil.example",
        "javascript:alert(1)",
        "/" + "x" * MAX_RETURN_TO_CHARS,
        '/"><script>',
    ],
)
def test_what_could_lead_elsewhere(path: str) -> None:
    with pytest.raises(LoginRefused) as refused:
        checked_return_to(path)
    assert (refused.value.field, refused.value.status) == ("return_to", 400)


def test_a_transaction_comes_back_as_it_was(ours: Transactions) -> None:
    begun = ours.begin("/inbox", BACK)
    name, value = ours.cookie(begun)
    assert ours.find(begun.state, {name: value}) == begun
    assert name.startswith("__Secure-carillon-login-")
    assert Transactions([SECRET], PATH, secure=False).cookie(begun)[0].startswith("carillon-login-")


def test_what_the_issuer_must_not_learn_is_not_in_the_cookie(ours: Transactions) -> None:
    begun = ours.begin("/inbox", BACK)
    name, value = ours.cookie(begun)
    payload = value.split(".")[1]
    readable = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode()
    assert "/inbox" in readable
    assert begun.verifier not in readable
    assert begun.state not in name


def test_every_login_has_its_own_state_nonce_and_verifier(ours: Transactions) -> None:
    begun = [ours.begin("/", BACK) for _ in range(50)]
    values = [value for each in begun for value in (each.state, each.nonce, each.verifier)]
    assert len(set(values)) == 150
    # RFC 7636, 4.1
    assert all(re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", each.verifier) for each in begun)


def test_another_key_derives_others() -> None:
    begun = Transactions([SECRET], PATH, secure=True).begin("/", BACK)
    name, value = Transactions([SECRET], PATH, secure=True).cookie(begun)
    both = Transactions([FORMER, SECRET], PATH, secure=True)
    assert both.find(begun.state, {name: value}) == begun, "the former key still verifies, and derives the same"
    with pytest.raises(LoginRefused):
        Transactions([FORMER], PATH, secure=True).find(begun.state, {name: value})


def test_the_cookie_of_another_services_login_does_not_do(ours: Transactions) -> None:
    """The edge and the console may share a secret and a host: whoever is on the way to one is not at the other."""
    begun = ours.begin("/", BACK)
    name, value = ours.cookie(begun)
    with pytest.raises(LoginRefused):
        Transactions([SECRET], "/console/login", secure=True).find(begun.state, {name: value})


@pytest.mark.parametrize("state", [None, "", "x", "x" * 32, "é" * 32, "x" * 10_000, "../" * 10])
def test_a_state_that_is_not_ours(ours: Transactions, state: str | None) -> None:
    name, value = ours.cookie(ours.begin("/", BACK))
    with pytest.raises(LoginRefused) as refused:
        ours.find(state, {name: value})
    assert refused.value.field == "state"


def test_the_cookie_of_another_login_does_not_do(ours: Transactions) -> None:
    mine, others = ours.begin("/", BACK), ours.begin("/", BACK)
    name, _ = ours.cookie(mine)
    _, value = ours.cookie(others)
    with pytest.raises(LoginRefused):
        ours.find(mine.state, {name: value})


@pytest.mark.parametrize(
    "spoil", [lambda value: value[:-4], lambda value: "x" + value, lambda _: "", lambda _: "a.b.c"]
)
def test_a_spoiled_cookie_does_not_do(ours: Transactions, spoil: object) -> None:
    begun = ours.begin("/", BACK)
    name, value = ours.cookie(begun)
    with pytest.raises(LoginRefused):
        ours.find(begun.state, {name: spoil(value)})  # type: ignore[operator]


def test_a_login_that_took_too_long(ours: Transactions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "TRANSACTION_TTL_S", 0)
    begun = ours.begin("/", BACK)
    with pytest.raises(LoginRefused, match="too long"):
        ours.find(begun.state, dict([ours.cookie(begun)]))


def test_the_oldest_logins_give_way(ours: Transactions, monkeypatch: pytest.MonkeyPatch) -> None:
    cookies: dict[str, str] = {"carillon": "x", "__Secure-carillon-login-junk": "nonsense"}
    names = []
    for number in range(MAX_OPEN_LOGINS + 1):
        monkeypatch.setattr(transactions, "TRANSACTION_TTL_S", TRANSACTION_TTL_S + number)
        name, value = ours.cookie(ours.begin("/", BACK))
        cookies[name] = value
        names.append(name)
    assert set(ours.surplus(cookies)) == {"__Secure-carillon-login-junk", *names[:2]}
    assert ours.surplus({}) == []


def test_the_cookies_fit_the_headers_that_proxies_take(ours: Transactions) -> None:
    name, value = ours.cookie(
        ours.begin("/" + "%" * (MAX_RETURN_TO_CHARS - 1), "https://" + "h" * 253 + "/v1/login/callback")
    )
    assert MAX_OPEN_LOGINS * (len(name) + len(value) + 3) < 7 * 1024
    assert time.time() < ours.begin("/", BACK).expires_at <= time.time() + TRANSACTION_TTL_S
