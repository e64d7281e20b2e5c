"""Conditions and lists over an event: a bounded part of JMESPath. Pure.

What makes new structures is left out (multi-selects, `map`, `merge`, `to_string`), so no expression
yields more than the event holds; each step is counted, lists at their length. docs/adr tells why JMESPath.

Source: https://jmespath.org/specification.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError, JMESPathTypeError, LexerError, ParseError
from jmespath.functions import Functions
from jmespath.lexer import Lexer
from jmespath.visitor import Options, TreeInterpreter

from services.ingest.rules.scope import NAMES
from services.ingest.rules.steps import Steps
from services.ingest.rules.wrong import Failed, Wrong

MAX_EXPRESSION_CHARS = 1000
# Deeper than anyone writes, far from Python's own limit.
MAX_EXPRESSION_DEPTH = 100

FUNCTIONS = frozenset({
    "abs", "ceil", "contains", "ends_with", "floor", "keys", "length", "max", "min", "not_null", "starts_with", "sum",
    "to_number", "type", "values",
})  # fmt: skip
_REFUSED = {
    "multi_select_list": "[a, b]",
    "multi_select_dict": "{a: b}",
    "expref": "&",
}
# The children that are evaluated against the whole event where the node itself is; all of them where it is not here.
_FIRST_ONLY = {
    "subexpression": 1,
    "index_expression": 1,
    "pipe": 1,
    "projection": 1,
    "value_projection": 1,
    "filter_projection": 1,
}
_LOOK_UPS = frozenset({*_FIRST_ONLY, "flatten"}) - {"pipe"}
_STRUCTURES = (list, dict)
_CHARS_PER_STEP = 256

Node = dict[str, Any]
Path = tuple[str, ...]
Scalar = str | int | float | bool | None
SCALAR = (str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class Expression:
    """One that was checked."""

    text: str
    tree: Any

    def value(self, event: dict[str, Any], steps: Steps) -> Any:
        """What it yields for the event; None where something is missing. Raises `Failed`."""
        try:
            return _Interpreter(steps).visit(self.tree, event)
        except JMESPathTypeError as failed:
            # Its own words hold the value, which may be a whole body.
            takes = " or ".join(sorted(failed.expected_types))
            raise Failed(f"{failed.function_name}() takes {takes}, and got {failed.actual_type}") from None
        except JMESPathError as failed:
            raise Failed(_first_line(failed)) from None
        except (TypeError, ValueError, ArithmeticError, RecursionError) as failed:
            raise Failed(f"it compares or counts what cannot be: {_first_line(failed)}") from None

    def holds(self, event: dict[str, Any], steps: Steps) -> bool:
        """Whether it is true, as JMESPath has it: false, null, "", [] and {} are not. Raises `Failed`."""
        value = self.value(event, steps)
        return not (value is None or value is False or value == "" or value == [] or value == {})


@lru_cache(maxsize=4096)
def compiled(text: str) -> Expression:
    """The text as an expression. Raises `Wrong`."""
    if len(text) > MAX_EXPRESSION_CHARS:
        raise Wrong(f"the expression has {len(text)} characters", f"use at most {MAX_EXPRESSION_CHARS}, or more rules")
    try:
        _check_literals(text)
        tree: Any = jmespath.compile(text).parsed
    except (JMESPathError, ValueError, RecursionError) as refused:
        raise Wrong(f"it is no JMESPath: {_where(refused)}", "see https://jmespath.org") from None
    _check(tree, 0)
    for name in _roots(tree):
        if name not in NAMES:
            raise Wrong(f"an event has no {name!r}", f"begin with one of {', '.join(NAMES)}")
    return Expression(text, tree)


def needed(expression: Expression) -> dict[Path, frozenset[Scalar]]:
    """What must be there for the expression to be true, as far as `==` says it: at each path one of the values."""
    return _needed(expression.tree)


def _needed(node: Node) -> dict[Path, frozenset[Scalar]]:
    match node:
        case {"type": "and_expression", "children": [left, right]}:
            return _needed(left) | _needed(right)
        case {"type": "or_expression", "children": [left, right]}:
            first, second = _needed(left), _needed(right)
            return {path: first[path] | second[path] for path in first.keys() & second.keys()}
        case {"type": "comparator", "value": "eq", "children": [left, {"type": "literal", "value": value}]}:
            path = _path(left)
            return {path: frozenset([value])} if path and isinstance(value, SCALAR) else {}
        case _:
            return {}


def _path(node: Node) -> Path:
    """The names of `a.b.c`; none for anything else."""
    match node:
        case {"type": "field", "value": name}:
            return (name,)
        case {"type": "subexpression", "children": children}:
            parts = [_path(child) for child in children]
            return tuple(name for part in parts for name in part) if all(parts) else ()
        case _:
            return ()


def _where(refused: Exception) -> str:
    match refused:
        case LexerError():
            return f"{refused.message} at character {refused.lexer_position + 1}"
        case ParseError():
            return f"{refused.token_value!r} at character {refused.lex_position + 1} is not expected there"
        case RecursionError():
            return "it is nested too deeply"
        case _:
            return _first_line(refused)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _check_literals(text: str) -> None:
    """Raises `Wrong` for a literal without quotes, which is out of JMESPath, and may be taken for a number."""
    unquoted = Wrong("a text between backquotes has no quotes", "write 'text', and backquotes around JSON only")
    try:
        for token in Lexer().tokenize(text):
            if token["type"] == "literal" and isinstance(token["value"], str):
                written = text[token["start"] :]
                if written[0] == "`" and not written[1:].lstrip().startswith('"'):
                    raise unquoted
    except PendingDeprecationWarning:
        # What the library says of it, where warnings are errors.
        raise unquoted from None


def _check(node: Node, depth: int) -> None:
    """Raises `Wrong` for whatever could grow, or is not there."""
    if depth > MAX_EXPRESSION_DEPTH:
        raise Wrong("the expression is nested too deeply", f"nest at most {MAX_EXPRESSION_DEPTH} levels")
    if form := _REFUSED.get(node["type"]):
        raise Wrong(f"{form} is not part of rules", "name one value; for several lists write several entries")
    if node["type"] in _LOOK_UPS and node["children"][0]["type"] == "not_expression":
        # `!a.b` is (!a).b in JMESPath, which is never true: nobody means that, and everybody writes it.
        raise Wrong("`!` belongs to the first name only", "write !(data.draft)")
    if node["type"] == "function_expression":
        _check_call(node["value"], len(node["children"]))
    for child in _children(node):
        _check(child, depth + 1)


def _check_call(name: str, count: int) -> None:
    if name not in FUNCTIONS:
        raise Wrong(f"there is no function {name}() in rules", f"use one of {', '.join(sorted(FUNCTIONS))}")
    signature = Functions.FUNCTION_TABLE[name]["signature"]
    many = bool(signature[-1].get("variadic"))
    if count < len(signature) or (count > len(signature) and not many):
        raise Wrong(f"{name}() is given {count} values", f"give it {'at least ' if many else ''}{len(signature)}")


def _children(node: Node) -> Iterator[Node]:
    """A slice's are its numbers, which are no nodes."""
    return (child for child in node["children"] if isinstance(child, dict))


def _roots(node: Node) -> Iterator[str]:
    """The names that are looked up in the event itself."""
    if node["type"] == "field":
        yield node["value"]
    for child in list(_children(node))[: _FIRST_ONLY.get(node["type"])]:
        yield from _roots(child)


# The library finds them by building their names, anew for each expression.
_METHODS = {name.removeprefix("visit_"): name for name in dir(TreeInterpreter) if name.startswith("visit_")}
_OPTIONS = Options(custom_functions=Functions())


class _Interpreter(TreeInterpreter):
    """Counts what it does."""

    def __init__(self, steps: Steps) -> None:
        super().__init__(_OPTIONS)
        self._steps = steps

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        self._steps.take(1)
        return getattr(self, _METHODS[node["type"]])(node, *args, **kwargs)

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        arguments = [self.visit(child, value) for child in node["children"]]
        self._steps.take(sum(map(_work, arguments)))
        return _OPTIONS.custom_functions.call_function(node["value"], arguments)  # type: ignore[union-attr]  # set above

    def visit_flatten(self, node: Any, value: Any) -> Any:
        flat = super().visit_flatten(node, value)
        self._steps.take(_work(flat))
        return flat

    def visit_comparator(self, node: Any, value: Any) -> Any:
        left, right = node["children"]
        if "literal" not in (left["type"], right["type"]):
            self._refuse_structures(self.visit(left, value), self.visit(right, value))
        return super().visit_comparator(node, value)

    def _refuse_structures(self, left: Any, right: Any) -> None:
        if isinstance(left, _STRUCTURES) and isinstance(right, _STRUCTURES):
            raise Failed("it compares a list or an object of the event with another")


def _work(value: Any) -> int:
    match value:
        case str():
            return len(value) // _CHARS_PER_STEP
        case list() | dict():
            return len(value)
        case _:
            return 0
