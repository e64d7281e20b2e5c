"""What went wrong with one rule for one event: counted whole, told in part."""

from __future__ import annotations

# A list of a thousand bad names is told by its first few.
MAX_TROUBLES_TOLD = 10


class Troubles:
    """Collects while a rule is applied."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.notes: list[str] = []
        self.refused_tags = 0

    def tell(self, problem: str) -> None:
        _add(self.told, problem)

    def note(self, remark: str) -> None:
        """Worth knowing for whoever asks, and meant so."""
        _add(self.notes, remark)

    def refuse_tags(self, count: int, problem: str) -> None:
        """So many tags are not part of the audience."""
        self.refused_tags += count
        self.tell(problem)


def _add(lines: list[str], line: str) -> None:
    if len(lines) < MAX_TROUBLES_TOLD and line not in lines:
        lines.append(line)
