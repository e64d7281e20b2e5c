"""Session cookies: what is accepted, and what each refusal says."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from services.edge.sessions import NoSession, Session, SessionCookie
from services.edge.tokens import sign_token
from shared.model.errors import InvalidInput
from tests.harness.tokens import verify_token

SECRET = "s" * 32
COOKIE = SessionCookie([SECRET], ttl_s=600, secure=True)


def test_what_was_signed_reads_back() -> None:
    session = COOKIE.open("alice", ("topic:builds",), time.time() + 3600)
    assert COOKIE.read(COOKIE.sign(session)) == session
    assert session.own_tags == {"user:alice", f"session:{session.sid}", "everyone"}
    assert session.grants == ("topic:builds",)


def test_a_session_ends_with_its_own_time_or_with_the_token() -> None:
    assert COOKIE.open("alice", (), time.time() + 3600).seconds_left() == pytest.approx(600, abs=60)
    assert COOKIE.open("alice", (), time.time() + 300).seconds_left() == pytest.approx(300, abs=60)


def test_two_sessions_of_one_user_differ() -> None:
    assert COOKIE.open("alice", (), 2e9).sid != COOKIE.open("alice", (), 2e9).sid


@pytest.mark.parametrize("value", [None, "", "garbage", "a.b.c", "x" * 8000, "é.ü.ö"])
def test_no_cookie_and_garbage(value: str | None) -> None:
    with pytest.raises(NoSession, match="POST /v1/session"):
        COOKIE.read(value)


def test_a_forged_cookie() -> None:
    session = COOKIE.open("alice", (), 2e9)
    forged = SessionCookie(["f" * 32], 600, secure=True).sign(session)
    with pytest.raises(NoSession, match="not one of ours"):
        COOKIE.read(forged)
    head, _, tail = COOKIE.sign(session).partition(".")
    with pytest.raises(NoSession):
        COOKIE.read(f"{head}.A{tail}")


def test_an_expired_cookie() -> None:
    expired = COOKIE.sign(Session("alice", "sid", (), 0.0, int(time.time()) - 1, int(time.time()) + 600))
    with pytest.raises(NoSession, match="expired"):
        COOKIE.read(expired)


def test_a_cookie_that_was_good_expires_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    session = COOKIE.open("alice", (), time.time() + 3600)
    value = COOKIE.sign(session)
    assert COOKIE.read(value) == COOKIE.read(value) == session
    monkeypatch.setattr(time, "time", lambda: session.expires_at + 1.0)
    with pytest.raises(NoSession, match="expired"):
        COOKIE.read(value)


def test_a_bearer_token_is_no_cookie_and_a_cookie_no_bearer_token() -> None:
    with pytest.raises(NoSession):
        COOKIE.read(sign_token(SECRET, "alice"))
    with pytest.raises(InvalidInput):
        verify_token(COOKIE.sign(COOKIE.open("alice", (), 2e9)), SECRET)


def test_the_name_binds_the_cookie_to_https_unless_it_is_for_loopback() -> None:
    assert COOKIE.name == "__Host-carillon"
    assert SessionCookie([SECRET], 600, secure=False).name == "carillon"


def test_the_key_can_be_changed_under_way() -> None:
    before = SessionCookie(["old" * 12], 600, secure=True)
    after = SessionCookie(["new" * 12, "old" * 12], 600, secure=True)
    session = before.open("alice", (), 2e9)
    assert after.read(before.sign(session)) == session
    with pytest.raises(NoSession):
        before.read(after.sign(session))


def test_a_session_is_renewed_once_half_of_its_time_is_over_and_never_beyond_its_end() -> None:
    session = COOKIE.open("alice", (), time.time() + 3600)
    assert COOKIE.renewed(session) is None
    aged = replace(session, expires_at=int(time.time()) + 200)
    renewed = COOKIE.renewed(aged)
    assert renewed is not None
    assert renewed.seconds_left() == pytest.approx(600, abs=60)
    assert replace(renewed, expires_at=aged.expires_at) == aged
    assert COOKIE.renewed(replace(aged, not_after=aged.expires_at)) is None


@pytest.mark.parametrize("sub", ["", "two words", "x" * 300])
def test_a_subject_that_cannot_be_a_tag(sub: str) -> None:
    with pytest.raises(InvalidInput):
        COOKIE.open(sub, (), 2e9)
