"""Idempotency keys: which are lawful, and that no two calls become one event."""

from __future__ import annotations

import pytest

from services.ingest.idempotency import event_id, parse_key
from shared.model.errors import InvalidInput
from shared.model.producer import Producer


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (' "with space and \\"quotes\\" and \\\\" ', 'with space and "quotes" and \\'),
        ("a;b=c", "a;b=c"),
        ("k" * 255, "k" * 255),
    ],
)
def test_lawful_keys(sent: str, key: str) -> None:
    assert parse_key(sent) == key


@pytest.mark.parametrize("sent", ["", " ", '""', '"open', 'a"b', "two words", "ü", "a\x00", "a\nb", "k" * 256, '"\\x"'])
def test_unlawful_keys(sent: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_key(sent)
    assert refused.value.field == "Idempotency-Key"


def test_each_call_has_an_id_of_its_own_and_each_try_the_same() -> None:
    ids = [
        event_id(Producer(name), key, part)
        for name, key, part in [
            ("a", "b", ""),
            ("ab", "", ""),
            ("", "ab", ""),
            ("a", "", "b"),
            ("a", "b", "1"),
            ("a", "b1", ""),
        ]
    ]
    assert len(set(ids)) == len(ids)
    assert event_id(Producer("a"), "b", "1") == event_id(Producer("a", ("/x",)), "b", "1")
