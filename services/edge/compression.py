"""Compressed streams: each write is flushed whole, so that nothing waits for the next one.

Off by default: the context costs memory for each connection, and events are small. Mind that
compressing secrets beside text that an attacker chooses tells their length (BREACH).
"""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Callable

# 32 KiB a connection instead of zlib's 256: a stream repeats its own names, and those are near.
_WINDOW_BITS, _MEMORY_LEVEL = 12, 5
_GZIP_HEADER = 16
_BROTLI_QUALITY, _BROTLI_WINDOW_BITS = 4, 14
_ZSTD_LEVEL = 1

Compress = Callable[[bytes], bytes]
"""One write -> its compressed bytes, flushed."""


def _gzip() -> Compress:
    stream = zlib.compressobj(wbits=_WINDOW_BITS + _GZIP_HEADER, memLevel=_MEMORY_LEVEL)
    return lambda chunk: stream.compress(chunk) + stream.flush(zlib.Z_SYNC_FLUSH)


def _brotli() -> Compress:
    import brotli

    stream = brotli.Compressor(quality=_BROTLI_QUALITY, lgwin=_BROTLI_WINDOW_BITS)
    return lambda chunk: bytes(stream.process(chunk) + stream.flush())


def _zstd() -> Compress:
    import zstandard

    stream = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    return lambda chunk: stream.compress(chunk) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


_CODINGS: dict[str, Callable[[], Compress]] = {"gzip": _gzip}
# Both come with `pip install carillon[compression]`.
if importlib.util.find_spec("brotli"):
    _CODINGS["br"] = _brotli
if importlib.util.find_spec("zstandard"):
    _CODINGS["zstd"] = _zstd
# Best first: zstd costs the least for what it saves here.
_PREFERENCE = [name for name in ("zstd", "br", "gzip") if name in _CODINGS]


def negotiate(accept_encoding: str) -> str | None:
    """The coding to use, by `Accept-Encoding` (RFC 9110, section 12.5.3); None for none."""
    accepted: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        accepted[name] = next((_quality(part[2:]) for part in parameters if part.startswith("q=")), 1.0)
    offered = {name: accepted.get(name, accepted.get("*", 0.0)) for name in _PREFERENCE}
    best = max(offered, key=lambda name: offered[name])
    return best if offered[best] > 0 else None


def compressor(coding: str) -> Compress:
    """For one stream in a coding that `negotiate` gave."""
    return _CODINGS[coding]()


def _quality(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
