"""The query of a stream as a table."""

from __future__ import annotations

import pytest

from services.edge.selection import Selection, parse_selection
from shared.model.errors import InvalidInput


def test_nothing_asked() -> None:
    assert parse_selection({}, None) == Selection()


def test_everything_asked() -> None:
    parameters = {"last-event-id": "abc.1", "topics": "a, b", "types": "order.*", "as": "message", "heartbeat": "2.5"}
    selection = parse_selection(parameters, None)
    assert (selection.cursor, selection.topics, selection.unnamed, selection.heartbeat_s) == (
        "abc.1", ("a", "b"), True, 2.5,
    )  # fmt: skip
    assert selection.types is not None
    assert selection.types.wants("order.created")


@pytest.mark.parametrize(
    ("parameter", "header", "cursor"),
    [
        ("earliest", None, "earliest"),
        ("abc.1", "abc.2", "abc.2"),
        ("abc.1", "", "abc.1"),
        (None, "garbage", "garbage"),
        (None, "x" * 10_240, "x" * 100),
    ],
)
def test_the_header_is_newer_than_the_address(parameter: str | None, header: str | None, cursor: str) -> None:
    parameters = {} if parameter is None else {"last-event-id": parameter}
    assert parse_selection(parameters, header).cursor == cursor


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"last-event-id": "garbage"}, "last-event-id"),
        ({"last-event-id": ""}, "last-event-id"),
        ({"lastEventId": "abc.1"}, "lastEventId"),
        ({"topics": ""}, "topics"),
        ({"topics": ",".join(map(str, range(51)))}, "topics"),
        ({"types": "a,,b"}, "types"),
        ({"types": "x" * 300}, "types"),
        ({"as": "named"}, "as"),
        ({"heartbeat": "fast"}, "heartbeat"),
        ({"heartbeat": "nan"}, "heartbeat"),
        ({"heartbeat": "0.5"}, "heartbeat"),
        ({"heartbeat": "1e9"}, "heartbeat"),
    ],
)
def test_refusals_name_the_parameter(parameters: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_selection(parameters, None)
    assert refused.value.field == field
