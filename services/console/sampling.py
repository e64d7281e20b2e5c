"""What the overview is drawn from: a sample of the whole platform every few seconds, for an hour."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
from prometheus_client.parser import text_string_to_metric_families

from shared.model.errors import Unavailable
from shared.ports.event_log import DISPATCHED
from shared.ports.read_models import Stage
from shared.telemetry import metrics
from shared.telemetry.incidents import Incident

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from shared.wiring import Backends

SAMPLE_EVERY_S = 5.0
# An hour, and the sample that its first rate starts from.
MAX_SAMPLES = 721
# A page of metrics is some 50 KB.
MAX_METRICS_BYTES = 4 * 1024 * 1024

COUNTED = ("carillon_events_accepted_total", "carillon_deliveries_total", "carillon_events_refused_total")
LATENCY = "carillon_delivery_seconds_bucket"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """The platform at one moment."""

    at: float
    """Seconds since the epoch."""
    last: int
    """The log's last position."""
    intake: int
    dead: int
    connections: int
    dispatch_lag: int
    projection_lags: Mapping[str, int]
    counted: Mapping[str, float] = field(default_factory=dict)
    """Counters by name, over all processes that told."""
    latency: Mapping[float, float] = field(default_factory=dict)
    """By upper bound in seconds: deliveries that took no longer, over all of time."""
    silent: frozenset[str] = frozenset()
    """Addresses of metrics that did not answer: counters of samples that differ in this do not compare."""


class Sampler:
    """Keeps the samples of the last hour.

    Args:
        urls: addresses of `/metrics` of the services; what this process counts itself is taken without.
    """

    def __init__(self, backends: Backends, urls: Sequence[str], timeout_s: float) -> None:
        self._backends, self._urls, self._timeout_s = backends, urls, timeout_s
        self.samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self.silent: set[str] = set()
        """Addresses that did not answer at the last sample."""
        self.away: str | None = "no sample was taken yet"
        """Why the last sample is missing."""

    async def run(self) -> None:
        """Samples until cancelled."""
        trouble = Incident(_log, "the console's samples")
        async with httpx.AsyncClient(timeout=self._timeout_s) as client:
            while True:
                try:
                    self.samples.append(await self._sample(client))
                    self.away = None
                    trouble.over()
                except Unavailable as why:
                    self.away = str(why)
                    trouble.trouble(why)
                await asyncio.sleep(SAMPLE_EVERY_S)

    async def _sample(self, client: httpx.AsyncClient) -> Sample:
        backends = self._backends
        waiting, head, counts, dispatched, generations = await asyncio.gather(
            backends.broker.waiting(),
            backends.event_log.head(),
            backends.sessions.counts(),
            backends.event_log.checkpoint(DISPATCHED),
            backends.read_models.generations(),
        )
        pages = await asyncio.gather(*(self._page(client, url) for url in self._urls))
        counted, latency = measured([metrics.REGISTRY.collect(), *pages])
        return Sample(
            time.time(),
            head.last,
            waiting.intake,
            waiting.dead,
            sum(counts.values()),
            max(0, head.last - dispatched),
            {each.model.name: head.last - each.position for each in generations if each.stage is Stage.CURRENT},
            counted,
            latency,
            frozenset(self.silent),
        )

    async def _page(self, client: httpx.AsyncClient, url: str) -> Sequence[Metric]:
        """What the address tells; nothing where it does not answer in time, or with something else than metrics."""
        try:
            async with asyncio.timeout(self._timeout_s):
                page = list(text_string_to_metric_families(await _text(client, url)))
            measured([page])
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, LookupError):
            self.silent.add(url)
            return ()
        self.silent.discard(url)
        return page


async def _text(client: httpx.AsyncClient, url: str) -> str:
    """Raises `ValueError` for what is no text, or too much."""
    body = bytearray()
    async with client.stream("GET", url) as answer:
        answer.raise_for_status()
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > MAX_METRICS_BYTES:
                raise ValueError("no page of metrics is so large")
    return body.decode()


def measured(pages: Iterable[Iterable[Metric]]) -> tuple[Mapping[str, float], Mapping[float, float]]:
    """(counters by name, deliveries by upper bound of their latency), summed over processes and labels."""
    counted: defaultdict[str, float] = defaultdict(float)
    latency: defaultdict[float, float] = defaultdict(float)
    for page in pages:
        for sample in (sample for family in page for sample in family.samples):
            if sample.name in COUNTED:
                counted[sample.name] += sample.value
            elif sample.name == LATENCY:
                latency[float(sample.labels["le"])] += sample.value
    return counted, latency
