"""The HTTP client behind `carillon publish` and `carillon tail`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from httpx_sse import ServerSentEvent, SSEError, connect_sse

from services.commands.group import Failed, fail
from shared.model.errors import InvalidInput

PUBLISH_TIMEOUT_S = 15.0
# Three heartbeats of the default 15 s: a stream that says nothing for so long is dead.
SILENCE_TIMEOUT_S = 45.0
# Until the stream says otherwise.
DEFAULT_RETRY_S = 2.0
# A proxy may answer for a server that is away.
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)


def publish(url: str, key: str, attributes: dict[str, Any]) -> dict[str, Any]:
    """Publishes one event; returns the server's answer. Raises `Failed`, and `InvalidInput` for a 4xx."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/cloudevents+json"}
    response = _post(f"{url}/v1/events", headers, json.dumps(attributes).encode())
    answer: dict[str, Any] = response.json()
    return answer


def open_session(url: str, token: str) -> str:
    """Exchanges a bearer token for a session; returns its cookie as `name=value`."""
    response = _post(f"{url}/v1/session", {"Authorization": f"Bearer {token}"}, b"")
    # By hand, since a jar would not send a Secure cookie back over http.
    cookie, _, _ = str(response.headers.get("Set-Cookie", "")).partition(";")
    return cookie or fail(f"{url} gave no session cookie")


def _post(address: str, headers: dict[str, str], body: bytes) -> httpx.Response:
    try:
        response = httpx.post(address, headers=headers, content=body, timeout=PUBLISH_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as failed:
        raise _unreachable(address, failed) from None
    if not response.is_success:
        raise _refused(response)
    return response


def _unreachable(address: str, failed: Exception) -> Failed:
    return Failed(f"{address} does not answer ({failed or type(failed).__name__}); is it running, and is --url right?")


def _refused(response: httpx.Response) -> Failed | InvalidInput:
    """The problem document as an error of ours: 4xx is the caller's fault, but for keys and sessions."""
    try:
        document = response.json()
        detail, field, fix = (str(document.get(name) or "") for name in ("detail", "field", "fix"))
    except (ValueError, AttributeError):
        detail, field, fix = response.text[:200], "", ""
    if response.is_client_error and field and response.status_code != httpx.codes.UNAUTHORIZED:
        return InvalidInput(field, detail, fix or "see docs/reference")
    said = "; ".join(filter(None, (": ".join(filter(None, (field, detail))), fix)))
    return Failed(f"{response.request.url.copy_with(query=None)} answered {response.status_code}: {said}")


@dataclass
class Tail:
    """Follows a user's stream over reconnects.

    Args:
        url: the edge's address.
        cookie: the session's, as a `Cookie` header; empty with a ticket.
        cursor: where to begin: a cursor, `earliest`, or None for now.
        ticket: opens one stream instead of a session: after a break there is no coming back with it.
    """

    url: str
    cookie: str
    cursor: str | None = None
    ticket: str | None = None
    last_event_id: str = ""
    retry_s: float = DEFAULT_RETRY_S
    _has_connected: bool = False

    def frames(self) -> Iterator[ServerSentEvent]:
        """Yields frames that have data, until the server says that there will be no more.

        Reconnects by `Last-Event-ID` as told by `retry`. Raises `Failed` when the session is over
        or nobody ever answered, `InvalidInput` when the server refuses what was asked.
        """
        with httpx.Client(timeout=httpx.Timeout(10.0, read=SILENCE_TIMEOUT_S)) as client:
            while True:
                try:
                    with connect_sse(client, "GET", f"{self.url}/v1/events", **self._request()) as source:
                        if self._is_over(source.response):
                            return
                        for frame in source.iter_sse():
                            if self._noted(frame):
                                yield frame
                except (httpx.HTTPError, httpx.InvalidURL, SSEError) as failed:
                    if not self._has_connected:
                        raise _unreachable(self.url, failed) from None
                if self.ticket is not None:
                    fix = f"go on with a new one: --ticket … --from {self.last_event_id}"
                    raise Failed(f"the stream ended, and its ticket is used; {fix}")
                time.sleep(self.retry_s)

    def _request(self) -> dict[str, Any]:
        headers = {"Cookie": self.cookie} if self.cookie else {}
        if self.last_event_id:
            return {"headers": headers | {"Last-Event-ID": self.last_event_id}}
        params = {"last-event-id": self.cursor, "ticket": self.ticket}
        return {"headers": headers, "params": {name: value for name, value in params.items() if value}}

    def _is_over(self, response: httpx.Response) -> bool:
        if response.status_code == httpx.codes.NO_CONTENT:
            return True
        if response.status_code in _TRY_AGAIN and self._has_connected:
            raise SSEError(f"the server answered {response.status_code}")
        if not response.is_success:
            response.read()
            raise _refused(response)
        self._has_connected = True
        return False

    def _noted(self, frame: ServerSentEvent) -> bool:
        """Remembers what the frame says of the next connection; returns whether it has data."""
        if frame.id:
            self.last_event_id = frame.id
        if frame.retry is not None:
            self.retry_s = frame.retry / 1000
        return bool(frame.data)
