"""One lawful call of each method, for its description. The tests carry them out."""

from __future__ import annotations

from typing import Any

_ALICE = ["user:alice"]
_BUILD = {"job": "build-17", "audience": "user:alice topic:builds"}

EXAMPLES: dict[str, dict[str, Any]] = {
    "event.publish": {"type": "order.created", "subject": "order/7", "audience": _ALICE, "data": {"total": 12.5}},
    "notify.user": {"user": "alice", "title": "Your order is on its way", "link": "/orders/7", "level": "success"},
    "notify.users": {"users": ["alice", "bob"], "title": "The meeting is moved", "body": "It begins at 15:00."},
    "notify.everyone": {"title": "Lunch is served"},
    "job.progress": {**_BUILD, "progress": 40, "steps": {"test": {"status": "running", "needs": ["build"]}}},
    "job.complete": {**_BUILD, "result": {"artifact": "/artifacts/17.zip"}},
    "job.fail": {**_BUILD, "error": "3 tests failed", "steps": {"test": {"status": "failed"}}},
    "data.changed": {"resource": "orders", "id": "7", "change": "updated", "audience": _ALICE},
    "system.announce": {"title": "Maintenance tonight at 22:00", "level": "warning", "link": "https://status.example"},
    "metrics.update": {"name": "queues", "values": {"waiting": 3, "oldest_s": 0.4}},
    "user.activity": {"user": "bob", "activity": "typing", "audience": ["topic:room/5"]},
    "event.dryRun": {"type": "order.created", "audience": _ALICE, "data": {"total": 12.5}},
    "rpc.discover": {},
}
