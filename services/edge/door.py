"""Who a request comes from, by cookie, bearer token, ticket or operator's key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quart import Response, request

from services.edge.selection import TICKET
from shared.identity.jwts import InvalidToken

if TYPE_CHECKING:
    from services.edge.edge import Edge
    from services.edge.sessions import Session, SessionCookie
    from services.edge.tickets import Tickets
    from services.edge.tokens import Token
    from shared.web.keys import ApiKeys


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """What decides who the current request comes from. Raises `NoSession`, `InvalidToken`, `Refusal`."""

    cookie: SessionCookie
    tickets: Tickets
    verify: Callable[[str], Awaitable[Token]]
    operators: ApiKeys

    async def session(self, edge: Edge) -> Session:
        """The session of cookie or bearer token, once it is known that nobody ended it."""
        return await _checked(await self._bearer_or_cookie_session(), edge)

    async def cookie_session(self, edge: Edge) -> Session:
        """The same, of the cookie alone."""
        return await _checked(self.cookie.read(request.cookies.get(self.cookie.name)), edge)

    async def presented_session(self) -> Session:
        """That of a ticket, too. Not checked yet: opening a stream checks it after the binding."""
        if ticket := request.args.get(TICKET):
            return await self.tickets.redeem(ticket)
        return await self._bearer_or_cookie_session()

    def operator(self) -> str:
        """The name of the operator whose key came with the request."""
        return self.operators.identify(request.headers.get("Authorization"), from_loopback=True)

    async def _bearer_or_cookie_session(self) -> Session:
        if "Authorization" in request.headers:
            token = await self.verify(bearer_token())
            return self.cookie.open(token.sub, token.tags, token.expires_at)
        return self.cookie.read(request.cookies.get(self.cookie.name))


async def _checked(session: Session, edge: Edge) -> Session:
    await edge.check(session)
    return session


def came_by_cookie() -> bool:
    """Whether the request's session is that of its cookie."""
    return TICKET not in request.args and "Authorization" not in request.headers


def bearer_token() -> str:
    """The token of the Authorization header. Raises `InvalidToken`."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise InvalidToken("Authorization", "there is no bearer token", "send Authorization: Bearer <JWT>")
    return token.strip()


def private(response: Response) -> Response:
    """Kept by no cache: it is this user's."""
    response.headers["Cache-Control"] = "no-store"
    return response
