"""What a rule says about one event: its texts filled in, and held to what a notification may be. Pure."""

from __future__ import annotations

from typing import Any

from services.ingest.notification import without_controls
from services.ingest.rules.rule import Notice
from services.ingest.rules.scope import Scope
from services.ingest.rules.steps import Steps, TooMuchWork
from services.ingest.rules.templates import Template
from services.ingest.rules.troubles import Troubles
from services.ingest.rules.wrong import Failed
from shared.model.errors import InvalidInput
from shared.model.notification import LEVELS, is_link
from shared.model.tags import checked_tag

# One line of an inbox, and what fits under it.
MAX_TITLE_CHARS = 200
MAX_BODY_CHARS = 2000
MAX_LINK_CHARS = 2048
# A topic becomes a tag.
MAX_TOPIC_CHARS = 190


def said(notice: Notice, scope: Scope, steps: Steps, troubles: Troubles) -> dict[str, Any]:
    """The `data` of the notification. A part that cannot be filled in is left out and told; for the title
    the event's type stands in. Raises `TooMuchWork`.
    """
    title = " ".join((_text("title", notice.title, scope, steps, troubles, MAX_TITLE_CHARS) or "").split())
    parts: dict[str, str | None] = {
        "title": title or scope.names["type"],
        "body": _text("body", notice.body, scope, steps, troubles, MAX_BODY_CHARS),
        "link": _link(_text("link", notice.link, scope, steps, troubles, MAX_LINK_CHARS), troubles),
        "level": _level(_text("level", notice.level, scope, steps, troubles, MAX_TOPIC_CHARS), troubles),
        "topic": _topic(_text("topic", notice.topic, scope, steps, troubles, MAX_TOPIC_CHARS), troubles),
    }
    return {name: text for name, text in parts.items() if text}


def _text(
    what: str, template: Template | None, scope: Scope, steps: Steps, troubles: Troubles, max_chars: int
) -> str | None:
    if template is None:
        return None
    try:
        text, is_cut = template.filled(scope, steps, max_chars)
    except TooMuchWork:
        raise
    except Failed as failed:
        troubles.tell(f"{what}: {failed}")
        return None
    text = without_controls(text)
    return f"{text[:-1]}…" if is_cut else text.strip()


def _link(text: str | None, troubles: Troubles) -> str | None:
    if text and not is_link(text):
        troubles.tell(f"link: {text[:60]!r} is no http(s) address or path")
        return None
    return text


def _level(text: str | None, troubles: Troubles) -> str | None:
    if text and text not in LEVELS:
        troubles.tell(f"level: {text[:40]!r} is none of {', '.join(LEVELS)}")
        return None
    return text


def _topic(text: str | None, troubles: Troubles) -> str | None:
    try:
        return text and checked_tag(f"topic:{text}").removeprefix("topic:")
    except InvalidInput as refused:
        troubles.tell(f"topic: {refused.problem}")
        return None
