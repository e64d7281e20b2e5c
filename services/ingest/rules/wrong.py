"""How expressions and templates are wrong: as they are written, or for one event."""

from __future__ import annotations


class Wrong(Exception):
    """An expression, a template or a pattern that can never be used; whoever knows its place adds it.

    Args:
        line: inside its text, from 1.
    """

    def __init__(self, problem: str, fix: str, line: int = 1) -> None:
        super().__init__(problem)
        self.problem, self.fix, self.line = problem, fix, line


class Failed(Exception):
    """An expression or a template has no value for this event. The message says why, in a few words."""


class Nobody(Failed):
    """The rules say of somebody that they are nobody here: meant so, and no trouble."""
