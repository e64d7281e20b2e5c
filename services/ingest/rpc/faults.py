"""What can go wrong with a call, as error objects tell it: section 5.1 of the specification, and our own range."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from shared.model.errors import CarillonError, IdentityConflict, InvalidInput, OutOfScope, RateLimited, Unavailable
from shared.web.problem import RETRY_AFTER_S


class Code(IntEnum):
    """Every code that an error object of ours may have."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    # The range from -32000 to -32099 is the server's to define.
    UNAVAILABLE = -32001
    CONFLICT = -32002
    NOT_ALLOWED = -32003
    RATE_LIMITED = -32004

    @property
    def message(self) -> str:
        """One for each code, as the specification writes those of its own."""
        return MESSAGES[self]

    @property
    def passes(self) -> bool:
        """Whether the same call may succeed later."""
        return self in (Code.UNAVAILABLE, Code.RATE_LIMITED)


MESSAGES = {
    Code.PARSE_ERROR: "Parse error",
    Code.INVALID_REQUEST: "Invalid Request",
    Code.METHOD_NOT_FOUND: "Method not found",
    Code.INVALID_PARAMS: "Invalid params",
    Code.INTERNAL_ERROR: "Internal error",
    Code.UNAVAILABLE: "Unavailable",
    Code.CONFLICT: "Conflict",
    Code.NOT_ALLOWED: "Not allowed",
    Code.RATE_LIMITED: "Rate limited",
}
MEANINGS = {
    Code.PARSE_ERROR: "The body is not JSON",
    Code.INVALID_REQUEST: "A call is no call, or a batch is empty or too long; nothing of it was carried out",
    Code.METHOD_NOT_FOUND: "No method has this name",
    Code.INVALID_PARAMS: "A parameter is missing, unknown or wrong, or the event made of them is",
    Code.INTERNAL_ERROR: "The server failed, and logged why",
    Code.UNAVAILABLE: "Broker or log do not answer, or too much is under way: send it again after retry_after_s",
    Code.CONFLICT: "The same source and id, or idempotency key, with other content",
    Code.NOT_ALLOWED: "The producer may not publish this type, or under this source",
    Code.RATE_LIMITED: "The producer sends too much: send it again after retry_after_s",
}


class Fault(Exception):
    """A call ends with this error object.

    Args:
        code: what kind of failure it is.
        problem: what was wrong, and what was found.
        field: the parameter or member at fault, where there is one.
        fix: what the caller should do instead.
        more: further members of `data`, such as `retry_after_s`.
    """

    def __init__(
        self,
        code: Code,
        problem: str,
        *,
        field: str | None = None,
        fix: str | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code.message}: {problem}")
        self.code, self.problem, self.field, self.fix, self.more = code, problem, field, fix, dict(more or {})

    def shown(self) -> dict[str, Any]:
        """The error object."""
        said = {"field": self.field, "problem": self.problem, "fix": self.fix}
        data = {name: value for name, value in said.items() if value is not None} | self.more
        return {"code": int(self.code), "message": self.code.message, "data": data}


def fault_of(error: CarillonError) -> Fault:
    """As `shared.web.problem.problem_of` says it over HTTP."""
    match error:
        case IdentityConflict():
            return _of_input(Code.CONFLICT, error)
        case OutOfScope():
            return _of_input(Code.NOT_ALLOWED, error)
        case InvalidInput():
            return _of_input(Code.INVALID_PARAMS, error)
        case RateLimited():
            return _for_now(Code.RATE_LIMITED, error.what, error.retry_after_s)
        case Unavailable():
            # The adapter's own words may name hosts of the inner network.
            return _for_now(Code.UNAVAILABLE, f"the {error.backend} does not answer now", RETRY_AFTER_S)
        case _:
            return _for_now(Code.UNAVAILABLE, str(error), RETRY_AFTER_S)


def _of_input(code: Code, error: InvalidInput) -> Fault:
    return Fault(code, error.problem, field=error.field, fix=error.fix)


def _for_now(code: Code, problem: str, retry_after_s: int) -> Fault:
    return Fault(code, problem, fix="send the same call again later", more={"retry_after_s": retry_after_s})
