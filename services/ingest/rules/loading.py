"""Rule files -> a rule set, or the first thing that is wrong in them, with file and line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from services.ingest.parts import InvalidFile, Place, text_of, unreadable
from services.ingest.rules.declared import declared
from services.ingest.rules.people import People
from services.ingest.rules.rule import Draft, Rule, Use
from services.ingest.rules.ruleset import RuleSet

SHIPPED = Path(__file__).parent / "shipped"
# Every one is read again when one changes.
MAX_FILES = 200
_ENDINGS = (".yaml", ".yml")


def shipped_names() -> list[str]:
    """The rule sets that come with Carillon, for `use`."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load(where: str) -> RuleSet:
    """The rules of a file, of a folder's `*.yaml` and `*.yml`, or of a shipped set by its name.

    Raises `InvalidFile`, for the first thing that is wrong.
    """
    return assembled([declared(_read(path), _shown(path)) for path in files_of(where)])


def files_of(where: str) -> list[Path]:
    """The files that `where` names, in their order. Raises `InvalidFile` where there are none."""
    try:
        return _found(Path(where), where)
    except (OSError, ValueError) as failed:
        raise unreadable(where, failed, _fix()) from None


def _found(path: Path, where: str) -> list[Path]:
    if path.is_dir():
        found = sorted(each for each in path.iterdir() if each.suffix in _ENDINGS and not each.name.startswith("."))
        if not found:
            raise InvalidFile(where, "the folder holds no *.yaml", "put a rule file into it")
        if len(found) > MAX_FILES:
            raise InvalidFile(where, f"{len(found)} files", f"keep at most {MAX_FILES}")
        return found
    if not path.exists() and where in shipped_names():
        return [SHIPPED / f"{where}.yaml"]
    return [path]


def assembled(drafts: Iterable[Draft]) -> RuleSet:
    """One rule set of all drafts and the shipped rules that they use. Raises `InvalidFile`."""
    drafts = list(drafts)
    everything = [*_used(use for draft in drafts for use in draft.uses), *drafts]
    rules = [rule for draft in everything for rule in draft.rules]
    return RuleSet(_named_once(rules), People(_merged(everything)))


def _used(uses: Iterable[Use]) -> Iterator[Draft]:
    places: dict[str, Place] = {}
    for use in uses:
        if (first := places.setdefault(use.name, use.place)) is not use.place:
            raise use.place.wrong(f"{use.name[:60]} is used already, at {first}", "use a rule set once")
        yield _shipped(use)


def _shipped(use: Use) -> Draft:
    if use.name not in shipped_names():
        raise use.place.wrong(f"no rule set {use.name[:60]!r} is shipped", f"use one of {', '.join(shipped_names())}")
    path = SHIPPED / f"{use.name}.yaml"
    draft = declared(_read(path), _shown(path))
    if unknown := set(use.without) - {rule.name for rule in draft.rules}:
        fix = f"see: carillon rules check --rules {use.name}"
        raise use.place.wrong(f"{use.name} has no rule {min(unknown)[:60]!r}", fix)
    return replace(draft, rules=tuple(rule for rule in draft.rules if rule.name not in use.without))


def _named_once(rules: list[Rule]) -> list[Rule]:
    places: dict[str, Place] = {}
    for rule in rules:
        if (first := places.setdefault(rule.name, rule.place)) is not rule.place:
            problem = f"rule {rule.name} is there already, at {first}"
            raise rule.place.wrong(problem, "choose another name, or leave the shipped one out with `without`")
    return rules


def _merged(drafts: Iterable[Draft]) -> dict[str, dict[str, str | None]]:
    """Later files add to earlier ones, and win where both name a login."""
    merged: dict[str, dict[str, str | None]] = {}
    for draft in drafts:
        for name, logins in draft.people.items():
            merged.setdefault(name, {}).update(logins)
    return merged


def _read(path: Path) -> str:
    return text_of(path, _fix())


def _fix() -> str:
    return f"name a file, a folder, or one of {', '.join(shipped_names())}"


def _shown(path: Path) -> str:
    """How errors name a file: a shipped one by its name, which is the same on every machine."""
    return f"shipped/{path.name}" if path.parent == SHIPPED else str(path)
