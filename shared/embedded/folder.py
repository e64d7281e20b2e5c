"""The data folder belongs to one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.model.errors import InvalidInput

_FIELD = "CARILLON_DATA_DIR"


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Makes the folder where there is none, and holds its lock. Raises `InvalidInput`.

    The broker keeps receipts and feeds in memory: a second process on the same files would hand
    out the same arrivals again and deliver to nobody. The kernel drops the lock with the process,
    however it ends, so a file left behind locks nobody out.
    """
    lock = _open_lock(folder)
    try:
        _take(lock, folder)
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(lock)


def _open_lock(folder: Path) -> int:
    try:
        # Events are the users' business: nobody else on this machine may read them.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        fix = "name a folder that this user may write, or start with --memory"
        raise InvalidInput(_FIELD, f"cannot write {error.filename or folder} ({error.strerror})", fix) from error


def _take(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
        fix = "stop that process, or name another folder"
        raise InvalidInput(_FIELD, f"{folder} is in use by process {holder}", fix, reason="folder-in-use") from None
    except OSError as error:
        fix = "name a folder on a local file system"
        raise InvalidInput(_FIELD, f"{folder} cannot be locked ({error.strerror})", fix) from error
