"""Who somebody of another system is here: logins of GitHub, customers of Stripe -> users. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.ingest.rules.wrong import Nobody

OTHERS = "*"


@dataclass(frozen=True, slots=True)
class People:
    """Maps by name. A login that no map knows is the user of that name; one that is mapped to null is nobody."""

    maps: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)

    def user(self, name: str, login: str) -> str:
        """The user's name here. Raises `Nobody` for whoever is nobody."""
        logins = self.maps.get(name, {})
        found = logins.get(login.casefold(), logins.get(OTHERS, login))
        if found is None:
            raise Nobody(f"{login[:60]!r} is nobody here, say the people of {name}")
        return found
