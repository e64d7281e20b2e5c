"""A rule file as parts that know their lines. Pure.

PyYAML's nodes are read as they are, never constructed: no tag of a file does anything. Aliases are
refused, because a few lines of them stand for billions of nodes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import yaml

from services.ingest.rules.wrong import InvalidRule, Place

# libyaml's composer calls itself for each level, and takes the process with it where the stack ends.
MAX_FILE_DEPTH = 20
MAX_FILE_BYTES = 1024 * 1024

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BLOCK_STYLES = ("|", ">")
_NULL = "tag:yaml.org,2002:null"


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

    def members(self, what: str) -> dict[str, Part]:
        """The mapping's members. Raises `InvalidRule` for what is none, and for a key that is there twice."""
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
        """The members, whose names must be known. Raises `InvalidRule`."""
        fields = self.members(what)
        for name, value in fields.items():
            if name not in known:
                raise value.place.wrong(f"{what} has no {name[:60]!r}", f"use one of {', '.join(known)}")
        return fields

    def items(self, what: str) -> list[Part]:
        """The list's items; a part that is no list is the only one. Raises `InvalidRule` for an empty list."""
        if not isinstance(self.node, yaml.SequenceNode):
            return [self]
        if not self.node.value:
            raise self.place.wrong(f"{what} is an empty list", "name something, or leave it out")
        return [Part(item, self.file) for item in self.node.value]

    def text(self, what: str) -> str:
        """The text of a scalar. Raises `InvalidRule`."""
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


def whole(text: str, file: str) -> Part:
    """The file as one part. Raises `InvalidRule` for what is not YAML, or not one document."""
    try:
        _check_events(text, file)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as refused:
        raise _as_invalid(refused, text, file) from None
    except (yaml.YAMLError, UnicodeError) as refused:
        problem = f"it is not YAML: {str(refused).splitlines()[0]}"
        raise Place(file, 1).wrong(problem, "keep to printable characters in UTF-8") from None
    if node is None:
        raise Place(file, 1).wrong("the file is empty", "write rules, or remove it")
    return Part(node, file)


def _check_events(text: str, file: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        place = Place(file, event.start_mark.line + 1 if event.start_mark else 1)
        if isinstance(event, yaml.AliasEvent):
            raise place.wrong("aliases are not part of rule files", "quote a text that begins with *, or write it out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_FILE_DEPTH:
            raise place.wrong("the file is nested too deeply", f"nest at most {MAX_FILE_DEPTH} levels")


def _as_invalid(refused: yaml.MarkedYAMLError, text: str, file: str) -> InvalidRule:
    mark = refused.problem_mark or refused.context_mark
    # The end of the text is marked as a line of its own.
    place = Place(file, min(mark.line + 1, len(text.splitlines())) if mark else 1)
    begun = f"{refused.context} in line {refused.context_mark.line + 1}" if refused.context_mark else refused.context
    problem = ", ".join(filter(None, (begun, refused.problem)))
    fix = "quote a text that begins with *" if "alias" in problem else "see https://yaml.org; quote texts when in doubt"
    return place.wrong(f"it is not YAML: {problem}", fix)
