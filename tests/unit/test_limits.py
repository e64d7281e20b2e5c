"""Token buckets, and which pages count as foreign."""

from __future__ import annotations

import pytest

from services.edge.limits import Rate
from services.edge.origins import cors_headers, is_foreign
from shared.model.rates import BURST_S, MAX_BUCKETS, Rates

ALLOWED = ("https://app.example.com",)
HOST = "events.example.com"


def test_a_burst_then_the_rate() -> None:
    rate = Rate(per_s=2)
    burst = int(2 * BURST_S)
    assert [rate.take("a", 100.0) for _ in range(burst)] == [0.0] * burst
    assert rate.take("a", 100.0) == pytest.approx(0.5)
    assert rate.take("a", 100.4) == pytest.approx(0.1)
    assert rate.take("a", 100.5) == 0.0
    assert rate.take("b", 100.5) == 0.0


def test_a_slow_rate_still_lets_one_in() -> None:
    rate = Rate(per_s=0.01)
    assert rate.take("a", 0.0) == 0.0
    assert rate.take("a", 0.0) == pytest.approx(100)


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    rate = Rate(per_s=0.05)
    assert rate.take("a", 10.0) == 0.0
    assert rate.take("a", 5.0) > 0


def test_buckets_are_bounded() -> None:
    rates = Rates()
    for number in range(MAX_BUCKETS + 10):
        rates.take(str(number), 1.0, 0.0)
    assert len(rates._buckets) == MAX_BUCKETS


def test_many_at_once_are_paid_off() -> None:
    rates = Rates()
    assert rates.take("a", 2.0, 0.0, count=15) == 0.0
    assert rates.take("a", 2.0, 0.0, count=10) == pytest.approx(2.5)
    assert rates.take("a", 2.0, 0.0, count=5) == 0.0
    assert rates.take("a", 2.0, 10.0, count=500) == 0.0, "more than a burst, once the bucket is full"
    assert rates.take("a", 2.0, 10.0) == pytest.approx(240.5), "which takes its time"


@pytest.mark.parametrize(
    ("origin", "fetch_site", "expected"),
    [
        (None, None, False),
        (None, "same-origin", False),
        (None, "none", False),
        (None, "same-site", True),
        (None, "cross-site", True),
        ("https://events.example.com", "same-origin", False),
        ("http://events.example.com", None, False),
        ("https://app.example.com", "same-site", False),
        ("https://app.example.com.evil.test", None, True),
        ("https://evil.test", "cross-site", True),
        ("https://events.example.com:8443", None, True),
        ("null", "cross-site", True),
        ("", None, True),
        ("https://EVENTS.example.com", None, False),
        ("http://[", None, True),
        ("events.example.com", None, True),
    ],
)
def test_foreign_pages(origin: str | None, fetch_site: str | None, expected: bool) -> None:
    assert is_foreign(origin, fetch_site, HOST, ALLOWED) is expected


def test_cors_headers_name_exactly_the_origin_that_asked() -> None:
    headers = cors_headers("https://app.example.com", ALLOWED, preflight=True)
    assert headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert "Last-Event-ID" in headers["Access-Control-Allow-Headers"]
    for origin in (None, "https://evil.test", "null"):
        assert cors_headers(origin, ALLOWED, preflight=False) == {"Vary": "Origin"}
