"""Which traces are recorded."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes


class EventSampler(Sampler):
    """As the parent decided; else as the links did; else by the trace id, so that all processes decide alike.

    A batch has no parent and a link for each event: it is recorded for the sake of any of them.
    """

    def __init__(self, ratio: float) -> None:
        self._root = TraceIdRatioBased(ratio)

    def takes(self, trace_id: int) -> bool:
        """Whether a trace that begins here is recorded."""
        return trace_id & TraceIdRatioBased.TRACE_ID_LIMIT < self._root.bound

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        parent = trace.get_current_span(parent_context).get_span_context()
        linked = [link.context.trace_flags.sampled for link in links or ()]
        if parent.is_valid or linked:
            chosen: Sampler = (
                ALWAYS_ON if (parent.is_valid and parent.trace_flags.sampled) or any(linked) else ALWAYS_OFF
            )
        else:
            chosen = self._root
        return chosen.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"EventSampler{{{self._root.get_description()}}}"
