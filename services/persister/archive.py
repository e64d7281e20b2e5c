"""Archives: parts of the log as compressed JSON Lines, whole on the disk before the log forgets them."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO

from shared.model.entry import Entry, Head
from shared.model.errors import LogUnavailable
from shared.model.lines import entry_line, head_line


async def archived(folder: Path, head: Head, through: int, pages: AsyncIterator[Sequence[Entry]]) -> Path:
    """Writes `<log id>/<first>-<last>.jsonl.gz`; once it returns, the file is on the disk, whole.

    A part that is there already, of a round that was cut short, is written anew. Raises
    `LogUnavailable` where the folder cannot be written: then nothing may be removed.
    """
    path = folder / head.log_id / f"{head.floor + 1:012}-{through:012}.jsonl.gz"
    unfinished = path.with_suffix(".part")
    try:
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        with open(unfinished, "wb") as file:  # noqa: ASYNC230  # opening is quick; writing is handed to a thread
            await _write(file, Head(head.log_id, through, head.floor), pages)
            await asyncio.to_thread(os.fsync, file.fileno())
        await asyncio.to_thread(_put_in_place, unfinished, path)
    except OSError as failed:
        raise LogUnavailable(f"the archive {path} cannot be written: {failed.strerror}") from failed
    return path


async def _write(file: BinaryIO, head: Head, pages: AsyncIterator[Sequence[Entry]]) -> None:
    # Without a time stamp of its own, so that the same part is the same file.
    with gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as packed:
        packed.write(head_line(head) + b"\n")
        async for entries in pages:
            await asyncio.to_thread(packed.write, b"".join(entry_line(entry) + b"\n" for entry in entries))


def _put_in_place(unfinished: Path, path: Path) -> None:
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
