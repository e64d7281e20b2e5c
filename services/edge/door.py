"""Who a request comes from, by cookie, bearer token, ticket or operator's key."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quart import Response, request

from services.edge import control
from services.edge.selection import TICKET
from services.edge.sessions import NoSession
from shared.identity.jwts import InvalidToken

if TYPE_CHECKING:
    from services.edge.edge import Edge
    from services.edge.sessions import Session, SessionCookie
    from services.edge.tickets import Tickets
    from services.edge.tokens import Token
    from shared.model.entry import Head
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
        return (await self.session_at(edge))[0]

    async def session_at(self, edge: Edge) -> tuple[Session, Head]:
        """The same, and where the log ended then: whoever needs that has no need to ask for it again."""
        session = await self._bearer_or_cookie_session()
        return session, await edge.check(session)

    async def cookie_session(self, edge: Edge) -> Session:
        """The same, of the cookie alone."""
        session = self.cookie.read(request.cookies.get(self.cookie.name))
        await edge.check(session)
        return session

    async def presented_session(self) -> Session:
        """That of a ticket, too. Not checked yet: opening a stream checks it after the binding."""
        if ticket := request.args.get(TICKET):
            return await self.tickets.redeem(ticket)
        return await self._bearer_or_cookie_session()

    async def let_in(self, session: Session, response: Response, edge: Edge) -> Response:
        """Gives the browser a new session, and ends the one that its cookie had, perhaps with other grants.

        Raises `Unavailable` where nobody can be told of that end.
        """
        try:
            former = self.cookie.read(request.cookies.get(self.cookie.name))
        except NoSession:
            former = None
        if former is not None and former.sub == session.sub:
            await edge.announce(control.revoked(former.sub, former.sid, time.time(), "replaced"))
        return self.set_session(response, session)

    def set_session(self, response: Response, session: Session) -> Response:
        """Gives the browser the session's cookie."""
        response.set_cookie(
            self.cookie.name,
            self.cookie.sign(session),
            max_age=int(session.seconds_left()),
            path="/",
            secure=self.cookie.secure,
            httponly=True,
            samesite="Lax",
        )
        return response

    def operator(self) -> str:
        """The name of the operator whose key came with the request."""
        return self.operators.identify(request.headers.get("Authorization"), from_loopback=True)

    async def _bearer_or_cookie_session(self) -> Session:
        if "Authorization" in request.headers:
            token = await self.verify(bearer_token())
            return self.cookie.open(token.sub, token.tags, token.expires_at)
        return self.cookie.read(request.cookies.get(self.cookie.name))


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
