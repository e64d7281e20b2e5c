"""One-time tickets, for clients that can send neither a cookie nor a header."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from services.edge.sessions import NoSession, Seal, Session
from shared.ports.sessions import SessionStore

SECRET_BYTES = 24
MAX_TICKET_CHARS = 100

_PURPOSE = b"carillon ticket v1"


class Tickets:
    """Tickets of all edges.

    Of the secret only a digest is stored, and what is stored with it is no cookie: who reads the store can use
    neither, and who writes to it cannot make a session up.
    """

    def __init__(self, store: SessionStore, secrets_: Sequence[str], ttl_s: float) -> None:
        self._store, self._seal, self.ttl_s = store, Seal(secrets_, _PURPOSE), ttl_s

    async def issue(self, session: Session) -> str:
        """A ticket that opens one stream of this session. Raises `Unavailable`."""
        ticket = secrets.token_urlsafe(SECRET_BYTES)
        await self._store.keep_ticket(_digest(ticket), self._seal.sealed(session), self.ttl_s)
        return ticket

    async def redeem(self, ticket: str) -> Session:
        """The session of a ticket, once. Raises `NoSession`, `Unavailable`."""
        content = await self._store.take_ticket(_digest(ticket)) if len(ticket) <= MAX_TICKET_CHARS else None
        session = None if content is None else self._seal.opened(content)
        if session is None or session.seconds_left() <= 0:
            problem = "it is unknown, used or too old"
            raise NoSession("ticket", problem, "ask for a new one: POST /v1/tickets; it is good once, and for seconds")
        return session


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode(errors="surrogatepass")).hexdigest()
