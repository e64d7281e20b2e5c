"""Where the embedded adapters keep what tools look at while a process runs on it."""

from __future__ import annotations

from pathlib import Path

from shared.model.errors import InvalidInput
from shared.model.settings import Settings


def kept_file(settings: Settings, name: str, what: str, *, make: bool = False) -> Path:
    """The file of this name in the data folder.

    Args:
        what: what is not there without the file, as in "there is no log".
        make: the folder may be made; otherwise looking makes nothing.

    Raises `InvalidInput` where there is no such file, and it shall not be made; and where the folder cannot be used.
    """
    folder = settings.data_dir
    try:
        if folder is not None and make:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif folder is None or not (folder / name).exists():
            where = folder or "CARILLON_DATA_DIR"
            raise InvalidInput("--data", f"there {what} in {where}", "name the folder of carillon dev")
    except OSError as failed:
        raise InvalidInput("--data", f"{folder} cannot be used ({failed.strerror})", "name another folder") from failed
    return folder / name
