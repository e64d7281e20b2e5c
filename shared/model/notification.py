"""What whoever makes notifications and whoever shows them agree on."""

from __future__ import annotations

import re
from typing import Literal

TYPE = "notification.sent"

Level = Literal["info", "success", "warning", "error"]
LEVELS: tuple[Level, ...] = ("info", "success", "warning", "error")

# A browser takes `//host` and `/\\host` for another site, and `javascript:` for a program.
_LINK = re.compile(r"(?:https?://[^\s\x00-\x1f\x7f\\/]|/(?![/\\]))[^\s\x00-\x1f\x7f\\]*")


def is_link(value: str) -> bool:
    """Whether a page may show it as one."""
    return _LINK.fullmatch(value) is not None
