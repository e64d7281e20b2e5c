"""One run of a workflow as a pure machine: what may begin, and what each change is as an event's type and data.

The data are patches: whoever merges them in order (RFC 7396) has the state of the run. Carillon does that for
`GET /v1/streams/workflow/<id>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from examples.workflow.definition import Step, Workflow

PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = "pending", "running", "completed", "failed", "cancelled"
ENDED = (COMPLETED, FAILED, CANCELLED)


@dataclass(frozen=True)
class Change:
    """Something that happened to the run."""

    type: str
    data: Mapping[str, Any]
    final: bool = False


class Run:
    """Which step is where. Knows no clock and no network."""

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.status = {step.id: PENDING for step in workflow.steps}
        self.outcome: dict[str, str] = {}

    @property
    def has_ended(self) -> bool:
        return all(status in ENDED for status in self.status.values())

    def begun(self) -> Change:
        """The first change: the whole plan, so that it can be drawn before anything happens."""
        steps = {
            step.id: {"name": step.name or step.id, "status": PENDING, "needs": list(step.needs)}
            for step in self.workflow.steps
        }
        return Change(
            "workflow.started", {"status": RUNNING, "name": self.workflow.name, "progress": 0, "steps": steps}
        )

    def ready(self) -> list[Step]:
        """Steps that may begin now."""
        return [step for step in self._decided() if self._goes_on(step)]

    def skipped(self) -> list[Step]:
        """Steps that will never begin, because of how others ended."""
        return [step for step in self._decided() if not self._goes_on(step)]

    def start(self, step: Step, attempt: int) -> Change:
        self.status[step.id] = RUNNING
        return Change("workflow.step.started", {"steps": {step.id: {"status": RUNNING, "attempt": attempt}}})

    def retry(self, step: Step, attempt: int, error: str) -> Change:
        """A try failed, and another follows."""
        about = {"status": RUNNING, "attempt": attempt, "error": error}
        return Change("workflow.step.retried", {"steps": {step.id: about}})

    def complete(self, step: Step, outcome: str) -> Change:
        self.status[step.id], self.outcome[step.id] = COMPLETED, outcome
        # Null takes away what an earlier try has left.
        about = {"status": COMPLETED, "outcome": outcome, "error": None}
        return Change("workflow.step.completed", {"progress": self._progress(), "steps": {step.id: about}})

    def fail(self, step: Step, error: str) -> Change:
        self.status[step.id] = self.outcome[step.id] = FAILED
        about = {"status": FAILED, "error": error}
        return Change("workflow.step.failed", {"progress": self._progress(), "steps": {step.id: about}})

    def cancel(self, step: Step) -> Change:
        self.status[step.id] = self.outcome[step.id] = CANCELLED
        about = {"status": CANCELLED}
        return Change("workflow.step.cancelled", {"progress": self._progress(), "steps": {step.id: about}})

    def ended(self) -> Change:
        """The last change. A run has failed if a step did, whatever was done about it."""
        failed = [id_ for id_, status in self.status.items() if status == FAILED]
        if failed:
            return Change("workflow.failed", {"status": FAILED, "error": f"failed: {', '.join(failed)}"}, final=True)
        return Change("workflow.completed", {"status": COMPLETED, "progress": 100}, final=True)

    def abandoned(self) -> Change:
        """Somebody stopped it."""
        steps = {id_: {"status": CANCELLED} for id_, status in self.status.items() if status not in ENDED}
        return Change("workflow.cancelled", {"status": CANCELLED, "steps": steps}, final=True)

    def _decided(self) -> list[Step]:
        """Pending steps of which it is known whether they go on: all that they need has ended."""
        return [
            step
            for step in self.workflow.steps
            if self.status[step.id] == PENDING and all(self.status[need] in ENDED for need in step.needs)
        ]

    def _goes_on(self, step: Step) -> bool:
        met = [self._is_met(step, need) for need in step.needs]
        return all(met) if step.join == "all" or not met else any(met)

    def _is_met(self, step: Step, need: str) -> bool:
        if need in step.when:
            return self.outcome[need] == step.when[need]
        return self.status[need] == COMPLETED

    def _progress(self) -> int:
        ended = sum(status in ENDED for status in self.status.values())
        return round(100 * ended / len(self.status))
