"""JSON-RPC's envelope: the specification's own examples, and what it does not say by example."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.rpc.envelope import MAX_BATCH_CALLS, Call, Unlawful, asked_by, written
from services.ingest.rpc.faults import MEANINGS, MESSAGES, Code, Fault

MAX_BYTES = 100_000


def subtract(params: Any) -> Any:
    if isinstance(params, dict):
        return params["minuend"] - params["subtrahend"]
    return params[0] - params[1]


METHODS = {
    "subtract": subtract,
    "sum": sum,
    "get_data": lambda params: ["hello", 5],
    **dict.fromkeys(["update", "notify_hello", "notify_sum"], lambda params: None),
}


def carried_out(item: Call | Unlawful) -> Any:
    if isinstance(item, Unlawful):
        return None
    if item.method not in METHODS:
        return Fault(Code.METHOD_NOT_FOUND, "nothing is called so")
    return METHODS[item.method](item.params)


def answer(body: bytes) -> Any:
    """What comes back, without the data of errors, which the specification leaves to the server."""
    asked = asked_by(body, MAX_BYTES)
    answered = written(asked, [carried_out(item) for item in asked.items])
    assert (answered is not None) == asked.wants_answer
    if answered is None:
        return None
    found = json.loads(answered)
    for each in found if isinstance(found, list) else [found]:
        if "error" in each:
            assert each["error"].pop("data")["problem"]
    return found


# https://www.jsonrpc.org/specification, section 7, word for word: what is sent, and what comes back.
EXAMPLES = {
    "positional parameters": [
        (
            '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
            '{"jsonrpc": "2.0", "result": 19, "id": 1}',
        ),
        (
            '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
            '{"jsonrpc": "2.0", "result": -19, "id": 2}',
        ),
    ],
    "named parameters": [
        (
            '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
            '{"jsonrpc": "2.0", "result": 19, "id": 3}',
        ),
        (
            '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
            '{"jsonrpc": "2.0", "result": 19, "id": 4}',
        ),
    ],
    "a notification": [
        ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None),
        ('{"jsonrpc": "2.0", "method": "foobar"}', None),
    ],
    "non-existent method": [
        (
            '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
            '{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}',
        ),
    ],
    "invalid JSON": [
        (
            '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]',
            '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}',
        ),
    ],
    "invalid request object": [
        (
            '{"jsonrpc": "2.0", "method": 1, "params": "bar"}',
            '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}',
        ),
    ],
    "batch, invalid JSON": [
        (
            """[
  {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
  {"jsonrpc": "2.0", "method"
]""",
            '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}',
        ),
    ],
    "an empty array": [
        ("[]", '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}'),
    ],
    "an invalid batch, but not empty": [
        ("[1]", '[{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}]'),
    ],
    "an invalid batch": [
        (
            "[1,2,3]",
            """[
  {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
  {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
  {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}
]""",
        ),
    ],
    "a batch": [
        (
            """[
        {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
        {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
        {"foo": "boo"},
        {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
        {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
    ]""",
            """[
        {"jsonrpc": "2.0", "result": 7, "id": "1"},
        {"jsonrpc": "2.0", "result": 19, "id": "2"},
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
        {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "5"},
        {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}
    ]""",
        ),
    ],
    "a batch of notifications": [
        (
            """[
        {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
    ]""",
            None,
        ),
    ],
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_the_specification(name: str) -> None:
    for sent, expected in EXAMPLES[name]:
        assert answer(sent.encode()) == (None if expected is None else json.loads(expected))


@pytest.mark.parametrize(
    "id_", ['"1"', '""', '"日本 🎉"', "1", "0", "-7", "1.5", "1e2", "123456789012345678901234567890", "null"]
)
def test_an_id_comes_back_as_it_was_sent(id_: str) -> None:
    sent = f'{{"jsonrpc":"2.0","method":"get_data","id":{id_}}}'
    asked = asked_by(sent.encode(), MAX_BYTES)
    answered = written(asked, [1])
    assert answered is not None, "an id of null is an id: only its absence makes a notification"
    found = json.loads(answered)
    assert json.dumps(found["id"]) == json.dumps(json.loads(id_)), "the same value, of the same type"


@pytest.mark.parametrize(
    ("call", "field", "id_"),
    [
        ({"method": "sum", "id": 7}, "jsonrpc", 7),
        ({"jsonrpc": 2.0, "method": "sum", "id": 7}, "jsonrpc", 7),
        ({"jsonrpc": "1.0", "method": "sum", "id": "x"}, "jsonrpc", "x"),
        ({"jsonrpc": "2.0", "id": 7}, "method", 7),
        ({"jsonrpc": "2.0", "method": None, "id": 7}, "method", 7),
        ({"jsonrpc": "2.0", "method": "sum", "params": None, "id": 7}, "params", 7),
        ({"jsonrpc": "2.0", "method": "sum", "params": "x", "id": 7}, "params", 7),
        ({"jsonrpc": "2.0", "method": "sum", "params": 0, "id": 7}, "params", 7),
        ({"jsonrpc": "2.0", "method": "sum", "id": True}, "id", None),
        ({"jsonrpc": "2.0", "method": "sum", "id": [1]}, "id", None),
        ({"jsonrpc": "2.0", "method": "sum", "id": {}}, "id", None),
        ({"jsonrpc": "2.0", "method": "sum", "params": "x"}, "params", None),
    ],
)
def test_what_is_no_call_says_which_member_is_wrong(call: dict[str, Any], field: str, id_: Any) -> None:
    asked = asked_by(json.dumps(call).encode(), MAX_BYTES)
    answered = written(asked, [None])
    assert answered is not None
    found = json.loads(answered)
    assert (found["error"]["code"], found["error"]["data"]["field"], found["id"]) == (-32600, field, id_)
    assert found["error"]["data"]["fix"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"\xff", -32700),
        (b'"\\ud800"', -32700),
        (b"NaN", -32700),
        (b"[" * 100_000, -32700),
        (b'{"jsonrpc":"2.0","method":"sum","id":1e999}', -32700),
        (b"null", -32600),
        (b'"x"', -32600),
        (b" " * (MAX_BYTES + 1), -32600),
        (json.dumps([{"jsonrpc": "2.0", "method": "sum", "id": 1}] * (MAX_BATCH_CALLS + 1)).encode(), -32600),
    ],
)
def test_one_error_for_the_whole_body(body: bytes, code: int) -> None:
    found = answer(body)
    assert found == {"jsonrpc": "2.0", "error": {"code": code, "message": MESSAGES[Code(code)]}, "id": None}


def test_a_batch_may_be_as_long_as_its_bound() -> None:
    calls = [{"jsonrpc": "2.0", "method": "sum", "params": [number], "id": number} for number in range(MAX_BATCH_CALLS)]
    found = answer(json.dumps(calls).encode())
    assert [each["result"] for each in found] == list(range(MAX_BATCH_CALLS))


def test_unknown_members_are_nobodys_business() -> None:
    assert answer(b'{"jsonrpc":"2.0","method":"sum","params":[1],"id":1,"auth":"x"}')["result"] == 1


def test_a_body_is_not_repeated_in_what_is_wrong_with_it() -> None:
    secret = "correct horse battery staple"
    for body in (f'"{secret}"', f'{{"jsonrpc":"{secret}"}}', f'{{"jsonrpc":"2.0","method":["{secret}"]}}', secret):
        asked = asked_by(body.encode(), MAX_BYTES)
        assert secret.encode() not in (written(asked, [None]) or b"")


def test_every_code_has_a_message_and_a_meaning_of_its_own() -> None:
    assert MESSAGES.keys() == MEANINGS.keys() == set(Code)
    assert len(set(MESSAGES.values())) == len(Code)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
members = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "2.0", "1.0", 2.0, None]),
        "method": st.sampled_from([*METHODS, "foobar", "rpc.x", 1, None]),
        "params": json_values,
        "id": json_values,
    },
)
near_calls = members | json_values


@given(
    st.one_of(
        st.binary(max_size=60), st.one_of(near_calls, st.lists(near_calls, max_size=5)).map(json.dumps).map(str.encode)
    )
)
def test_whatever_comes_the_answer_is_lawful(body: bytes) -> None:
    asked = asked_by(body, MAX_BYTES)
    answered = written(asked, [1] * len(asked.items))
    if answered is None:
        assert all(isinstance(item, Call) and item.is_notification for item in asked.items)
        return
    found = json.loads(answered)
    assert isinstance(found, list) == asked.is_batch
    for each in found if asked.is_batch else [found]:
        assert each["jsonrpc"] == "2.0"
        assert ("result" in each) != ("error" in each)
        assert set(each) - {"result", "error"} == {"jsonrpc", "id"}
    lawful = [item.id for item in asked.items if isinstance(item, Call) and not item.is_notification]
    assert [each["id"] for each in (found if asked.is_batch else [found]) if "result" in each] == lawful
