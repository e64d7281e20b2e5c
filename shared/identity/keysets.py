"""What an issuer publishes: small JSON documents, fetched within bounds, and kept while they are good.

Sources: JSON Web Keys (RFC 7517), their algorithms (RFC 7518, RFC 8037), what to beware of (RFC 8725).
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import logging
import math
import ssl
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import httpx
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import Key, import_key

from shared.model.errors import InvalidInput, Unavailable

# For a whole exchange with the issuer, name look-up and TLS included: a browser waits for it.
ASK_TIMEOUT_S = 5.0
# Large issuers publish about 10 KiB; who sends more than this means no good, or is no issuer.
ANSWER_MAX_BYTES = 256 * 1024
MAX_KEYS = 100
# A key that the issuer withdraws is trusted for so much longer.
KEPT_S = 300.0
# Tokens with made-up key ids must not become requests to the issuer.
ASKED_EVERY_S = 30.0
# The same while there is nothing to go on with: short, because until then nobody gets in.
ASKED_AGAIN_AFTER_S = 2.0
# An issuer may be away over a night; a document older than this says nothing about today.
STALE_MAX_S = 86_400.0

# What a key must be to verify an algorithm: (kty, crv). HMAC is not here: no published key is a shared one.
PUBLIC_KEY_ALGORITHMS: dict[str, tuple[str, str | None]] = {
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "EdDSA": ("OKP", "Ed25519"),
}

Clock = Callable[[], float]
Address = Callable[[], Awaitable[str]]
Document = TypeVar("Document")

_log = logging.getLogger(__name__)


class IssuerUnavailable(Unavailable):
    """The issuer does not answer, or not with what it should; and nothing kept is good enough."""

    def __init__(self, detail: str) -> None:
        super().__init__("issuer", detail)


class Published(Generic[Document]):
    """A document of the issuer, fetched when first asked for and again once it is older than `KEPT_S`.

    At most one fetch runs at a time, and none begins within `ASKED_EVERY_S` of the last. While the
    issuer does not answer, what is kept goes on working for `STALE_MAX_S`.

    Args:
        fetch: gets and parses it; raises `IssuerUnavailable`.
        clock: seconds that only grow.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Document]], clock: Clock = time.monotonic) -> None:
        self._fetch, self._clock = fetch, clock
        self._kept: Document | None = None
        self._fetched_at = self._asked_at = -math.inf
        self._trouble = "it did not answer yet"
        self._asking = asyncio.Lock()

    async def get(self) -> Document:
        """The document. Raises `IssuerUnavailable` where there is none."""
        is_fresh = self._clock() - self._fetched_at <= KEPT_S
        # While one caller waits for an issuer that hangs, the others go on with what is kept.
        if not is_fresh and not (self._kept is not None and self._asking.locked()):
            await self._ask()
        return self._good_enough()

    async def newer(self) -> Document:
        """For who missed something in `get`: the document as it is now, or was a moment ago."""
        await self._ask()
        return self._good_enough()

    async def _ask(self) -> None:
        async with self._asking:
            pause_s = ASKED_AGAIN_AFTER_S if self._kept is None else ASKED_EVERY_S
            if self._clock() - self._asked_at < pause_s:
                return
            self._asked_at = self._clock()
            try:
                self._kept = await self._fetch()
                self._fetched_at = self._clock()
            except IssuerUnavailable as unavailable:
                self._trouble = unavailable.detail
                _log.warning("the issuer: %s", unavailable.detail, extra={"goes_on": self._kept is not None})

    def _good_enough(self) -> Document:
        if self._kept is None or self._clock() - self._fetched_at > STALE_MAX_S:
            raise IssuerUnavailable(self._trouble)
        return self._kept


class KeySet:
    """The public keys of an issuer (RFC 7517, 5).

    Args:
        address: says where they are.
    """

    def __init__(self, address: Address, clock: Clock = time.monotonic) -> None:
        self._address = address
        self._keys = Published(self._fetch, clock)

    @classmethod
    def at(cls, url: str, clock: Clock = time.monotonic) -> KeySet:
        """Those at a fixed address."""

        async def address() -> str:
            return url

        return cls(address, clock)

    async def key(self, algorithm: str, kid: str | None) -> Key | None:
        """The key for a signature; None where the issuer publishes none such, or several without a name.

        A key that is not among those kept is looked for once more: the issuer may have a new one.
        Raises `IssuerUnavailable`.
        """
        known = chosen(await self._keys.get(), algorithm, kid)
        return known or chosen(await self._keys.newer(), algorithm, kid)

    async def _fetch(self) -> tuple[Key, ...]:
        return usable_keys(await fetch_json(await self._address()))


def chosen(keys: Iterable[Key], algorithm: str, kid: str | None) -> Key | None:
    """The one key that fits. Pure."""
    fitting = [key for key in keys if _fits(key, algorithm) and kid in (None, key.kid)]
    return fitting[0] if len(fitting) == 1 else None


def _fits(key: Key, algorithm: str) -> bool:
    kind, curve = PUBLIC_KEY_ALGORITHMS[algorithm]
    return (key.key_type, key.get("crv")) == (kind, curve) and key.get("alg", algorithm) == algorithm


def usable_keys(published: dict[str, Any]) -> tuple[Key, ...]:
    """The signature keys of a key set; what is not understood is left out (RFC 7517, 5). Pure.

    Raises `IssuerUnavailable` where none remains.
    """
    entries = published.get("keys")
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise IssuerUnavailable(f"its key set holds no list of at most {MAX_KEYS} keys")
    keys = tuple(key for key in map(_public_key, entries) if key is not None)
    if not keys:
        raise IssuerUnavailable("its key set holds no key for signatures")
    return keys


def _public_key(entry: Any) -> Key | None:
    # "oct" is left out: a shared key that is published is none, and must never verify anything.
    if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP") or entry.get("use", "sig") != "sig":
        return None
    try:
        with warnings.catch_warnings():
            # joserfc only warns of RSA keys under 2048 bits, which RFC 7518, 3.3 forbids.
            warnings.simplefilter("error", SecurityWarning)
            return import_key(entry)
    except (JoseError, SecurityWarning, ValueError, KeyError, TypeError):
        return None


async def fetch_json(url: str) -> dict[str, Any]:
    """The JSON object at `url`. Raises `IssuerUnavailable`, naming the address, for anything else."""
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S), httpx.AsyncClient(**client_options()) as client:
            answer = await client.get(url, headers={"Accept": "application/json"})
        if answer.status_code != httpx.codes.OK:
            raise IssuerUnavailable(f"{url} answered {answer.status_code}")
        document = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as failed:
        raise IssuerUnavailable(f"{url}: {str(failed) or type(failed).__name__}") from None
    except (ValueError, RecursionError):
        raise IssuerUnavailable(f"{url} answered no JSON") from None
    if not isinstance(document, dict):
        raise IssuerUnavailable(f"{url} answered no JSON object")
    return document


def client_options() -> dict[str, Any]:
    """For an httpx client that talks to an issuer: bounded in time and size; redirects are not followed."""
    return {
        "timeout": ASK_TIMEOUT_S,
        "verify": _tls(),
        # Compressed, a small answer could become a large one.
        "headers": {"Accept-Encoding": "identity"},
        "event_hooks": {"response": [_bound]},
    }


@functools.cache
def _tls() -> ssl.SSLContext:
    """Reading the certificates takes 20 ms: once is enough."""
    return httpx.create_ssl_context()


async def _bound(answer: httpx.Response) -> None:
    """A response hook: the body may still be read, up to `ANSWER_MAX_BYTES`."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise httpx.DecodingError("the answer is compressed, unasked", request=answer.request)
    assert isinstance(answer.stream, httpx.AsyncByteStream)
    answer.stream = _BoundedStream(answer.stream)


class _BoundedStream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > ANSWER_MAX_BYTES:
                raise httpx.ReadError(f"the answer is over {ANSWER_MAX_BYTES} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def checked_address(setting: str, url: str) -> str:
    """Returns the URL itself. Raises `InvalidInput` unless it is https, or http on this machine."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
        is_good = is_good and bool(parts.hostname) and parts.username is None and not parts.fragment
    except ValueError:
        is_good = False
    if not is_good or not url.isprintable() or " " in url:
        raise InvalidInput(
            setting, f"{url[:80]!r} is no https address", "use https; http only on 127.0.0.1 or localhost"
        )
    return url


def is_loopback(host: str) -> bool:
    """Whether the host name, without a port, means this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
