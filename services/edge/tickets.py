"""One-time tickets, for clients that can send neither a cookie nor a header."""

from __future__ import annotations

import hashlib
import secrets

from services.edge.sessions import NoSession, Session, SessionCookie
from shared.ports.sessions import SessionStore

SECRET_BYTES = 24
MAX_TICKET_CHARS = 100


class Tickets:
    """Tickets of all edges. Only a digest is stored: who reads the store cannot use them."""

    def __init__(self, store: SessionStore, cookie: SessionCookie, ttl_s: float) -> None:
        self._store, self._cookie, self.ttl_s = store, cookie, ttl_s

    async def issue(self, session: Session) -> str:
        """A ticket that opens one stream of this session. Raises `Unavailable`."""
        ticket = secrets.token_urlsafe(SECRET_BYTES)
        await self._store.keep_ticket(_digest(ticket), self._cookie.sign(session), self.ttl_s)
        return ticket

    async def redeem(self, ticket: str) -> Session:
        """The session of a ticket, once. Raises `NoSession`, `Unavailable`."""
        content = await self._store.take_ticket(_digest(ticket)) if len(ticket) <= MAX_TICKET_CHARS else None
        if content is None:
            problem = "it is unknown, used or too old"
            raise NoSession("ticket", problem, "ask for a new one: POST /v1/tickets; it is good once, and for seconds")
        return self._cookie.read(content)


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode(errors="surrogatepass")).hexdigest()
