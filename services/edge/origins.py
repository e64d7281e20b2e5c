"""Which sites' pages may talk to the edge: its own, and those on the list. Pure.

Sources: the Fetch standard on CORS, https://fetch.spec.whatwg.org/#http-cors-protocol, and on
`Sec-Fetch-Site`, https://www.w3.org/TR/fetch-metadata/
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

ALLOWED_METHODS = "GET, POST, PUT, DELETE, OPTIONS"
ALLOWED_HEADERS = "Authorization, Content-Type, Last-Event-ID"
# Browsers keep a preflight's answer for so long; Chromium at most for two hours.
PREFLIGHT_MAX_AGE_S = 600


def is_foreign(origin: str | None, fetch_site: str | None, host: str, allowed: Collection[str]) -> bool:
    """Whether the request was made by a page of another site that is not on the list.

    Browsers send `Origin` with whatever changes state and with everything across sites; where it is
    missing, `Sec-Fetch-Site` tells. Neither of them: no browser, and no cookie sent unknowingly.
    """
    if origin is not None:
        return origin not in allowed and not _is_own(origin, host)
    return fetch_site in ("cross-site", "same-site")


def cors_headers(origin: str | None, allowed: Collection[str], *, preflight: bool) -> Mapping[str, str]:
    """What lets an allowed site's page read the answer; `Vary` in any case, for caches on the way."""
    headers = {"Vary": "Origin"}
    if origin is None or origin not in allowed:
        return headers
    headers |= {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}
    if preflight:
        headers |= {
            "Access-Control-Allow-Methods": ALLOWED_METHODS,
            "Access-Control-Allow-Headers": ALLOWED_HEADERS,
            "Access-Control-Max-Age": str(PREFLIGHT_MAX_AGE_S),
        }
    else:
        headers["Access-Control-Expose-Headers"] = "Retry-After"
    return headers


def _is_own(origin: str, host: str) -> bool:
    # The scheme is left out: behind a proxy that ends TLS, ours is not the browser's.
    _, separator, named = origin.partition("://")
    return separator != "" and named.lower() == host.lower() != ""
