"""Files in which operators declare things: YAML as parts that know their lines. Pure, but for `read`.

PyYAML's nodes are read as they are, never constructed: no tag of a file does anything. Aliases are
refused, because a few lines of them stand for billions of nodes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from shared.model.errors import InvalidInput

# libyaml's composer calls itself for each level, and takes the process with it where the stack ends.
MAX_FILE_DEPTH = 20
# A thousand rules are a few hundred KiB.
MAX_FILE_BYTES = 1024 * 1024

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BLOCK_STYLES = ("|", ">")
_NULL = "tag:yaml.org,2002:null"


class InvalidFile(InvalidInput):
    """A file of declarations cannot be used; `field` is the place, as `file:line`."""

    reason = "invalid-file"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is written."""

    file: str
    line: int
    """From 1."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def wrong(self, problem: str, fix: str) -> InvalidFile:
        """What to raise for what is written here."""
        return InvalidFile(str(self), problem, fix)

    def below(self, lines: int) -> Place:
        return Place(self.file, self.line + lines)


@dataclass(frozen=True, slots=True)
class Part:
    """A mapping, a list or a text in a file."""

    node: yaml.Node
    file: str

    @property
    def place(self) -> Place:
        return Place(self.file, self.node.start_mark.line + 1)

    @property
    def text_place(self) -> Place:
        """Where the text itself begins: below the mark of a block."""
        is_block = isinstance(self.node, yaml.ScalarNode) and self.node.style in _BLOCK_STYLES
        return self.place.below(1 if is_block else 0)

    @property
    def is_null(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == _NULL

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    def members(self, what: str) -> dict[str, Part]:
        """The mapping's members. Raises `InvalidFile` for what is none, and for a key that is there twice."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.place.wrong(f"{what} is {self._kind()}", "write it as `name: value` lines")
        members: dict[str, Part] = {}
        for key_node, value in self.node.value:
            key = Part(key_node, self.file)
            name = key.text(f"a name in {what}")
            if name in members:
                raise key.place.wrong(f"{what} has {name[:60]!r} twice", "keep one of them")
            members[name] = Part(value, self.file)
        return members

    def fields(self, what: str, known: Collection[str]) -> dict[str, Part]:
        """The members, whose names must be known. Raises `InvalidFile`."""
        fields = self.members(what)
        for name, value in fields.items():
            if name not in known:
                raise value.place.wrong(f"{what} has no {name[:60]!r}", f"use one of {', '.join(known)}")
        return fields

    def items(self, what: str) -> list[Part]:
        """The list's items; a part that is no list is the only one. Raises `InvalidFile` for an empty list."""
        if not isinstance(self.node, yaml.SequenceNode):
            return [self]
        if not self.node.value:
            raise self.place.wrong(f"{what} is an empty list", "name something, or leave it out")
        return [Part(item, self.file) for item in self.node.value]

    def text(self, what: str) -> str:
        """The text of a scalar. Raises `InvalidFile`."""
        if isinstance(self.node, yaml.ScalarNode) and not self.is_null and self.node.value:
            return str(self.node.value)
        fix = "quote a text that begins with {{" if self._is_flow() else "write a text"
        raise self.place.wrong(f"{what} is {self._kind()}", fix)

    def _is_flow(self) -> bool:
        return isinstance(self.node, yaml.CollectionNode) and bool(self.node.flow_style)

    def _kind(self) -> str:
        match self.node:
            case yaml.MappingNode():
                return "a mapping"
            case yaml.SequenceNode():
                return "a list"
            case _:
                return "empty" if self.is_null or not self.node.value else "a text"


def read(path: Path) -> Part:
    """The file as one part. Raises `InvalidFile`."""
    return whole(text_of(path), str(path))


def text_of(path: Path, fix: str = "name a file that can be read") -> str:
    """What the file holds. Raises `InvalidFile`.

    Args:
        fix: what to do where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as failed:
        raise unreadable(str(path), failed, fix) from None
    if len(content) > MAX_FILE_BYTES:
        raise InvalidFile(str(path), f"it is over {MAX_FILE_BYTES} bytes", "split it, or declare less")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as failed:
        line = content[: failed.start].count(b"\n") + 1
        raise Place(str(path), line).wrong("it is not UTF-8", "save it as UTF-8") from None


def unreadable(where: str, failed: OSError | ValueError, fix: str) -> InvalidFile:
    """What to raise for a file that the system does not hand out."""
    return InvalidFile(where, f"it cannot be read: {getattr(failed, 'strerror', failed)}", fix)


def whole(text: str, file: str) -> Part:
    """The text as one part. Raises `InvalidFile` for what is not YAML, or not one document."""
    try:
        _check_events(text, file)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as refused:
        raise _as_invalid(refused, text, file) from None
    except (yaml.YAMLError, UnicodeError) as refused:
        problem = f"it is not YAML: {str(refused).splitlines()[0]}"
        raise Place(file, 1).wrong(problem, "keep to printable characters in UTF-8") from None
    if node is None:
        raise Place(file, 1).wrong("the file is empty", "declare something, or remove it")
    return Part(node, file)


def _check_events(text: str, file: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        place = Place(file, event.start_mark.line + 1 if event.start_mark else 1)
        if isinstance(event, yaml.AliasEvent):
            raise place.wrong("aliases are not used here", "quote a text that begins with *, or write it out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_FILE_DEPTH:
            raise place.wrong("the file is nested too deeply", f"nest at most {MAX_FILE_DEPTH} levels")


def _as_invalid(refused: yaml.MarkedYAMLError, text: str, file: str) -> InvalidFile:
    mark = refused.problem_mark or refused.context_mark
    # The end of the text is marked as a line of its own.
    place = Place(file, min(mark.line + 1, len(text.splitlines())) if mark else 1)
    begun = f"{refused.context} in line {refused.context_mark.line + 1}" if refused.context_mark else refused.context
    problem = ", ".join(filter(None, (begun, refused.problem)))
    fix = "quote a text that begins with *" if "alias" in problem else "see https://yaml.org; quote texts when in doubt"
    return place.wrong(f"it is not YAML: {problem}", fix)
