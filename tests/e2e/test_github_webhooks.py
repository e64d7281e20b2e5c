"""Every payload of `@octokit/webhooks-examples`, signed as GitHub signs, to the streams of whom the shipped rules name.

Who that is, is written down here once more: the rules themselves do not decide what is right.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.npm import install
from tests.harness.checker import Confirmed
from tests.harness.platform import DevPlatform
from tests.harness.reader import Reader

PACKAGE = Path(__file__).parent / "octokit"
SECRET = b"It's a Secret to Everybody"
FILE = "sources: {hub: {kind: github, secret: {file: hub.key}}}"
AT_ONCE = 16
DELIVERED_WITHIN_S = 30.0
NOBODY = "nobody-in-particular"
FOLLOWED = "github/Codertocat/Hello-World"

# Of each type: where the users are that it concerns, and who did it, whom nobody needs to tell.
CONCERNED: dict[str, tuple[Sequence[str], str]] = {
    "pull_request.review_requested": (["requested_reviewer"], "sender"),
    "pull_request_review.submitted": (["pull_request.user"], "review.user"),
    "pull_request_review_comment.created": (["pull_request.user"], "comment.user"),
    "pull_request.assigned": (["assignee"], "sender"),
    "pull_request.closed": (["pull_request.user", "pull_request.assignees"], "sender"),
    "issues.assigned": (["assignee"], "sender"),
    "issues.closed": (["issue.user", "issue.assignees"], "sender"),
    "issue_comment.created": (["issue.user", "issue.assignees"], "comment.user"),
    "member.added": (["member"], "sender"),
    "membership.added": (["member"], "sender"),
    "workflow_run.completed": (["sender"], ""),
    "check_suite.completed": (["sender"], ""),
    "deployment_status.created": (["deployment.creator"], ""),
}
ONLY_IF = {
    "workflow_run.completed": lambda body: body["workflow_run"]["conclusion"] in ("failure", "timed_out"),
    "check_suite.completed": lambda body: body["check_suite"]["conclusion"] == "failure",
    "deployment_status.created": lambda body: body["deployment_status"]["state"] in ("success", "failure", "error"),
}
TO_FOLLOWERS = {
    "release.published": "",
    "dependabot_alert.created": "/security",
    "code_scanning_alert.created": "/security",
}


class Hook:
    """One delivery of GitHub's, and what must become of it."""

    def __init__(self, number: int, event: str, body: dict[str, Any]) -> None:
        self.event, self.body = event, body
        self.delivery = f"delivery-{number}"
        action = body.get("action")
        self.type = f"{event}.{action}" if isinstance(action, str) else event
        self.trace_id = secrets.token_hex(16)

    @property
    def users(self) -> set[str]:
        """Whom it concerns."""
        places, actor = CONCERNED.get(self.type, ([], ""))
        if not ONLY_IF.get(self.type, lambda body: True)(self.body):
            return set()
        found = {login for place in places for login in logins(self.body, place)}
        return found - set(logins(self.body, actor))

    @property
    def topics(self) -> set[str]:
        """Who follows it."""
        name = (self.body.get("repository") or {}).get("full_name")
        suffixes = {"", TO_FOLLOWERS.get(self.type, "")} if name else set()
        return {f"github/{name}{suffix}" for suffix in suffixes}

    @property
    def is_told(self) -> bool:
        """Whether it comes with a notification."""
        return bool(self.users) or self.type in TO_FOLLOWERS

    @property
    def headers(self) -> dict[str, str]:
        mac = hmac.new(SECRET, self.content, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/044aadd",
            "X-GitHub-Event": self.event,
            "X-GitHub-Delivery": self.delivery,
            "X-GitHub-Hook-ID": "292430182",
            "X-Hub-Signature-256": f"sha256={mac}",
            "traceparent": f"00-{self.trace_id}-{secrets.token_hex(8)}-01",
        }

    @property
    def content(self) -> bytes:
        return json.dumps(self.body).encode()

    @property
    def confirmed(self) -> Confirmed:
        audience = [f"user:{user}" for user in self.users] + [f"topic:{topic}" for topic in self.topics]
        kept = {"event": self.event, "delivery": self.delivery, "hookid": "292430182"}
        attributes = {
            "specversion": "1.0",
            "id": self.delivery,
            "source": "/webhooks/hub",
            "type": f"github.{self.type}",
            "datacontenttype": "application/json",
            "data": self.body,
            **{f"httpxgithub{name}": value for name, value in kept.items()},
        }
        return Confirmed(attributes | ({"audience": " ".join(audience)} if audience else {}), self.trace_id)


def logins(body: Mapping[str, Any], place: str) -> Iterator[str]:
    """Of the user there, or of each in the list there."""
    found: Any = body
    for step in filter(None, place.split(".")):
        found = (found or {}).get(step)
    if place:
        yield from (user["login"] for user in (found if isinstance(found, list) else [found]) if user)


@pytest.fixture(scope="module")
def hooks() -> list[Hook]:
    """Of github.com and of all the Enterprise Servers in the package."""
    folder = install(PACKAGE, print) / "node_modules" / "@octokit" / "webhooks-examples"
    files = [json.loads(path.read_text()) for path in sorted(folder.glob("*/index.json"))]
    examples = [(kind["name"], body) for file in files for kind in file for body in kind["examples"]]
    return [Hook(number, event, body) for number, (event, body) in enumerate(examples)]


async def post_all(url: str, hooks: Sequence[Hook]) -> list[dict[str, Any]]:
    """The answers, each a 202."""
    places = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as client:

        async def post(hook: Hook) -> dict[str, Any]:
            async with places:
                answer = await client.post("/v1/webhooks/hub", content=hook.content, headers=hook.headers)
            assert answer.status_code == 202, (hook.type, answer.text)
            shown: dict[str, Any] = answer.json()
            return shown

        return list(await asyncio.gather(*map(post, hooks)))


async def test_all_payloads_reach_whom_the_shipped_rules_name(tmp_path: Path, hooks: list[Hook]) -> None:
    assert len(hooks) > 700
    users = sorted({user for hook in hooks for user in hook.users})
    assert len(users) >= 3
    (tmp_path / "hub.key").write_bytes(SECRET)
    (tmp_path / "webhooks.yaml").write_text(FILE)
    async with (
        DevPlatform(tmp_path, webhooks_file=str(tmp_path / "webhooks.yaml"), rules="github") as platform,
        (await platform.start()).publisher() as publisher,
        platform.readers() as readers,
    ):
        streams = {reader.name.split("#")[0]: reader for reader in await readers.open_all([*users, NOBODY])}
        follower = await readers.open("follower", FOLLOWED)
        answers = await post_all(platform.ingest_url, hooks)
        again = await post_all(platform.ingest_url, hooks[:50])
        entries = await platform.keeps_its_promises(publisher, readers, [hook.confirmed for hook in hooks])

    assert [answer["accepted"][0]["duplicate"] for answer in answers] == [False] * len(hooks)
    assert [answer["accepted"][0] for answer in again] == [
        {"source": "/webhooks/hub", "id": hook.delivery, "duplicate": True} for hook in hooks[:50]
    ]
    told = [json.loads(entry.event)["data"]["about"]["id"] for entry in entries if entry.type == "notification.sent"]
    assert sorted(told) == sorted(hook.delivery for hook in hooks if hook.is_told)
    for user, reader in streams.items():
        mine = {hook.delivery for hook in hooks if user in hook.users}
        assert received(reader, "github.") == mine
        assert received(reader, "notification.sent") == mine
    assert received(streams[NOBODY], "") <= {""}
    assert received(follower, "github.") == {hook.delivery for hook in hooks if FOLLOWED in hook.topics}


def received(reader: Reader, type_: str) -> set[str]:
    """Deliveries that a stream had as events, or as what notifications are about."""
    found = [each.data for each in reader.reading.deliveries if each.type.startswith(type_)]
    return {event["data"].get("about", event).get("id", "") for event in found if event["type"] != "harness.last"}
