"""Requests as gateways hand them to a function, and its answers as they read them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parents[1] / "fixtures" / "gateway"
KINDS = ("rest_api", "http_api_1", "http_api_2", "load_balancer")

Document = dict[str, Any]


def request(
    kind: str,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    base64_: bool = False,
) -> Document:
    """What the gateway of this kind makes of a request."""
    document: Document = json.loads((FIXTURES / f"{kind}.json").read_text())
    given = headers or {}
    if kind == "http_api_2":
        document["rawPath"] = path
        document["requestContext"]["http"] |= {"method": method, "path": path}
        # This kind lower-cases names.
        document["headers"] |= {name.lower(): value for name, value in given.items()}
    else:
        document |= {"httpMethod": method, "path": path}
        document["multiValueHeaders"] |= {name: [value] for name, value in given.items()}
        if "headers" in document:
            document["headers"] |= given
    if body or "body" in document:
        document["body"] = base64.b64encode(body).decode() if base64_ else body.decode()
        document["isBase64Encoded"] = base64_
    return document


def answered(document: Document) -> tuple[int, dict[str, str], bytes]:
    """(status, headers by lower-case name, body) of an answer."""
    headers = {name.lower(): value for name, value in (document.get("headers") or {}).items()}
    headers |= {name.lower(): values[-1] for name, values in (document.get("multiValueHeaders") or {}).items()}
    body = document.get("body") or ""
    return document["statusCode"], headers, base64.b64decode(body) if document["isBase64Encoded"] else body.encode()
