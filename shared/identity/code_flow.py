"""The authorization code flow with PKCE, towards the issuer: where to send the browser, and the code for an ID token.

Sources: RFC 6749, 4.1; RFC 7636; https://openid.net/specs/openid-connect-core-1_0.html, section 3.1
"""

from __future__ import annotations

import asyncio
import functools
import warnings
from typing import Any

import httpx

from shared.identity.issuers import Issuer, Metadata
from shared.identity.keysets import ASK_TIMEOUT_S, IssuerUnavailable, client_options
from shared.identity.transactions import LoginRefused, Transaction
from shared.model.errors import InvalidInput

# Bounds what a flood of made-up answers does to the issuer; the others wait, within its time limit.
MAX_EXCHANGES = 20
# What an issuer may answer instead of a code or a token; others are not repeated.
# (RFC 6749, 4.1.2.1 and 5.2; OpenID Connect Core 3.1.2.6)
KNOWN_ERRORS = frozenset(
    {
        "account_selection_required",
        "consent_required",
        "interaction_required",
        "invalid_client",
        "invalid_request",
        "invalid_scope",
        "login_required",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_response_type",
    }
)


class CodeFlow:
    """One client of one issuer. Raises `InvalidInput` where the machine cannot do it."""

    def __init__(self, issuer: Issuer, client_id: str, client_secret: str | None, scopes: str) -> None:
        self._issuer, self._client_id, self._client_secret, self._scopes = issuer, client_id, client_secret, scopes
        self._client_type = _client_type()
        self._exchanges = asyncio.Semaphore(MAX_EXCHANGES)

    async def address(self, transaction: Transaction, *, as_another: bool = False) -> str:
        """Where the user logs in (RFC 6749, 4.1.1). Raises `IssuerUnavailable`.

        Args:
            as_another: the issuer is not to take whom it knows already (OpenID Connect Core, 3.1.2.1: `prompt`).
        """
        metadata = await self._issuer.metadata()
        prompt = {"prompt": "login"} if as_another else {}
        async with self._client(metadata, transaction) as client:
            url, _ = client.create_authorization_url(
                metadata.endpoint("authorization_endpoint"),
                state=transaction.state,
                nonce=transaction.nonce,
                code_verifier=transaction.verifier,
                **prompt,
            )
        return str(url)

    async def id_token(self, transaction: Transaction, code: str) -> str:
        """What the issuer gives for the code (RFC 6749, 4.1.3). Raises `LoginRefused` and `IssuerUnavailable`."""
        metadata = await self._issuer.metadata()
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S), self._exchanges, self._client(metadata, transaction) as client:
                answer = await client.fetch_token(
                    metadata.endpoint("token_endpoint"),
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=transaction.verifier,
                )
        except self._client_type.oauth_error_class as refused:
            raise refused_by_issuer(refused.error) from None
        except (httpx.HTTPError, TimeoutError) as failed:
            raise IssuerUnavailable(f"its token endpoint: {str(failed) or type(failed).__name__}") from None
        except (ValueError, RecursionError):
            raise IssuerUnavailable("its token endpoint answered no JSON object") from None
        id_token = answer.get("id_token")
        if not isinstance(id_token, str):
            raise LoginRefused("id_token", "the issuer sent none", "have it grant the scope openid", status=502)
        return id_token

    def _client(self, metadata: Metadata, transaction: Transaction) -> Any:
        return self._client_type(
            self._client_id,
            self._client_secret,
            token_endpoint_auth_method="none" if self._client_secret is None else metadata.client_authentication,
            scope=self._scopes,
            redirect_uri=transaction.redirect_uri,
            code_challenge_method="S256",
            **client_options(),
        )


def refused_by_issuer(error: object) -> LoginRefused:
    """What an `error` of the issuer means for the user. Pure."""
    if error == "access_denied":
        return LoginRefused("error", "the issuer says that access was denied", "log in, and allow it", status=403)
    if error == "invalid_grant":
        return LoginRefused("code", "the issuer does not take the code: used before, or too late", "begin again")
    known = error if isinstance(error, str) and error in KNOWN_ERRORS else "an error that is not in the standard"
    return LoginRefused("error", f"the issuer answered {known}", "try again, or tell an administrator", status=502)


@functools.cache
def _client_type() -> Any:
    """Authlib's client, loaded where there is a login. It has no types."""
    with warnings.catch_warnings():
        from authlib.deprecate import AuthlibDeprecationWarning  # type: ignore[import-untyped]

        # Whatever the filters say, it tells every user that it will prefer httpx2 to httpx.
        warnings.simplefilter("ignore", AuthlibDeprecationWarning)
        from authlib.integrations.httpx_client import AsyncOAuth2Client  # type: ignore[import-untyped]
    if not issubclass(AsyncOAuth2Client, httpx.AsyncClient):
        # Its errors and streams would be none of those that are bounded and caught here.
        raise InvalidInput("httpx2", "it is installed, and Authlib takes it before httpx", "uninstall it")
    return AsyncOAuth2Client
