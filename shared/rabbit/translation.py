"""The driver's errors become Carillon's here, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from shared.model.errors import BrokerUnavailable

MAX_DETAIL_CHARS = 200


@contextmanager
def translated() -> Iterator[None]:
    """Inside, errors of the driver and expired time are `BrokerUnavailable`."""
    try:
        yield
    except asyncio.CancelledError:
        # aiormq ends what waits on a closing channel with CancelledError, although nobody cancelled us.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerUnavailable("the channel was closed") from None
    except TimeoutError as error:
        raise BrokerUnavailable("no answer in time") from error
    except CONNECTION_EXCEPTIONS as error:
        raise BrokerUnavailable(_one_line(error)) from error


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:MAX_DETAIL_CHARS]
