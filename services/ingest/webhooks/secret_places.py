"""Where secrets are: in the environment or in a file, and never in what names them. Errors never show one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from shared.model.checks import rule

# Of a secret's file; a key of 4096 bits in base64 is a fifth of it.
MAX_SECRET_BYTES = 4096


class NoSecret(Exception):
    """There is none where the declaration says. The message tells what was wrong, and the attribute what to do."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.problem, self.fix = problem, fix


class SecretPlace(BaseModel):
    """`{env: NAME}` or `{file: PATH}`; a path may be relative to the file of the declarations."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    env: str | None = None
    file: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_secret_here(cls, value: object) -> object:
        if isinstance(value, str):
            raise rule("a secret itself must not stand in this file", _FIX)
        return value

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise rule("it names no one place", _FIX)
        return self

    def __str__(self) -> str:
        return f"env {self.env}" if self.env is not None else f"file {self.file}"

    def path(self, folder: Path) -> Path | None:
        """The file, where it is one."""
        return None if self.file is None else folder / self.file

    def read(self, folder: Path) -> bytes:
        """The secret, without a line end after it. Raises `NoSecret`.

        Args:
            folder: that relative paths begin in.
        """
        path = self.path(folder)
        secret = _of_environment(self.env or "") if path is None else _of_file(path)
        if not secret:
            raise NoSecret(f"the secret in {self} is empty", "put it there; with an empty one anybody could sign")
        return secret


_FIX = "write {env: NAME} for a variable of the environment, or {file: PATH}"


def _of_environment(name: str) -> bytes:
    value = os.environ.get(name)
    if value is None:
        raise NoSecret(f"the environment has no {name[:80]}", "set it where ingest starts")
    return value.encode(errors="surrogateescape")


def _of_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as refused:
        why = getattr(refused, "strerror", refused)
        raise NoSecret(f"{str(path)[:200]!r}: {why}", "name a file that ingest may read") from None
    if len(content) > MAX_SECRET_BYTES:
        raise NoSecret(f"{path} is over {MAX_SECRET_BYTES} bytes", "name a file that holds the secret and nothing else")
    return content.removesuffix(b"\n").removesuffix(b"\r")
