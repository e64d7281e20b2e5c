"""What a workflow is: steps that need each other, and what each of them does. In YAML, or in Python."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from examples.workflow.actions import Context, run_command, simulated

SHIPPED = Path(__file__).parent / "definitions"
DONE = "done"

Action = Callable[[Context], Awaitable[str]]
"""Does the work of a step and returns its outcome in one word, by which steps after it may branch."""

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


class WrongDefinition(Exception):
    """A workflow cannot run as it is written; says what to change."""


@dataclass(frozen=True)
class Step:
    """One step.

    Args:
        needs: steps that end before this one begins.
        when: outcomes that some of them must have; `failed` and `cancelled` are outcomes, too. Without one, a
            step must have completed.
        join: whether all that it needs must have ended so, or any of them.
        retries: how often it is tried again.
        timeout_s: how long one try may take.
    """

    id: str
    action: Action
    name: str = ""
    needs: tuple[str, ...] = ()
    when: Mapping[str, str] = field(default_factory=dict)
    join: Literal["all", "any"] = "all"
    retries: int = 0
    timeout_s: float = 60.0


@dataclass(frozen=True)
class Workflow:
    """Steps in the order in which they are written. Raises `WrongDefinition` for steps that could never end."""

    name: str
    steps: Sequence[Step]

    def __post_init__(self) -> None:
        for problem in _problems(self.steps):
            raise WrongDefinition(f"{self.name}: {problem}")


def load(where: str) -> Workflow:
    """A shipped workflow by its name, or one of a `.yaml` or `.py` file. Raises `WrongDefinition`."""
    path = Path(where)
    if path.suffix not in (".yaml", ".py"):
        path = next(iter(sorted(SHIPPED.glob(f"{where}.*"))), path)
    if not path.is_file():
        raise WrongDefinition(f"there is no workflow {where!r}: name a file, or one of {', '.join(shipped())}")
    return _from_python(path) if path.suffix == ".py" else from_yaml(path.read_text(), path.stem)


def shipped() -> list[str]:
    """Names of the workflows that come with this program."""
    return sorted(path.stem for path in SHIPPED.iterdir() if path.suffix in (".yaml", ".py"))


def from_yaml(text: str, name: str) -> Workflow:
    """`{"name": …, "steps": {id: {"needs", "when", "join", "retries", "timeout_s", "run" | "simulate"}}}`."""
    written = yaml.safe_load(text)
    if not isinstance(written, dict) or not isinstance(written.get("steps"), dict):
        raise WrongDefinition(f"{name}: write a mapping with steps, a mapping by their ids")
    steps = tuple(_step(str(id_), about or {}) for id_, about in written["steps"].items())
    return Workflow(str(written.get("name", name)), steps)


def _step(id_: str, about: dict[str, Any]) -> Step:
    kinds = [kind for kind in ("run", "simulate") if kind in about]
    if len(kinds) != 1:
        raise WrongDefinition(f"{id_}: say what it does, by run: or by simulate:")
    action = run_command(about["run"]) if kinds == ["run"] else simulated(**about["simulate"])
    settings = {name: value for name, value in about.items() if name not in kinds}
    known = set(Step.__dataclass_fields__) - {"id", "action"}
    if unknown := set(settings) - known:
        raise WrongDefinition(f"{id_}: there is no {min(unknown)}; a step has {', '.join(sorted(known))}")
    needs, when = settings.pop("needs", ()), settings.pop("when", {})
    return Step(id_, action, needs=tuple(needs), when={str(key): str(word) for key, word in when.items()}, **settings)


def _from_python(path: Path) -> Workflow:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not isinstance(found := getattr(module, "workflow", None), Workflow):
        raise WrongDefinition(f"{path}: assign a Workflow to the name workflow")
    return found


def _problems(steps: Sequence[Step]) -> Iterator[str]:
    ids = [step.id for step in steps]
    if not ids:
        yield "it has no steps"
    for step in steps:
        if not _ID.fullmatch(step.id):
            yield f"{step.id!r} is no id: use a-z, 0-9, - and _"
        if unknown := set(step.needs) - set(ids):
            yield f"{step.id} needs {min(unknown)}, which is no step"
        if unneeded := set(step.when) - set(step.needs):
            yield f"{step.id} depends on how {min(unneeded)} ends, and does not need it"
    if len(set(ids)) < len(ids):
        yield "two steps have the same id"
    if stuck := _stuck(steps):
        yield f"{', '.join(stuck)} wait for each other"


def _stuck(steps: Sequence[Step]) -> list[str]:
    """Steps that are in a circle, or behind one."""
    left = {step.id: set(step.needs) for step in steps}
    while free := [id_ for id_, needs in left.items() if not needs & left.keys()]:
        for id_ in free:
            del left[id_]
    return list(left)
