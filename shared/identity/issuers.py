"""An OpenID Connect issuer, known by what it publishes about itself.

Source: https://openid.net/specs/openid-connect-discovery-1_0.html, sections 3 and 4
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from shared.identity.keysets import (
    Clock,
    IssuerUnavailable,
    KeySet,
    Published,
    checked_address,
    fetch_json,
    is_loopback,
)
from shared.model.errors import InvalidInput

WELL_KNOWN = "/.well-known/openid-configuration"
BASIC, POST = "client_secret_basic", "client_secret_post"


@dataclass(frozen=True, slots=True)
class Metadata:
    """What an issuer says about itself."""

    issuer: str
    document: dict[str, Any]

    def endpoint(self, name: str) -> str:
        """An address of the issuer. Raises `IssuerUnavailable` where it is missing, or not to be trusted."""
        url = self.document.get(name)
        if not isinstance(url, str):
            raise IssuerUnavailable(f"{self.issuer} names no {name}")
        try:
            checked_address(name, url)
        except InvalidInput as refused:
            raise IssuerUnavailable(f"{self.issuer}: {refused}") from None
        if _is_on_loopback(url) and not _is_on_loopback(self.issuer):
            # Somebody else's document must not make this server talk to itself.
            raise IssuerUnavailable(f"{self.issuer}: its {name} is on loopback")
        return url

    @property
    def client_authentication(self) -> str:
        """How a client with a secret shows it: `BASIC`, the default, or `POST` where only that is taken."""
        methods = self.document.get("token_endpoint_auth_methods_supported")
        return POST if isinstance(methods, list) and POST in methods and BASIC not in methods else BASIC

    @property
    def names_itself(self) -> bool:
        """Whether its answers carry `iss` (RFC 9207)."""
        return self.document.get("authorization_response_iss_parameter_supported") is True


class Issuer:
    """Somebody whose signatures count here.

    Args:
        name: its identifier, an address, exactly as its tokens spell it.

    Raises `InvalidInput` where the name cannot be an issuer's.
    """

    def __init__(self, name: str, clock: Clock = time.monotonic) -> None:
        self.name = checked_address("CARILLON_OIDC_ISSUER", name)
        if urlsplit(name).query:
            raise InvalidInput("CARILLON_OIDC_ISSUER", "it has a query", "give the issuer as its tokens spell it")
        self.keys = KeySet(self._keys_address, clock)
        self._metadata = Published(self._fetch, clock)

    async def metadata(self) -> Metadata:
        """Raises `IssuerUnavailable`."""
        return await self._metadata.get()

    async def _keys_address(self) -> str:
        return (await self.metadata()).endpoint("jwks_uri")

    async def _fetch(self) -> Metadata:
        document = await fetch_json(self.name.removesuffix("/") + WELL_KNOWN)
        if document.get("issuer") != self.name:  # exactly: Discovery 4.3
            raise IssuerUnavailable(f"{self.name} says that it is another issuer: compare CARILLON_OIDC_ISSUER with it")
        return Metadata(self.name, document)


def _is_on_loopback(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")
