"""Each method: the event that its parameters become, and what they are refused for."""

from __future__ import annotations

from typing import Any

import pytest

from services.ingest.rpc.examples import EXAMPLES
from services.ingest.rpc.faults import Code, Fault
from services.ingest.rpc.methods import DISCOVER, METHODS, PUBLISHING, Described
from services.ingest.rpc.params import checked
from shared.model.event import Event

BASE = {"specversion": "1.0", "id": "1", "source": "/s"}
ALICE = {"audience": "user:alice"}


def event(method: str, **params: Any) -> dict[str, Any]:
    """What the parameters say of the event, which is one."""
    said = checked(PUBLISHING[method], params).attributes()
    return Event.from_attributes(BASE | said).model_dump(exclude_unset=True, exclude=set(BASE) - set(said))


@pytest.mark.parametrize(
    ("method", "params", "expected"),
    [
        (
            "notify.user",
            {"user": "alice", "title": "Hi"},
            {"type": "notification.sent", "audience": "user:alice", "data": {"title": "Hi", "level": "info"}},
        ),
        (
            "notify.user",
            {"user": "a", "title": "T", "body": "one\n\ttwo", "link": "/x", "level": "error", "topic": "builds/main"},
            {
                "type": "notification.sent",
                "audience": "user:a",
                "data": {"title": "T", "body": "one\n\ttwo", "link": "/x", "level": "error", "topic": "builds/main"},
            },
        ),
        (
            "notify.users",
            {"users": ["bob", "alice", "bob"], "title": "T", "source": "/own"},
            {
                "type": "notification.sent",
                "source": "/own",
                "audience": "user:bob user:alice",
                "data": {"title": "T", "level": "info"},
            },
        ),
        (
            "notify.everyone",
            {"title": "T"},
            {"type": "notification.sent", "audience": "everyone", "data": {"title": "T", "level": "info"}},
        ),
        (
            "job.progress",
            {"job": "7", **ALICE},
            {"type": "job.progressed", "subject": "job/7", "audience": "user:alice", "data": {"status": "running"}},
        ),
        (
            "job.progress",
            {
                "job": "7",
                "audience": ["user:alice", "topic:jobs"],
                "progress": 40,
                "message": "half",
                "steps": {"a": {"status": "completed", "attempt": 2}, "b": None},
            },
            {
                "type": "job.progressed",
                "subject": "job/7",
                "audience": "user:alice topic:jobs",
                "data": {
                    "status": "running",
                    "progress": 40,
                    "message": "half",
                    "steps": {"a": {"status": "completed", "attempt": 2}, "b": None},
                },
            },
        ),
        (
            "job.complete",
            {"job": "7", **ALICE, "result": [1, None]},
            {
                "type": "job.completed",
                "subject": "job/7",
                "final": "true",
                "audience": "user:alice",
                "data": {"status": "completed", "progress": 100, "result": [1, None]},
            },
        ),
        (
            "job.fail",
            {"job": "7", **ALICE, "error": {"code": 3}, "message": None},
            {
                "type": "job.failed",
                "subject": "job/7",
                "final": "true",
                "audience": "user:alice",
                "data": {"status": "failed", "error": {"code": 3}, "message": None},
            },
        ),
        (
            "data.changed",
            {"resource": "orders", "id": "7", "change": "updated", "details": {"by": "bob"}, **ALICE},
            {
                "type": "data.changed",
                "audience": "user:alice",
                "data": {"resource": "orders", "id": "7", "change": "updated", "details": {"by": "bob"}},
            },
        ),
        (
            "system.announce",
            {"title": "T", "level": "warning"},
            {"type": "system.announced", "audience": "everyone", "data": {"title": "T", "level": "warning"}},
        ),
        (
            "metrics.update",
            {"name": "load", "values": {"one": 0.5, "five": None}},
            {
                "type": "metrics.updated",
                "audience": "topic:metrics",
                "data": {"name": "load", "values": {"one": 0.5, "five": None}},
            },
        ),
        (
            "metrics.update",
            {"name": "load", "values": {"one": 1}, "audience": "topic:ops"},
            {"type": "metrics.updated", "audience": "topic:ops", "data": {"name": "load", "values": {"one": 1}}},
        ),
        (
            "user.activity",
            {"user": "bob", "activity": "typing", "audience": "topic:room/5"},
            {"type": "user.active", "audience": "topic:room/5", "data": {"user": "bob", "activity": "typing"}},
        ),
        (
            "event.publish",
            {
                "type": "order.created",
                "specversion": "1.0",
                "id": "9",
                "source": "/shop",
                "subject": "order/9",
                "time": "2026-01-31T12:00:00Z",
                "audience": ["user:alice"],
                "data": None,
                "final": True,
                "expectedversion": 0,
                "extensions": {"priority": 3, "region": "eu"},
            },
            {
                "type": "order.created",
                "id": "9",
                "source": "/shop",
                "subject": "order/9",
                "time": "2026-01-31T12:00:00Z",
                "audience": "user:alice",
                "data": None,
                "final": True,
                "expectedversion": 0,
                "priority": 3,
                "region": "eu",
            },
        ),
        ("event.publish", {"type": "a", "subject": None}, {"type": "a"}),
    ],
)
def test_parameters_become_an_event(method: str, params: dict[str, Any], expected: dict[str, Any]) -> None:
    assert event(method, **params) == expected


JOB = {"job": "7", **ALICE}
NOTE = {"user": "alice", "title": "T"}


@pytest.mark.parametrize(
    ("method", "params", "field", "says"),
    [
        ("notify.user", [1], "params", "array"),
        ("notify.user", {}, "title", "missing"),
        ("notify.user", None, "title", "missing"),
        ("notify.user", {"user": "alice", "titel": "T"}, "titel", "no such parameter"),
        ("notify.user", {**NOTE, "x" * 1000: 1}, "x" * 80, "no such parameter"),
        ("notify.user", {**NOTE, "user": "al ice"}, "user", "not a tag"),
        ("notify.user", {**NOTE, "user": ""}, "user", "not a tag"),
        ("notify.user", {**NOTE, "user": 7}, "user", "string"),
        ("notify.user", {**NOTE, "title": ""}, "title", "empty"),
        ("notify.user", {**NOTE, "title": "a\nb"}, "title", "U+000A"),
        ("notify.user", {**NOTE, "title": "x" * 501}, "title", "longer than 500"),
        ("notify.user", {**NOTE, "body": "a\x1b[1m"}, "body", "U+001B"),
        ("notify.user", {**NOTE, "body": "x" * 20_000}, "body", "longer"),
        ("notify.user", {**NOTE, "level": "fatal"}, "level", "success"),
        ("notify.user", {**NOTE, "topic": "a b"}, "topic", "no topic"),
        ("notify.user", {**NOTE, "idempotency_key": ""}, "idempotency_key", "empty"),
        *[
            ("notify.user", {**NOTE, "link": link}, "link", "no link")
            for link in ("javascript:alert(1)", "//evil.example", "/\\evil.example", "x", "http://", "ftp://a", "/a b")
        ],
        ("notify.users", {"users": [], "title": "T"}, "users", "at least 1"),
        ("notify.users", {"users": "alice", "title": "T"}, "users", "list"),
        ("notify.users", {"users": ["alice", "b b"], "title": "T"}, "users.1", "not a tag"),
        ("notify.users", {"users": ["a"] * 2001, "title": "T"}, "users", "2000"),
        ("notify.everyone", {"title": "T", "user": "alice"}, "user", "no such parameter"),
        ("job.progress", {"job": "7"}, "audience", "missing"),
        ("job.progress", {**JOB, "audience": ""}, "audience", "nobody"),
        ("job.progress", {**JOB, "audience": []}, "audience", "nobody"),
        ("job.progress", {**JOB, "audience": {"user": "alice"}}, "audience", "neither"),
        ("job.progress", {**JOB, "audience": ["alice"]}, "audience", "not a tag"),
        ("job.progress", {**JOB, "audience": ["user:a", 7]}, "audience", "neither"),
        ("job.progress", {**JOB, "progress": 101}, "progress", "0 to 100"),
        ("job.progress", {**JOB, "progress": True}, "progress", "0 to 100"),
        ("job.progress", {**JOB, "progress": "40"}, "progress", "0 to 100"),
        ("job.progress", {**JOB, "job": "a\tb"}, "job", "U+0009"),
        ("job.progress", {**JOB, "steps": []}, "steps", "dictionary"),
        ("job.progress", {**JOB, "steps": {"a": {"status": "done"}}}, "steps.a.status", "completed"),
        ("job.progress", {**JOB, "steps": {"a": {"state": "running"}}}, "steps.a.state", "not permitted"),
        ("job.fail", JOB, "error", "missing"),
        ("job.fail", {**JOB, "error": 3}, "error", "neither"),
        ("metrics.update", {"name": "load", "values": {}}, "values", "at least 1"),
        ("event.publish", {"type": "a", "specversion": "0.3"}, "specversion", "1.0"),
        ("event.publish", {"type": "a", "extensions": {"audience": "everyone"}}, "extensions", "parameter itself"),
        ("event.publish", {"type": "a", "id": "1", "idempotency_key": "k"}, "params", "both"),
        ("event.publish", {"type": "a", "priority": 3}, "priority", "no such parameter"),
        ("event.dryRun", {"type": "a", "idempotency_key": "k"}, "idempotency_key", "no such parameter"),
        ("rpc.discover", {"x": 1}, "x", "no such parameter"),
    ],
)
def test_a_refusal_names_the_parameter(method: str, params: Any, field: str, says: str) -> None:
    with pytest.raises(Fault) as refused:
        checked(METHODS[method], params)
    fault = refused.value
    assert (fault.code, fault.field) == (Code.INVALID_PARAMS, field)
    assert says in fault.problem
    assert fault.fix


def test_every_method_has_an_example_that_it_takes() -> None:
    assert EXAMPLES.keys() == METHODS.keys()
    for method, params in EXAMPLES.items():
        found = checked(METHODS[method], params)
        if method != DISCOVER:
            said = found.event() if isinstance(found, Described) else event(method, **params)
            assert said["type"]
