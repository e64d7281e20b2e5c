"""Compressed streams: what is negotiated, and that each write can be read before the next."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from services.edge.compression import compressor, negotiate

DECOMPRESS: dict[str, Callable[[], Callable[[bytes], bytes]]] = {
    "gzip": lambda: zlib.decompressobj(31).decompress,
    "br": lambda: brotli.Decompressor().process,
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj().decompress,
}


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("gzip;q=0", None),
        ("br;q=0.5, gzip;q=0.8", "gzip"),
        ("*", "zstd"),
        ("*, zstd;q=0", "br"),
        ("gzip;q=high", None),
        ("GZIP", "gzip"),
    ],
)
def test_negotiation(accept: str, coding: str | None) -> None:
    assert negotiate(accept) == coding


@pytest.mark.parametrize("coding", list(DECOMPRESS))
def test_each_write_is_flushed_whole(coding: str) -> None:
    writes = [b"retry: 2000\n\n", b'id: x.1\nevent: t\ndata: {"a":1}\n\n' * 40, b":\n\n"]
    compress, decompress = compressor(coding), DECOMPRESS[coding]()
    assert [decompress(compress(write)) for write in writes] == writes
