"""Reading frames: all that one read of the socket has brought, without a wait between them."""

from __future__ import annotations

import struct
from typing import Any

import aiormq.connection
import pamqp.frame
from aiormq.connection import FrameReceiver
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from pamqp.constants import FRAME_HEADER_SIZE
from pamqp.exceptions import PAMQPException

# As much as the loop's transport brings at a time; a full prefetch of small events is a few of them.
READ_BYTES = 64 * 1024

_HEADER = struct.Struct(">BHI")
_FRAME_END_BYTES = 1


class FrameReader(FrameReceiver):
    """The driver's reader waits three times for each frame, nine times for a delivery: half of what receiving cost."""

    def __init__(self, reader: Any) -> None:
        super().__init__(reader)
        self._read, self._at = b"", 0

    async def get_frame(self) -> Any:
        """The next frame, as the driver's own: (its size, its channel, itself). Raises what that raises."""
        while (size := self._size_of_next()) is None:
            if not self.started or self.reader.at_eof():
                # The greeting, which may be no frame, and the end of the stream.
                return await super().get_frame()
            await self._read_more()
        frame = self._read[self._at : self._at + size]
        self._at += size
        try:
            return pamqp.frame.unmarshal(frame)
        except PAMQPException as refused:
            raise InvalidFrameError(str(refused)) from refused

    def _size_of_next(self) -> int | None:
        """Of the next frame in bytes, where it is here as a whole."""
        here = len(self._read) - self._at
        if here < FRAME_HEADER_SIZE:
            return None
        kind, _, length = _HEADER.unpack_from(self._read, self._at)
        if not kind:
            # Its length is none that one could wait for.
            raise InvalidFrameError(self._read[self._at :])
        size: int = FRAME_HEADER_SIZE + length + _FRAME_END_BYTES
        return size if size <= here else None

    async def _read_more(self) -> None:
        try:
            more = await self.reader.read(READ_BYTES)
        except OSError as failed:
            raise AMQPConnectionError(f"Server connection error: {failed!r}") from failed
        if not more:
            raise AMQPConnectionError("Server connection unexpectedly closed.")
        self._read, self._at = self._read[self._at :] + more, 0


def install() -> None:
    """Has the driver read with it; safe to call twice."""
    # It looks the name up there for each connection.
    aiormq.connection.FrameReceiver = FrameReader  # type: ignore[misc]  # there is no other way in
