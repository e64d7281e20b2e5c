"""The signing secret of a data folder, so that `carillon token` and `carillon dev` agree on one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from shared.model.errors import InvalidInput

FILE_NAME = "secret"


def folder_secret(folder: Path) -> str:
    """The folder's secret, made at the first call. Raises `InvalidInput` for an unwritable folder."""
    path = folder / FILE_NAME
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            # Exclusive and private from its first moment: two processes may start at once.
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
        except FileExistsError:
            pass
        return path.read_text().strip()
    except OSError as refused:
        problem = f"{str(folder)!r} cannot be used: {refused.strerror}"
        raise InvalidInput("--data", problem, "choose a folder that you may write to, or --memory") from None
