"""Every metric of Carillon: its name, its labels, and what moves it.

docs/reference/metrics.md tells of each; a test compares. Labels hold words of ours and never an id, a user
or a tag: each value is a series that Prometheus keeps. One registry a process, so that `carillon dev` and
each service tell all they know at `/metrics`.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar

# When a series began is of no use for rates, and doubles the page.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it out

REGISTRY = CollectorRegistry()
for _of_process in (ProcessCollector, PlatformCollector, GCCollector):
    _of_process(registry=REGISTRY)

# From what an idle process takes to what somebody will have noticed.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
EVENTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)


class Tally:
    """A counter for hot paths: `tally.total += 1` takes no lock and looks nothing up.

    One for each value of its only label, made here once. The processes of Carillon count in one thread.
    """

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0


class Tallies:
    """A counter whose children are `Tally`s, read when Prometheus asks."""

    def __init__(self, name: str, about: str, label: str, values: Sequence[str]) -> None:
        self._name, self._about, self.label = name, about, label
        self._by_value = {value: Tally() for value in values}
        REGISTRY.register(self)

    def __getitem__(self, value: str) -> Tally:
        return self._by_value[value]

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(self._name, self._about, labels=[self.label])
        for value, tally in self._by_value.items():
            family.add_metric([value], tally.total)
        yield family


class HotHistogram:
    """A histogram for hot paths: an observation is a search in a tuple and an addition.

    The library's own takes a lock for each, and 1.1 µs; this one 0.2 µs. A bucket remembers the trace of
    its last observation that had one.
    """

    def __init__(self, name: str, about: str, bounds: Sequence[float] = SECONDS) -> None:
        self._name, self._about, self._bounds = name, about, tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._exemplars: list[Exemplar | None] = [None] * (len(bounds) + 1)
        self._sum = 0.0
        REGISTRY.register(self)

    def observe(self, value: float, trace_id: str | None = None) -> None:
        """Counts one; `trace_id` where a trace tells more of it."""
        bucket = bisect_left(self._bounds, value)
        self._counts[bucket] += 1
        self._sum += value
        if trace_id is not None:
            self._exemplars[bucket] = Exemplar({"trace_id": trace_id}, value)

    def collect(self) -> Iterable[Metric]:
        buckets: list[Any] = []
        bounds = (*map(str, map(float, self._bounds)), "+Inf")
        for bound, total, exemplar in zip(bounds, accumulate(self._counts), self._exemplars, strict=True):
            buckets.append((bound, total) if exemplar is None else (bound, total, exemplar))
        family = HistogramMetricFamily(self._name, self._about)
        family.add_metric([], buckets, self._sum)
        yield family


Owner = TypeVar("Owner")


class Polled:
    """A gauge that is asked for when Prometheus asks, of all who are there to tell; their numbers add up.

    A process that has nobody to tell has no such series: 0 would be a claim.
    """

    def __init__(self, name: str, about: str) -> None:
        self._name, self._about = name, about
        self._tellers: weakref.WeakKeyDictionary[Any, Callable[[Any], float | None]] = weakref.WeakKeyDictionary()
        REGISTRY.register(self)

    def told_by(self, owner: Owner, ask: Callable[[Owner], float | None]) -> None:
        """Asks `ask(owner)` for as long as the owner lives; None is no number."""
        self._tellers[owner] = ask

    def collect(self) -> Iterable[Metric]:
        found = [ask(owner) for owner, ask in list(self._tellers.items())]
        numbers = [number for number in found if number is not None]
        family = GaugeMetricFamily(self._name, self._about)
        if numbers:
            family.add_metric([], sum(numbers))
        yield family


class PolledEach:
    """The same, with a number for each value of a label."""

    def __init__(self, name: str, about: str, label: str) -> None:
        self._name, self._about, self.label = name, about, label
        self._tellers: weakref.WeakKeyDictionary[Any, Callable[[Any], Mapping[str, float]]]
        self._tellers = weakref.WeakKeyDictionary()
        REGISTRY.register(self)

    def told_by(self, owner: Owner, ask: Callable[[Owner], Mapping[str, float]]) -> None:
        """Asks `ask(owner)` for as long as the owner lives."""
        self._tellers[owner] = ask

    def collect(self) -> Iterable[Metric]:
        sums: Counts[str] = Counts()
        for owner, ask in list(self._tellers.items()):
            sums.update(ask(owner))
        family = GaugeMetricFamily(self._name, self._about, labels=[self.label])
        for value, number in sums.items():
            family.add_metric([value], number)
        yield family


# Ingest.

events_accepted = Counter(
    "carillon_events_accepted", "Events that were answered as accepted: durable at the broker.", registry=REGISTRY
)
events_duplicate = Counter("carillon_events_duplicate", "Events that the log held already.", ["at"], registry=REGISTRY)
events_refused = Counter(
    "carillon_events_refused", "Events that ingest did not accept, whichever door they came by.", ["reason"],
    registry=REGISTRY,
)  # fmt: skip
catalogue_breaches = Counter(
    "carillon_catalogue_breaches", "Events that were not as the catalogue says of their type.", ["validation"],
    registry=REGISTRY,
)  # fmt: skip
rules_notifications = Counter("carillon_rules_notifications", "Notifications that rules made.", registry=REGISTRY)
rules_troubles = Counter(
    "carillon_rules_troubles", "Times that a rule matched an event and could not be applied whole.", registry=REGISTRY
)
rules_refused_tags = Counter(
    "carillon_rules_refused_tags", "Recipients of rules that were no tags, or too many.", registry=REGISTRY
)
refusals = Counter(
    "carillon_refusals", "Requests that were answered with an error, by the part of Carillon.", ["part", "reason"],
    registry=REGISTRY,
)  # fmt: skip

# Persister.

events_persisted = Counter("carillon_events_persisted", "Events appended to the log.", registry=REGISTRY)
batch_events = Histogram(
    "carillon_batch_events", "Events appended by one transaction.", buckets=EVENTS, registry=REGISTRY
)
append_seconds = Histogram(
    "carillon_append_seconds", "One transaction that appends a batch.", buckets=SECONDS, registry=REGISTRY
)
dead_letters = Counter(
    "carillon_dead_letters", "Arrivals that could not be appended and were parked.", ["reason"], registry=REGISTRY
)
events_dispatched = Counter(
    "carillon_events_dispatched", "Events handed to the feeds and confirmed; repeats count.", registry=REGISTRY
)
dispatch_seconds = HotHistogram("carillon_dispatch_seconds", "From the append of an event to its dispatch.")
is_active_persister = Polled("carillon_active_persister", "Whether this process holds the fence of the log.")
log_last_position = Polled("carillon_log_last_position", "The last position in the log.")
dispatch_lag_events = Polled("carillon_dispatch_lag_events", "Events in the log that were not dispatched yet.")
dispatch_lag_seconds = Polled("carillon_dispatch_lag_seconds", "How long the oldest of them has been in the log.")
intake_waiting = Polled("carillon_intake_waiting", "Arrivals that wait for the persister in the broker's queue.")
projection_lag_events = PolledEach(
    "carillon_projection_lag_events", "Events in the log that a projection has not folded yet.", "projection"
)
projection_lag_seconds = PolledEach(
    "carillon_projection_lag_seconds", "How long the oldest of them has been in the log.", "projection"
)
projection_stopped = PolledEach("carillon_projection_stopped", "Whether a projection cannot go on.", "projection")
dead_letters_waiting = Polled("carillon_dead_letters_waiting", "Dead letters that wait for an operator.")

# Edge.

deliveries = Tallies(
    "carillon_deliveries", "Events written to a stream, as they happened or from the log.", "mode",
    ("live", "replayed"),
)  # fmt: skip
frames = Tallies("carillon_frames", "Frames written to streams.", "frame", ("event", "heartbeat", "progress", "other"))
stream_bytes = Tallies("carillon_stream_bytes", "Bytes of frames, before compression.", "of", ("event", "other"))
delivery_seconds = HotHistogram(
    "carillon_delivery_seconds", "From the append of an event to its live frame on a stream: end to end."
)
connections = PolledEach("carillon_connections", "Open streams.", "state")
streams_opened = Counter(
    "carillon_streams_opened", "Streams opened, by where they began.", ["start"], registry=REGISTRY
)
stream_resets = Counter(
    "carillon_stream_resets", "Streams that could not go on from the client's cursor.", ["reason"], registry=REGISTRY
)
streams_closed = Counter("carillon_streams_closed", "Streams that ended.", ["reason"], registry=REGISTRY)
receipts = Counter("carillon_receipts", "Traced events that a client said it has.", registry=REGISTRY)
feeds_lost = Counter("carillon_feeds_lost", "Feeds that the broker ended.", registry=REGISTRY)

# Telemetry itself.

spans_sent = Counter("carillon_spans_sent", "Spans that their destination took.", ["to"], registry=REGISTRY)
spans_dropped = Counter(
    "carillon_spans_dropped", "Spans that found no room, or that their destination did not take.", ["to"],
    registry=REGISTRY,
)  # fmt: skip
