"""A bound for what waits for one HTTP/2 stream.

Hypercorn 0.18 lets the application write on whenever it could not send, as soon as it has noticed: a
client that closes one stream's window, or opens it a byte at a time, makes that stream's buffer grow
for as long as there is something to send.
"""

from __future__ import annotations

from hypercorn.protocol import h2


class BoundedStreamBuffer(h2.StreamBuffer):
    """Lets the writer go on once little is left to send, not once little was sent."""

    async def pop(self, max_length: int) -> bytes:
        """Up to `max_length` bytes, which are then sent."""
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if len(self.buffer) < h2.BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


def bound_stream_buffers() -> None:
    """Has Hypercorn use it; safe to call twice."""
    h2.StreamBuffer = BoundedStreamBuffer  # type: ignore[misc]  # there is no other way in
