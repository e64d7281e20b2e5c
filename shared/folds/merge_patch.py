"""JSON merge patch.

Source: https://www.rfc-editor.org/rfc/rfc7396
"""

from __future__ import annotations

from typing import Any


def merge_patch(target: Any, patch: Any) -> Any:
    """The target as the patch says. Neither is changed; the result shares with them what did not change.

    Every object on the way to a change is a new one.
    """
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result
