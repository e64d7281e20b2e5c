"""What a notification says, and to whom: the event `notification.sent`, whoever makes it."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shared.model.checks import rule, text
from shared.model.errors import InvalidInput
from shared.model.event import MAX_LONG_BYTES
from shared.model.notification import Level, is_link
from shared.model.tags import checked_tag

# A line in a list.
MAX_TITLE_BYTES = 500
# A few screens; what is longer belongs behind the link.
MAX_BODY_BYTES = 16 * 1024

# Paragraphs are lawful in a body, and nothing else that a terminal or a page would obey.
_NO_BODY = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def without_controls(value: str) -> str:
    """The text without what a terminal or a page would obey."""
    return _NO_BODY.sub("", value)


def _check_body(value: str) -> str:
    if found := _NO_BODY.search(value):
        raise rule(f"it holds the control character U+{ord(found[0]):04X}", "remove it")
    if len(value.encode()) > MAX_BODY_BYTES:
        raise rule(f"it is longer than {MAX_BODY_BYTES} bytes", "shorten it, and link to the rest")
    return value


def _check_link(value: str) -> str:
    if not is_link(value):
        raise rule(f"{value[:80]!r} is no link", "use https://…, http://… or a path that begins with one /")
    return value


def _check_topic(value: str) -> str:
    try:
        checked_tag(f"topic:{value}")
    except InvalidInput as refused:
        raise rule(f"{value[:80]!r} is no topic: {refused.problem}", refused.fix) from None
    return value


class Saying(BaseModel):
    """Some words with a link: what notifications and announcements have in common."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    title: Annotated[str, text(MAX_TITLE_BYTES), Field(description="One line")]
    body: Annotated[str, AfterValidator(_check_body), Field(description="Some lines more")] | None = None
    link: (
        Annotated[str, text(MAX_LONG_BYTES), AfterValidator(_check_link), Field(description="https://… or a path")]
        | None
    ) = None
    level: Annotated[Level, Field(description="How it is shown")] = "info"

    def content(self) -> dict[str, Any]:
        """The event's data."""
        return {name: said for name in CONTENT if (said := getattr(self, name, None)) is not None}


class Notification(Saying):
    """The data of `notification.sent`, but for what a rule adds."""

    topic: (
        Annotated[str, AfterValidator(_check_topic), Field(description="What it is about, for an inbox to sort by")]
        | None
    ) = None


# By name, because who inherits these has fields of its own.
CONTENT = tuple(Notification.model_fields)
