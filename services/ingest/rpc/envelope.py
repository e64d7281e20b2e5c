"""JSON-RPC 2.0 as a pure machine: bytes -> what is asked; what was found -> bytes.

Source: https://www.jsonrpc.org/specification, whose examples are its tests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.ingest.rpc.faults import Code, Fault
from shared.model.errors import InvalidInput
from shared.model.event import decoded_json

VERSION = "2.0"
# As many publishes as one request may have under way beside those of everybody else.
MAX_BATCH_CALLS = 100

Id = str | int | float | None
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Call:
    """A lawful request object."""

    method: str
    params: dict[str, Any] | list[Any] | None
    id: Id = None
    is_notification: bool = False
    """Without an id: carried out and never answered. An id of null is one, and is answered."""


@dataclass(frozen=True, slots=True)
class Unlawful:
    """What is no request object, with the id that it has all the same."""

    fault: Fault
    id: Id = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What one body holds, in its order."""

    items: Sequence[Call | Unlawful]
    is_batch: bool = False

    @property
    def wants_answer(self) -> bool:
        """Whether anything of it is answered."""
        return not all(isinstance(item, Call) and item.is_notification for item in self.items)


def asked_by(body: bytes, max_bytes: int) -> Asked:
    """What the body asks; never raises: what is wrong with it is part of what is answered."""
    if len(body) > max_bytes:
        return _refused(_invalid("body", f"{len(body)} bytes", f"send at most {max_bytes}, in several batches"))
    try:
        value = decoded_json(body)
    except InvalidInput as refused:
        return _refused(Fault(Code.PARSE_ERROR, refused.problem, field="body", fix=refused.fix))
    if not isinstance(value, list):
        return Asked((_item(value),))
    if not value:
        return _refused(_invalid("body", "the batch is empty", "send at least one call"))
    if len(value) > MAX_BATCH_CALLS:
        return _refused(_invalid("body", f"a batch of {len(value)} calls", f"send at most {MAX_BATCH_CALLS} at once"))
    return Asked(tuple(map(_item, value)), is_batch=True)


def written(asked: Asked, outcomes: Sequence[Any]) -> bytes | None:
    """The answer to all of it; None where nothing is to be said.

    Args:
        outcomes: for each item the call's result, or its `Fault`; whatever it is for one that is unlawful.
    """
    pairs = zip(asked.items, outcomes, strict=True)
    answers = [answer for item, outcome in pairs if (answer := _answer(item, outcome)) is not None]
    if not answers:
        return None
    return json.dumps(answers if asked.is_batch else answers[0], ensure_ascii=False, separators=(",", ":")).encode()


def _answer(item: Call | Unlawful, outcome: Any) -> dict[str, Any] | None:
    if isinstance(item, Unlawful):
        outcome = item.fault
    elif item.is_notification:
        return None
    said = {"error": outcome.shown()} if isinstance(outcome, Fault) else {"result": outcome}
    return {"jsonrpc": VERSION, **said, "id": item.id}


def _item(value: Any) -> Call | Unlawful:
    if not isinstance(value, dict):
        return Unlawful(_invalid("body", f"{_kind(value)} is no call", "send an object with jsonrpc, method and id"))
    id_ = value.get("id", _ABSENT)
    if fault := _what_is_wrong(value, id_):
        return Unlawful(fault, id_ if _is_id(id_) else None)
    notifies = id_ is _ABSENT
    return Call(value["method"], value.get("params"), None if notifies else id_, is_notification=notifies)


def _what_is_wrong(value: dict[str, Any], id_: Any) -> Fault | None:
    if value.get("jsonrpc") != VERSION:
        return _invalid("jsonrpc", "it is not '2.0'", 'send "jsonrpc": "2.0" with each call')
    if not isinstance(value.get("method"), str):
        return _invalid("method", "it is missing, or no string", "name a method; rpc.discover lists them")
    if not isinstance(value.get("params", {}), dict | list):
        return _invalid("params", f"{_kind(value['params'])} holds no parameters", "send an object, or leave it out")
    if not (id_ is _ABSENT or _is_id(id_)):
        return _invalid("id", f"{_kind(id_)} is no id", "send a string, a number or null; leave it out to notify")
    return None


def _is_id(value: Any) -> bool:
    return value is None or (isinstance(value, str | int | float) and not isinstance(value, bool))


def _kind(value: Any) -> str:
    """What it is, without repeating it."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case int() | float():
            return "a number"
        case list():
            return "an array"
        case _:
            return "an object"


def _invalid(field: str, problem: str, fix: str) -> Fault:
    return Fault(Code.INVALID_REQUEST, problem, field=field, fix=fix)


def _refused(fault: Fault) -> Asked:
    """One error for the whole body, with an id of null."""
    return Asked((Unlawful(fault),))
