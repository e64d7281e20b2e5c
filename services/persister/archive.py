"""Archives: parts of the log as compressed JSON Lines, whole on the disk before the log forgets them."""

from __future__ import annotations

import asyncio
import gzip
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from shared.model.entry import Entry, Head
from shared.model.errors import LogUnavailable
from shared.model.lines import entry_line, head_line


async def archived(folder: Path, part: Head, pages: AsyncIterator[Sequence[Entry]]) -> Path:
    """Writes `<log id>/<first>-<last>.jsonl.gz`; once it returns, the file is on the disk, whole.

    A part that is there already, of a round that was cut short, is written anew. Raises `LogUnavailable` where
    the folder cannot be written, or the log has lost some of the part meanwhile: then nothing may be removed.

    Args:
        part: the log from its floor to the last position of the part.
    """
    path = folder / part.log_id / f"{part.floor + 1:012}-{part.last:012}.jsonl.gz"
    try:
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        with _unfinished(path) as file:
            await _write(file, part, pages)
            await asyncio.to_thread(os.fsync, file.fileno())
            await asyncio.to_thread(_put_in_place, file.name, path)
    except OSError as failed:
        raise LogUnavailable(f"the archive {path} cannot be written: {failed.strerror}") from failed
    return path


@contextmanager
def _unfinished(path: Path) -> Iterator[IO[bytes]]:
    """A file of a name of its own, for somebody else may archive the same part; gone if it is not put in place."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", suffix=".part", delete=False) as file:
        try:
            yield file
        finally:
            with suppress(FileNotFoundError):
                os.unlink(file.name)


async def _write(file: IO[bytes], part: Head, pages: AsyncIterator[Sequence[Entry]]) -> None:
    # Without a time stamp of its own, so that the same part is the same file.
    with gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as packed:
        packed.write(head_line(part) + b"\n")
        count = 0
        async for entries in pages:
            await asyncio.to_thread(packed.write, b"".join(entry_line(entry) + b"\n" for entry in entries))
            count += len(entries)
    if count != part.last - part.floor:
        raise LogUnavailable(f"the log was trimmed by somebody else below {part.last}, while it was archived")


def _put_in_place(unfinished: str, path: Path) -> None:
    os.replace(unfinished, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
