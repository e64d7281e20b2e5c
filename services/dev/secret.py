"""The signing secret of a data folder, so that `carillon token` and `carillon dev` agree on one."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from shared.model.errors import InvalidInput

FILE_NAME = "secret"


def folder_secret(folder: Path) -> str:
    """The folder's secret, made at the first call. Raises `InvalidInput` for an unwritable folder, or an empty file."""
    path = folder / FILE_NAME
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        secret = path.read_text().strip()
    except OSError as refused:
        problem = f"{str(folder)!r} cannot be used: {refused.strerror}"
        raise InvalidInput("--data", problem, "choose a folder that you may write to, or --memory") from None
    if not secret:
        raise InvalidInput("--data", f"{path} is empty: anybody could sign", "remove it, and a new one is made")
    return secret


def _make(path: Path) -> None:
    """There at once and whole, or not at all: two processes may start at the same time, and one may die meanwhile."""
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        # Private from its first moment.
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
