"""The driver's errors become Carillon's here, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bson.errors import BSONError
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure, PyMongoError

from shared.model.errors import AppendConflict, AppendRejected, FoldRejected, LogUnavailable

DUPLICATE_KEY = 11000
# Codes that blame the document, not the moment: BadValue, InvalidLength, InvalidBSON, a validator's
# refusal, BSONObjectTooLarge. Anything not listed counts as an outage: a batch that is wrongly tried
# again costs time, one that is wrongly refused would throw good events to the dead letters.
REJECTED = frozenset({2, 16, 22, 121, 10334})

MAX_DETAIL_CHARS = 200


@contextmanager
def translated() -> Iterator[None]:
    """Inside, errors of the driver and expired time are `LogUnavailable`."""
    try:
        yield
    except PyMongoError as error:
        raise LogUnavailable(_first_line(error)) from error
    except TimeoutError as error:
        raise LogUnavailable("no answer in time") from error


@contextmanager
def translated_append() -> Iterator[None]:
    """Inside, what blames the batch is told apart from what blames the moment."""
    try:
        with translated():
            yield
    except LogUnavailable as unavailable:
        cause = unavailable.__cause__
        if isinstance(cause, DuplicateKeyError) or _code(cause) == DUPLICATE_KEY:
            raise AppendConflict(_first_line(cause)) from cause
        if _code(cause) in REJECTED:
            raise AppendRejected(_first_line(cause)) from cause
        raise
    except (BSONError, OverflowError, UnicodeError) as error:
        raise AppendRejected(_first_line(error)) from error


@contextmanager
def translated_fold() -> Iterator[None]:
    """Inside, what blames the rows of a commit is told apart from what blames the moment."""
    try:
        with translated_append():
            yield
    except AppendRejected as rejected:
        raise FoldRejected(str(rejected)) from rejected
    except ValueError as error:
        # What is no JSON.
        raise FoldRejected(_first_line(error)) from error


def _code(error: BaseException | None) -> int | None:
    if isinstance(error, BulkWriteError):
        first = (error.details.get("writeErrors") or [{}])[0]
        return first.get("code") or error.code
    return error.code if isinstance(error, OperationFailure) else None


def _first_line(error: BaseException | None) -> str:
    # The driver goes on with its whole view of the topology, which is no news after the first sentence.
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:MAX_DETAIL_CHARS]
