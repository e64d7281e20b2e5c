"""Login with OpenID Connect, without its web side: off to the issuer, back with a code, and it is known who is there.

Sources: RFC 6749 (4.1, 10.12), RFC 9207 (the answer's issuer), and
https://openid.net/specs/openid-connect-core-1_0.html, section 3.1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from shared.identity.code_flow import CodeFlow, refused_by_issuer
from shared.identity.id_tokens import IdTokenVerifier
from shared.identity.issuers import Issuer
from shared.identity.jwts import InvalidToken
from shared.identity.keysets import checked_address, is_loopback
from shared.identity.transactions import LoginRefused, Transaction, Transactions
from shared.model.errors import InvalidInput
from shared.model.settings import Settings

MAX_CODE_CHARS = 2048


@dataclass(frozen=True, slots=True)
class Answer:
    """What the issuer sent the browser back with (RFC 6749, 4.1.2)."""

    state: str | None
    code: str | None
    error: str | None
    iss: str | None


class Login:
    """One service's login: the issuer comes back to it below its own path.

    Args:
        issuer: whom people log in at; the same may serve `TokenVerifier`.
        secrets_: of the cookies that remember who is on the way: the first signs, each of them verifies.
        path: where the login is, such as `/v1/login`.

    Raises `InvalidInput`, naming the setting, where one is missing or wrong.
    """

    def __init__(self, settings: Settings, issuer: Issuer, secrets_: Sequence[str], path: str) -> None:
        client_id = settings.oidc_client_id
        if client_id is None:
            fix = "set it, or leave CARILLON_OIDC_ISSUER out"
            raise InvalidInput("CARILLON_OIDC_CLIENT_ID", "it is not set, and logins need it", fix)
        if "openid" not in settings.oidc_scopes.split():
            raise InvalidInput("CARILLON_OIDC_SCOPES", "it lacks openid", "add it: without it there is no ID token")
        secret = settings.oidc_client_secret
        self._flow = CodeFlow(
            issuer, client_id, None if secret is None else secret.get_secret_value(), settings.oidc_scopes
        )
        self._issuer, self._id_tokens = issuer, IdTokenVerifier(issuer, client_id)
        self._public_url = None if settings.public_url is None else _checked_origin(settings.public_url)
        self.callback_path = f"{path}/callback"
        self.transactions = Transactions(secrets_, path, secure=settings.cookie_secure)

    async def begin(self, return_to: str, own_origin: str, *, as_another: bool = False) -> tuple[Transaction, str]:
        """(the new login, the issuer's address to send the browser to).

        Args:
            own_origin: how the browser reached this server, such as `http://127.0.0.1:8082`.
            as_another: the issuer asks who it is, even of whom it knows.

        Raises `LoginRefused` and `IssuerUnavailable`.
        """
        transaction = self.transactions.begin(return_to, self._redirect_uri(own_origin))
        return transaction, await self._flow.address(transaction, as_another=as_another)

    async def finish(self, transaction: Transaction, answer: Answer) -> dict[str, Any]:
        """What the issuer says of who has logged in. Raises `LoginRefused` and `IssuerUnavailable`."""
        await self._check_sender(answer)
        id_token = await self._flow.id_token(transaction, _checked_code(answer))
        try:
            return await self._id_tokens.verify(id_token, transaction.nonce)
        except InvalidToken as refused:
            problem = f"the issuer's ID token is not good: {refused.field}: {refused.problem}"
            raise LoginRefused("id_token", problem, refused.fix, status=502) from None

    async def _check_sender(self, answer: Answer) -> None:
        """Another issuer's answer must not be taken to this one (RFC 9207, 2.4)."""
        metadata = await self._issuer.metadata()
        if answer.iss != metadata.issuer and (answer.iss is not None or metadata.names_itself):
            raise LoginRefused("iss", "the answer is another issuer's", "begin the login again")

    def _redirect_uri(self, own_origin: str) -> str:
        # Elsewhere the Host header is whatever a stranger wrote.
        if self._public_url is None and not is_loopback(_hostname(own_origin)):
            raise LoginRefused("Host", "logins are not set up for this address", "have CARILLON_PUBLIC_URL set to it")
        return (self._public_url or own_origin) + self.callback_path


def _hostname(origin: str) -> str:
    """None at all of what is no address, such as `http://[`."""
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def _checked_code(answer: Answer) -> str:
    if answer.error is not None:
        raise refused_by_issuer(answer.error)
    code = answer.code or ""
    if not code or len(code) > MAX_CODE_CHARS or not code.isascii() or not code.isprintable():
        raise LoginRefused("code", "it is missing, or not a code", "begin the login again")
    return code


def _checked_origin(url: str) -> str:
    origin = checked_address("CARILLON_PUBLIC_URL", url).removesuffix("/")
    if urlsplit(origin).path or urlsplit(origin).query:
        raise InvalidInput("CARILLON_PUBLIC_URL", "it has a path", "give scheme, host and port only")
    return origin
