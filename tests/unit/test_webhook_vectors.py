"""Every scheme against published vectors, and against our own: rotation, tampering, clocks, malformed headers."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.ingest.webhooks.declarations import KINDS
from services.ingest.webhooks.posted import Check, NotAuthentic, Posted
from services.ingest.webhooks.schemes import CannotSign
from services.ingest.webhooks.source import Source

FILE = Path(__file__).parents[1] / "fixtures" / "webhooks" / "vectors.json"
VECTORS: list[dict[str, Any]] = json.loads(FILE.read_text())
VALID = [vector for vector in VECTORS if vector["valid"]]
SIGNING = ("standard-webhooks", "github", "stripe", "hmac")
PUBLIC_KEY_ONLY = "standard: ed25519, the specification's signature"
SIGNED = [vector for vector in VALID if vector["kind"] in SIGNING]


def source_of(vector: dict[str, Any]) -> Source:
    secrets = [secret.encode() for secret in vector["secrets"]]
    names = dict(zip(("secret", "previous_secret"), [{"env": "X"}] * len(secrets), strict=False))
    declared = {"kind": vector["kind"], **vector.get("declared", {}), **names}
    return KINDS[vector["kind"]].model_validate(declared).source("vector", tuple(secrets))


def posted_of(vector: dict[str, Any], body: bytes | None = None) -> Posted:
    sent = base64.b64decode(vector["body_base64"]) if "body_base64" in vector else vector["body"].encode()
    return Posted.of(vector["headers"].items(), sent if body is None else body)


def failed_check(vector: dict[str, Any], posted: Posted) -> str | None:
    try:
        source_of(vector).scheme.verify(posted, vector["now"])
    except NotAuthentic as failed:
        return failed.check.value
    return None


def named(vectors: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("vector", [pytest.param(vector, id=vector["name"]) for vector in vectors])


@named(VECTORS)
def test_a_vector(vector: dict[str, Any]) -> None:
    assert (vector.get("check") is None) is vector["valid"]
    assert failed_check(vector, posted_of(vector)) == vector.get("check")


def test_the_vectors_cover_every_kind_and_every_check() -> None:
    """`none` has no secret and nothing to publish; its one check is tested below."""
    outcomes = {(vector["kind"], vector["valid"]) for vector in VECTORS}
    assert outcomes == {(kind, valid) for kind in KINDS.keys() - {"none"} for valid in (True, False)}
    assert {vector["check"] for vector in VECTORS if "check" in vector} == set(Check) - {Check.LOOPBACK}
    published = {vector["kind"] for vector in VECTORS if vector["valid"] and "published" in vector}
    assert published == KINDS.keys() - {"none"}
    assert len({vector["name"] for vector in VECTORS}) == len(VECTORS)


@named(SIGNED)
def test_no_byte_of_the_body_may_change(vector: dict[str, Any]) -> None:
    body = posted_of(vector).body
    others = {body + b" ", b" " + body, body[:-1] + bytes([(body[-1] ^ 1) if body else 1])} - {body}
    assert [failed_check(vector, posted_of(vector, other)) for other in others] == ["signature"] * len(others)


@named([vector for vector in VALID if len(vector["secrets"]) == 1])
def test_another_secret_verifies_nothing(vector: dict[str, Any]) -> None:
    changed = {
        "standard-webhooks": "whsec_" + base64.b64encode(b"another secret that is as long").decode(),
        "hmac": {"hex": "00", "base64": "AAAA"}.get(vector.get("declared", {}).get("key", ""), "other"),
    }.get(vector["kind"], "other")
    assert failed_check(vector | {"secrets": [changed]}, posted_of(vector)) in ("signature", "credentials")


@named([vector for vector in VALID if len(vector["secrets"]) == 1])
def test_the_same_secret_as_the_previous_one(vector: dict[str, Any]) -> None:
    """A change of the secret in two steps: what was signed with the old one holds."""
    new = {
        "standard-webhooks": "whsec_" + base64.b64encode(b"another secret that is as long").decode(),
        "hmac": {"hex": "00", "base64": "AAAA"}.get(vector.get("declared", {}).get("key", ""), "new"),
    }.get(vector["kind"], "new")
    assert failed_check(vector | {"secrets": [new, *vector["secrets"]]}, posted_of(vector)) is None


@named([vector for vector in VALID if len(vector["secrets"][0]) > 8])
def test_secrets_are_never_shown(vector: dict[str, Any]) -> None:
    shown = repr(source_of(vector))
    assert not [secret for secret in vector["secrets"] if secret.removeprefix("whsec_") in shown]


@named([next(vector for vector in VALID if vector["kind"] == kind) for kind in SIGNING])
def test_what_a_source_signs_it_verifies(vector: dict[str, Any]) -> None:
    scheme = source_of(vector).scheme
    for now in (0.0, 1_700_000_000.4):
        headers = scheme.sign(b'{"a": 1}', "id-1", now)
        scheme.verify(Posted.of(headers.items(), b'{"a": 1}'), now)


@pytest.mark.parametrize("name", ["basic: RFC 7617, section 2", "bearer: RFC 6750, section 2.1", PUBLIC_KEY_ONLY])
def test_where_nothing_can_be_signed_nothing_is(name: str) -> None:
    [vector] = [vector for vector in VALID if vector["name"] == name]
    with pytest.raises(CannotSign):
        source_of(vector).scheme.sign(b"", "1", 0)


def test_none_takes_requests_of_this_machine_only() -> None:
    scheme = KINDS["none"].model_validate({"kind": "none"}).source("local", ()).scheme
    scheme.verify(Posted({}, b"", from_loopback=True), 0)
    with pytest.raises(NotAuthentic) as failed:
        scheme.verify(Posted({}, b""), 0)
    assert failed.value.check is Check.LOOPBACK


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "none"}]
)
def test_none_takes_nothing_of_a_page_in_a_browser_of_this_machine(headers: dict[str, str]) -> None:
    """Any site could have its visitors' browsers post `text/plain` to loopback, without asking first."""
    scheme = KINDS["none"].model_validate({"kind": "none"}).source("local", ()).scheme
    with pytest.raises(NotAuthentic) as failed:
        scheme.verify(Posted(headers, b"", from_loopback=True), 0)
    assert (failed.value.check, failed.value.about) == (Check.LOOPBACK, *headers)


HEADERS = sorted({name.lower() for vector in VECTORS for name in vector["headers"]})
# What headers can hold: bytes, as Latin-1; and what schemes look for in them.
values = st.one_of(
    st.text(alphabet=st.characters(max_codepoint=255), max_size=60),
    st.lists(
        st.sampled_from(
            ["v1", "v1a", ",", " ", "=", "t=", "v1=", "sha256=", "Basic ", "Bearer ", "QUJD", "0", "1e9", "."]
        )
    ).map("".join),
)


@given(
    vector=st.sampled_from(VALID),
    headers=st.dictionaries(st.sampled_from(HEADERS), values, max_size=6),
    body=st.binary(max_size=40),
    now=st.floats(-1e12, 1e12),
)
@example(vector=VALID[0], headers={"webhook-signature": "v1a,\xff"}, body=b"\xff", now=0.0)
def test_whatever_is_posted_nothing_but_a_refusal_is_raised(
    vector: dict[str, Any], headers: dict[str, str], body: bytes, now: float
) -> None:
    """The trap of a known library: its verification raises ValueError, UnicodeDecodeError and binascii.Error."""
    sent = Posted.of((vector["headers"] | headers).items(), body)
    assert failed_check(vector | {"now": now}, sent) in {*Check, None}
