"""Texts with values of an event in them: a bounded part of Jinja. Pure.

No template can run for long or grow large, because nothing is in the language that could: there are no
loops, calls, arithmetic, assignments, macros or includes; values are looked up in the event's JSON and
nowhere else, never as attributes of Python objects. What is left costs its own length. This is checked
on the syntax tree at load; the sandbox around it is the second wall.

Source: https://jinja.palletsprojects.com/en/stable/sandbox/
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateError, TemplateSyntaxError, Undefined, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from services.ingest.rules.filters import FILTERS, PEOPLE, check_filter, text_of
from services.ingest.rules.scope import ITEM, NAMES, Scope
from services.ingest.rules.steps import BEGIN_STEPS, Steps
from services.ingest.rules.wrong import Failed, Wrong

MAX_TEMPLATE_CHARS = 4000
# Deeper than anyone writes, and far from where Python's own compiler gives up.
MAX_TEMPLATE_DEPTH = 20

_ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Slice,
    nodes.Const, nodes.Filter, nodes.If, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not,
    nodes.Neg,
)  # fmt: skip
_CHARS_PER_STEP = 64


class Missing(Undefined):
    """What an event does not have: false in a condition, and no text."""

    __slots__ = ()


class _Sandbox(ImmutableSandboxedEnvironment):
    """Looks values up in JSON alone: `data.items` is a member of that name, and never a method."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        return _member(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return _member(obj, argument)


def _member(value: Any, key: Any) -> Any:
    if isinstance(value, dict) and isinstance(key, str) and key in value:
        return value[key]
    if isinstance(value, list | str) and isinstance(key, slice):
        return value[key]
    if isinstance(value, list) and isinstance(key, int) and -len(value) <= key < len(value):
        return value[key]
    return value if isinstance(value, Undefined) else Missing(name=str(key))


_SANDBOX = _Sandbox(undefined=Missing, finalize=text_of, optimized=False, cache_size=0, autoescape=False)
_SANDBOX.filters = FILTERS
_SANDBOX.tests = {}
_SANDBOX.globals = {}


@dataclass(frozen=True, slots=True)
class Template:
    """One that was checked."""

    text: str
    _compiled: JinjaTemplate | None
    """None for a text without any values."""

    @property
    def is_plain(self) -> bool:
        """Whether it says the same for every event."""
        return self._compiled is None

    def filled(self, scope: Scope, steps: Steps, max_chars: int) -> tuple[str, bool]:
        """The text with the values, and whether it was cut. Raises `Failed` where a value is missing."""
        if self._compiled is None:
            return self.text[:max_chars], len(self.text) > max_chars
        steps.take(BEGIN_STEPS)
        context = self._compiled.new_context({**scope.names, PEOPLE: scope.people}, shared=True)
        try:
            return _gathered(self._compiled.root_render_func(context), steps, max_chars)
        except (TemplateError, TypeError, ValueError, ArithmeticError) as failed:
            raise Failed(f"it cannot be filled in: {str(failed)[:200]}") from None


def _gathered(pieces: Any, steps: Steps, max_chars: int) -> tuple[str, bool]:
    """Stops at the limit; a piece is at most `MAX_TEXT_CHARS` long."""
    text = ""
    for piece in pieces:
        steps.take(1 + len(piece) // _CHARS_PER_STEP)
        text += piece
        if len(text) > max_chars:
            return text[:max_chars], True
    return text, False


@lru_cache(maxsize=8192)
def compiled(text: str, *, in_list: bool = False) -> Template:
    """The text as a template. Raises `Wrong`.

    Args:
        in_list: whether it stands for each item of a list, and so knows `item`.
    """
    if len(text) > MAX_TEMPLATE_CHARS:
        raise Wrong(f"the template has {len(text)} characters", f"use at most {MAX_TEMPLATE_CHARS}")
    if not any(mark in text for mark in ("{{", "{%", "{#")):
        return Template(text, None)
    try:
        tree = _SANDBOX.parse(text)
        _check(tree, (*NAMES, ITEM) if in_list else NAMES, 0)
        code = _SANDBOX.compile(tree)
    except TemplateSyntaxError as refused:
        raise Wrong(
            f"it is no template: {refused.message}", "write values as {{ data.name }}", refused.lineno
        ) from None
    except (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError):
        raise Wrong("it is no template: it is nested too deeply, or a number is too long", "make it simpler") from None
    return Template(text, JinjaTemplate.from_code(_SANDBOX, code, {}))


def _check(node: nodes.Node, names: tuple[str, ...], depth: int) -> None:
    """Raises `Wrong` for whatever is not part of the language."""
    if depth > MAX_TEMPLATE_DEPTH:
        raise Wrong("it is nested too deeply", f"nest at most {MAX_TEMPLATE_DEPTH} levels", node.lineno or 1)
    if problem := _problem(node, names):
        raise Wrong(*problem, node.lineno or 1)
    for child in node.iter_child_nodes():
        _check(child, names, depth + 1)


def _problem(node: nodes.Node, names: tuple[str, ...]) -> tuple[str, str] | None:
    """What is wrong with this node alone, and what to do."""
    match node:
        case nodes.Name(name=name) if name not in names:
            return f"there is no {name!r} here", f"begin with one of {', '.join(names)}"
        case nodes.Filter(name=name, args=arguments):
            return _filter_problem(node, name, len(arguments))
        case nodes.Compare(expr=left, ops=[only]):
            return _compare_problem(left, only)
        case nodes.Compare():
            return "comparisons in a row are not part of templates here", "join them with `and`"
        case nodes.Slice() if not all(isinstance(part, nodes.Const | nodes.Neg) for part in node.iter_child_nodes()):
            return "a slice has numbers only", "write [:7]"
        case nodes.Neg(node=inner) if not isinstance(inner, nodes.Const):
            return "arithmetic is not part of templates here", "write [-1]"
        case _ if not isinstance(node, _ALLOWED):
            what = type(node).__name__.lower()
            return (
                f"{what} is not part of templates here",
                "use values, filters and {% if %}; conditions belong in when",
            )
        case _:
            return None


def _filter_problem(node: nodes.Filter, name: str, arguments: int) -> tuple[str, str] | None:
    if node.node is None:
        return "filter blocks are not part of templates here", "write {{ value | filter }}"
    if node.kwargs or node.dyn_args or node.dyn_kwargs:
        return f"the filter {name!r} is given named values", "give them in their order"
    check_filter(name, arguments)
    return None


def _compare_problem(left: nodes.Expr, only: nodes.Operand) -> tuple[str, str] | None:
    """Two lists of an event would be compared item by item."""
    if only.op in ("in", "notin"):
        return "`in` is not part of templates here", "conditions over lists belong in when: contains(data.list, 'x')"
    if not isinstance(left, nodes.Const) and not isinstance(only.expr, nodes.Const):
        return "both sides of a comparison are values of the event", "compare with a constant, or in when"
    return None
