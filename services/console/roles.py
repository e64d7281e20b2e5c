"""Whom the console lets in of those who log in at the issuer: by what a claim of theirs holds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from services.console.acts import Actor
from services.console.operators import Person
from shared.identity.transactions import LoginRefused
from shared.model.errors import InvalidInput
from shared.model.settings import Settings

MAX_NAME_CHARS = 100
# OpenID Connect Core, section 2: an issuer gives no longer ones.
MAX_SUB_CHARS = 255
# Of what somebody holds who does not get in: enough to see which role is missing.
SHOWN_ROLES = 20
_NAMES = ("name", "preferred_username", "email")


class NoRole(LoginRefused):
    """The issuer knows them, and nothing that it says of them lets them in here.

    Args:
        actor: who it is.
        held: what the claim holds.
    """

    def __init__(self, claim: str, actor: Actor, held: tuple[str, ...]) -> None:
        problem = f"{actor.name} has none of the roles that the console is for"
        super().__init__(claim, problem, "have the issuer's administrator grant one, or sign in as another", status=403)
        self.actor, self.held = actor, held


@dataclass(frozen=True, slots=True)
class Roles:
    """Which values of which claim let whom in."""

    issuer: str
    claim: str
    acting: tuple[str, ...]
    looking: tuple[str, ...]

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """As the settings say; None where they name no role. Raises `InvalidInput` for roles without an issuer."""
        acting, looking = settings.console_operator_roles, settings.console_viewer_roles
        if not acting and not looking:
            return None
        if settings.oidc_issuer is None:
            problem = "it is not set, though there are roles for the console"
            fix = "set it, or leave CARILLON_CONSOLE_OPERATOR_ROLES and CARILLON_CONSOLE_VIEWER_ROLES out"
            raise InvalidInput("CARILLON_OIDC_ISSUER", problem, fix)
        return cls(settings.oidc_issuer, settings.console_roles_claim, acting, looking)

    def person(self, claims: Mapping[str, Any]) -> Person:
        """Whom the claims are about. Raises `LoginRefused`, and as such `NoRole`."""
        actor, held = Actor(_name(claims), self.issuer, _sub(claims)), _texts(claims.get(self.claim))
        may_act = not held.isdisjoint(self.acting)
        if not may_act and held.isdisjoint(self.looking):
            raise NoRole(self.claim, actor, tuple(sorted(held)))
        return Person(actor, may_act)


def _sub(claims: Mapping[str, Any]) -> str:
    sub = claims.get("sub")
    if not isinstance(sub, str) or not sub or len(sub) > MAX_SUB_CHARS or not sub.isprintable():
        problem = "the issuer names nobody with it"
        raise LoginRefused("sub", problem, f"have it give an id of at most {MAX_SUB_CHARS} characters", status=502)
    return sub


def _name(claims: Mapping[str, Any]) -> str:
    """What to call somebody: people know each other by name, and an id may be a number."""
    for said in (claims.get(name) for name in _NAMES):
        if isinstance(said, str) and (shown := _line(said)):
            return shown
    return _line(_sub(claims))


def _line(text: str) -> str:
    """Its printable characters, as one line."""
    one = " ".join(text.split())
    return "".join(filter(str.isprintable, one))[:MAX_NAME_CHARS]


def _texts(value: object) -> frozenset[str]:
    """A claim of several texts is a list; one text is one role, whatever spaces it holds."""
    if isinstance(value, str):
        return frozenset((value,))
    return frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list) else frozenset()
