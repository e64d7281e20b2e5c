"""The consent that some senders ask for before they send: abuse protection of CloudEvents webhooks. Pure.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md#4-abuse-protection
"""

from __future__ import annotations

ORIGIN = "WebHook-Request-Origin"
ALLOWED_ORIGIN, ALLOWED_RATE = "WebHook-Allowed-Origin", "WebHook-Allowed-Rate"
UNLIMITED = "*"


def consent(origin: str, events_per_s: float | None) -> dict[str, str]:
    """The headers that consent.

    Any origin may send: what protects from abuse here is that each request needs a key or a signature.

    Args:
        origin: as the sender names itself; a DNS name.
        events_per_s: what a producer may send; None where nothing limits it.
    """
    rate = UNLIMITED if events_per_s is None else str(max(1, int(events_per_s * 60)))
    return {ALLOWED_ORIGIN: _safe(origin), ALLOWED_RATE: rate, "Allow": "OPTIONS, POST"}


def _safe(origin: str) -> str:
    """What is no name is answered with consent to all, which says the same and repeats nothing."""
    is_name = len(origin) <= 255 and origin.isascii() and origin.isprintable() and " " not in origin
    return origin if is_name and origin else UNLIMITED
