"""Producer keys."""

from __future__ import annotations

import pytest

from shared.web.keys import ApiKeys, is_loopback
from shared.web.problem import Refusal

PRODUCERS = ApiKeys({"shop": "shop-key", "dev": "dev"}, "CARILLON_PRODUCER_KEYS", loopback_only=["dev"])


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_key_names_its_producer(scheme: str) -> None:
    assert PRODUCERS.identify(f"{scheme} shop-key", from_loopback=False) == "shop"


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Basic c2hvcDo=", "shop-key", "Bearer shop", "Bearer shop-key2", "Bearer \xff"],
)
def test_no_known_key_is_401_with_a_challenge(authorization: str | None) -> None:
    with pytest.raises(Refusal) as refused:
        PRODUCERS.identify(authorization, from_loopback=True)
    assert (refused.value.status, refused.value.field) == (401, "Authorization")
    assert refused.value.headers == {"WWW-Authenticate": 'Bearer realm="carillon"'}
    assert "shop-key" not in str(refused.value)


def test_without_keys_nobody_publishes() -> None:
    with pytest.raises(Refusal):
        ApiKeys({}, "CARILLON_PRODUCER_KEYS").identify("Bearer ", from_loopback=True)


def test_a_loopback_key_counts_only_here() -> None:
    assert PRODUCERS.identify("Bearer dev", from_loopback=True) == "dev"
    with pytest.raises(Refusal) as refused:
        PRODUCERS.identify("Bearer dev", from_loopback=False)
    assert refused.value.status == 403


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("<local>", False),
        (None, False),
    ],
)
def test_loopback(client: str | None, expected: bool) -> None:
    assert is_loopback(client) is expected
