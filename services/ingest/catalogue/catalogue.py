"""All types that are known here, and what becomes of events that are not as their type says."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from services.ingest.catalogue.event_type import Breach, EventType, Schema
from shared.model.errors import InvalidEvent
from shared.model.event import Event
from shared.telemetry import metrics
from shared.telemetry.incidents import Seldom

_log = logging.getLogger(__name__)


def _order(each: EventType) -> tuple[bool, bool, str]:
    """Those of the platform first, those that only edges make last."""
    return each.is_ours, each.name.startswith("carillon."), each.name


class Catalogue:
    """Types by name. An event of a type that is not in it is never refused for that."""

    def __init__(self, types: Iterable[EventType] = (), definitions: Mapping[str, Schema] | None = None) -> None:
        self.types = {each.name: each for each in sorted(types, key=_order)}
        self.definitions = dict(definitions or {})
        """What schemas refer to, by its path: `carillon/steps.json`."""
        self._warned = Seldom()

    def check(self, event: Event) -> None:
        """Raises `InvalidEvent` where the data breaks a schema that is enforced; logs it where that is to be warned of.

        Quick: some microseconds for an event of some KiB.
        """
        event_type = self.types.get(event.type)
        if event_type is None or event_type.validation == "off":
            return
        if (breach := event_type.breach(event)) is None:
            return
        metrics.catalogue_breaches.labels(event_type.validation).inc()
        if event_type.validation == "enforce":
            fix = f"send what the catalogue says of {event.type}: /catalogue/{event.type}.json"
            raise InvalidEvent(breach.field, breach.problem, fix)
        self._warn(event, breach)

    def _warn(self, event: Event, breach: Breach) -> None:
        if (untold := self._warned.untold(event.type)) is None:
            return
        _log.warning(
            "%s %s is not what the catalogue says of %s: %s: %s; %d more events since last told",
            event.source, event.id, event.type, breach.field, breach.problem, untold,
        )  # fmt: skip
