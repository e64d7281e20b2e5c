"""Bearer tokens as an edge with only a shared key verifies them."""

from __future__ import annotations

import asyncio

from services.edge.tokens import Token, TokenVerifier
from shared.identity.verifier import SHARED_KEY_ALGORITHM


def verify_token(token: str, secret: str, issuer: str | None = None, audience: str | None = None) -> Token:
    """The token's content. Raises `InvalidToken`. Not to be called where an event loop runs."""
    verifier = TokenVerifier(shared_key=secret, algorithms=[SHARED_KEY_ALGORITHM], issuer=issuer, audience=audience)
    return asyncio.run(verifier.verify(token))
