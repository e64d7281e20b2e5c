"""Entries as MongoDB documents, and back. What is None is left out, so that partial indexes skip it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict

from shared.model.entry import Entry, Head

Document = dict[str, Any]


class HeadDocument(TypedDict):
    """The one document that says where the log ends and who may write."""

    _id: str
    log_id: str
    epoch: int
    owner: str | None
    lease_until: datetime
    last: int
    floor: int


def entry_document(entry: Entry) -> Document:
    """The event is kept as text: an operator reads it in mongosh, and nobody decodes it on the way out.

    Raises `UnicodeDecodeError` where the event is no UTF-8.
    """
    document: Document = {"_id": entry.position, "source": entry.source, "id": entry.id, "type": entry.type}
    if entry.subject is not None:
        document["subject"] = entry.subject
        document["version"] = entry.version
    document["audience"] = list(entry.audience)
    if entry.final:
        document["final"] = True
    if entry.traceparent is not None:
        document["traceparent"] = entry.traceparent
    if entry.tracestate is not None:
        document["tracestate"] = entry.tracestate
    document["appended_at"] = entry.appended_at
    document["event"] = entry.event.decode()
    return document


def entry_of(document: Mapping[str, Any]) -> Entry:
    """The inverse of `entry_document`."""
    return Entry(
        position=document["_id"],
        version=document.get("version"),
        source=document["source"],
        id=document["id"],
        type=document["type"],
        subject=document.get("subject"),
        audience=tuple(document["audience"]),
        final=document.get("final", False),
        traceparent=document.get("traceparent"),
        tracestate=document.get("tracestate"),
        appended_at=document["appended_at"],
        event=document["event"].encode(),
    )


def head_of(document: HeadDocument) -> Head:
    """What readers may know of the head."""
    return Head(document["log_id"], document["last"], document["floor"])
