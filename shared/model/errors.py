"""Every error that crosses a module boundary.

An adapter translates its driver's errors into these once; services never see a driver's own.
"""

from __future__ import annotations

import math


class CarillonError(Exception):
    """The root of all errors that Carillon raises on purpose."""


class InvalidInput(CarillonError):
    """Something that came from outside breaks a rule.

    Args:
        field: the attribute, header, parameter or setting at fault.
        problem: what is wrong with it and what was found, without repeating a whole body.
        fix: what the sender should do instead.
        reason: a short stable word for logs, metrics and dead letters.
    """

    reason = "invalid"

    def __init__(self, field: str, problem: str, fix: str, *, reason: str | None = None) -> None:
        super().__init__(f"{field}: {problem}; {fix}")
        self.field, self.problem, self.fix = field, problem, fix
        self.reason = reason or type(self).reason


class InvalidEvent(InvalidInput):
    """The bytes are not a CloudEvent that Carillon accepts."""

    reason = "invalid-event"


class EventTooLarge(InvalidEvent):
    """The event is over the size limit."""

    reason = "too-large"


class VersionConflict(InvalidEvent):
    """`expectedversion` names another version than the stream has."""

    reason = "version-conflict"


class IdentityConflict(InvalidEvent):
    """An event of the same source and id has other content."""

    reason = "identity-conflict"


class OutOfScope(InvalidEvent):
    """The producer may not publish this."""

    reason = "out-of-scope"


class InvalidCursor(InvalidInput):
    """The text is not a cursor."""

    reason = "invalid-cursor"


class RateLimited(CarillonError):
    """Whoever asks does so too often.

    Args:
        what: the limit, in words for the client.
        retry_after_s: when it is worth to try again.
    """

    def __init__(self, what: str, retry_after_s: float) -> None:
        super().__init__(what)
        self.what, self.retry_after_s = what, max(1, math.ceil(retry_after_s))


class Abandoned(CarillonError):
    """A batch is taken as a whole, and another event of it is refused."""

    def __init__(self) -> None:
        super().__init__("another event of the batch is refused, and the batch is taken as a whole")


class Busy(CarillonError):
    """This process has as much under way as it takes on; the same call may succeed in a moment."""


class Unavailable(CarillonError):
    """A backend does not answer now; the same call may succeed later.

    Whether the call took effect is unknown, so callers repeat it with the same identity.
    """

    def __init__(self, backend: str, detail: str) -> None:
        super().__init__(f"{backend} unavailable: {detail}")
        self.backend, self.detail = backend, detail


class BrokerUnavailable(Unavailable):
    """The broker cannot be reached, or did not confirm in time."""

    def __init__(self, detail: str) -> None:
        super().__init__("broker", detail)


class LogUnavailable(Unavailable):
    """The log's storage cannot be reached, or did not answer in time."""

    def __init__(self, detail: str) -> None:
        super().__init__("log", detail)


class NotReady(CarillonError):
    """The process runs and its backends answer, and it cannot do its job all the same; the message says why."""


class Degraded(CarillonError):
    """The process does its job, but not all of it; the message says what not, and what to do."""


class ModelMissing(Unavailable):
    """A read model has not been built yet, or not in the shape that is asked for; soon it will be."""

    def __init__(self, detail: str) -> None:
        super().__init__("read model", detail)


class FoldConflict(CarillonError):
    """A generation of a read model is not where the caller believed it to be: somebody else folds it, or dropped it.

    Nothing was stored. Ask anew where it is.
    """


class FoldRejected(CarillonError):
    """The storage refuses a row of this commit whatever its state: a body that is no JSON, or too large.

    Nothing of it was stored.
    """


class KeyTaken(CarillonError):
    """A producer's key of this id or digest is there already."""


class FenceLost(CarillonError):
    """Another writer has claimed the log since; this one must stop writing at once."""


class AppendConflict(CarillonError):
    """An entry of the batch breaks a unique index (identity, or version in its stream).

    Nothing of the batch was stored. Plan it again from what the log holds now.
    """


class AppendRejected(CarillonError):
    """The storage refuses this batch whatever the state of the log. Nothing of it was stored.

    Some entry in it is poison: append one by one to find which.
    """


class LogGap(CarillonError):
    """The log misses a position. It must never happen; nobody reads past it."""


class LogNotEmpty(CarillonError):
    """A log that holds entries, or held some, cannot take over another one's."""
