"""The bytes of whole streams, against those that were written down."""

from __future__ import annotations

import os

import pytest

from tests.golden.frames import FOLDER, LONG_LINE_BYTES, STREAMS, golden_bytes


@pytest.mark.parametrize("name", STREAMS)
def test_the_bytes_are_as_written_down(name: str) -> None:
    """After a change that is meant: UPDATE_GOLDEN=1 pytest tests/golden/test_frames.py, and read the difference."""
    made = STREAMS[name].write()
    if os.environ.get("UPDATE_GOLDEN"):
        (FOLDER / f"{name}.sse").write_bytes(made)
    assert made == golden_bytes(name)


def test_every_file_has_its_case() -> None:
    assert {path.stem for path in FOLDER.glob("*.sse")} == STREAMS.keys()


def test_the_long_line_is_one_line_of_nearly_a_megabyte() -> None:
    assert max(map(len, golden_bytes("long-line").split(b"\n"))) >= LONG_LINE_BYTES
