"""What may be declared of a source, by its kind; and the scheme and the naming that follow from it. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from services.ingest.webhooks import naming, schemes
from services.ingest.webhooks.credentials import AUTHORIZATION, Basic, Bearer, Loopback
from services.ingest.webhooks.fields import (
    Audience,
    Declared,
    HeaderName,
    KeptHeaders,
    PickPlace,
    Place,
    Words,
    credential,
)
from services.ingest.webhooks.keys import KeyEncoding, decoded_key, public_keys, shared_keys
from services.ingest.webhooks.naming import AsDeclared, Digest, Fresh, Naming, Pick
from services.ingest.webhooks.schemes import DEFAULT_TOLERANCE_S, Algorithm, Encoding, Hmac, Keys, Scheme, Stamp
from services.ingest.webhooks.secret_places import SecretPlace
from services.ingest.webhooks.signed_text import SignedText
from services.ingest.webhooks.source import FORM, JSON, Source
from services.ingest.webhooks.timestamps import Format
from shared.model.checks import rule

# A window of more than a day protects from nothing.
MAX_TOLERANCE_S = 86_400.0
DIGEST = "digest"

ToleranceS = Annotated[float, Field(gt=0, le=MAX_TOLERANCE_S)]


class AnySource(Declared, ABC):
    """What is the same for every kind."""

    kind: str
    audience: Audience = ()
    headers: KeptHeaders = ()

    media_types: ClassVar[tuple[str, ...]] = ()
    own_headers: ClassVar[tuple[str, ...]] = ()
    """Kept without being asked for."""

    @property
    def secrets(self) -> tuple[SecretPlace, ...]:
        """Where they are, the current one first."""
        return ()

    @property
    def drops_tests(self) -> bool:
        """Whether events of the sender's test mode go nowhere."""
        return False

    @abstractmethod
    def scheme(self, secrets: Keys) -> Scheme:
        """How its requests are verified. Raises `NoSecret` where a secret is none of this kind."""

    @abstractmethod
    def naming(self, name: str) -> Naming:
        """How its events are called; `name` is the source's."""

    def source(self, name: str, secrets: Keys) -> Source:
        """The source. Raises `NoSecret`."""
        return Source(
            name=name,
            kind=self.kind,
            scheme=self.scheme(secrets),
            naming=self.naming(name),
            media_types=self.media_types,
            audience=self.audience,
            headers=tuple(dict.fromkeys((*self.own_headers, *self.headers))),
            drops_tests=self.drops_tests,
        )


class WithSecret(AnySource):
    """Kinds that know a secret, and another one for the time of a change."""

    secret: SecretPlace
    previous_secret: SecretPlace | None = None

    @property
    def secrets(self) -> tuple[SecretPlace, ...]:
        return (self.secret,) if self.previous_secret is None else (self.secret, self.previous_secret)


class GitHubSource(WithSecret):
    """GitHub, with nothing more than its secret."""

    media_types = (JSON, FORM)
    own_headers = (
        naming.GITHUB_EVENT,
        naming.GITHUB_DELIVERY,
        "x-github-hook-id",
        "x-github-hook-installation-target-type",
        "x-github-hook-installation-target-id",
    )

    def scheme(self, secrets: Keys) -> Scheme:
        return schemes.github(secrets)

    def naming(self, name: str) -> Naming:
        return naming.github


class StripeSource(WithSecret):
    """Stripe, with nothing more than its secret."""

    tolerance_s: ToleranceS = DEFAULT_TOLERANCE_S
    test_events: Literal["keep", "drop"] = "keep"

    media_types = (JSON,)

    @property
    def drops_tests(self) -> bool:
        return self.test_events == "drop"

    def scheme(self, secrets: Keys) -> Scheme:
        return schemes.Stripe(secrets, self.tolerance_s)

    def naming(self, name: str) -> Naming:
        return naming.stripe


class StandardSource(WithSecret):
    """A sender of Standard Webhooks, with nothing more than its secret or its public key."""

    tolerance_s: ToleranceS = DEFAULT_TOLERANCE_S
    type_prefix: Words | None = None

    own_headers = (schemes.StandardWebhooks.ID,)

    def scheme(self, secrets: Keys) -> Scheme:
        return schemes.StandardWebhooks(shared_keys(secrets), public_keys(secrets), self.tolerance_s)

    def naming(self, name: str) -> Naming:
        return naming.Standard(name if self.type_prefix is None else self.type_prefix)


class NamedSource(AnySource):
    """Kinds that no standard gives names: where those are is declared."""

    id: Place | None = None
    type: Place = PickPlace(text="received")
    subject: Place | None = None
    type_prefix: Words | None = None

    def naming(self, name: str) -> Naming:
        prefix = name if self.type_prefix is None else self.type_prefix
        return AsDeclared(prefix, self.id_pick, self.type.pick(), self.subject.pick() if self.subject else None)

    @property
    def id_pick(self) -> Pick:
        """Without an id each request is an event of its own: nothing tells a repeat from a second one."""
        if self.id is None:
            return Fresh()
        return Digest(self.signed_headers) if self.id.text == DIGEST else self.id.pick()

    @property
    def signed_headers(self) -> tuple[str, ...]:
        """Those that are signed together with the body."""
        return ()

    @model_validator(mode="after")
    def _one_id_is_not_for_all(self) -> Self:
        if self.id is not None and self.id.text not in (None, DIGEST):
            raise rule("one id for all makes them one event", f"write {DIGEST}, {{header: NAME}} or {{field: PATH}}")
        return self


class TimestampPlace(Declared):
    """Where the time stands at which a request was sent."""

    header: HeaderName
    format: Format = "unix"


class HmacSource(WithSecret, NamedSource):
    """A sender that signs with an HMAC in its own way."""

    header: HeaderName
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: Annotated[str, Field(max_length=100)] = ""
    key: KeyEncoding = "text"
    signed: SignedText | None = None
    timestamp: TimestampPlace | None = None
    tolerance_s: ToleranceS = DEFAULT_TOLERANCE_S

    def scheme(self, secrets: Keys) -> Scheme:
        stamp = Stamp(self.timestamp.header, self.timestamp.format, self.tolerance_s) if self.timestamp else None
        return Hmac(
            tuple(decoded_key(secret, self.key) for secret in secrets),
            header=self.header,
            algorithm=self.algorithm,
            encoding=self.encoding,
            prefix=self.prefix,
            signed=self.pieces,
            stamp=stamp,
            id_header=self.id.header if self.id and "id" in self.pieces else None,
        )

    @property
    def pieces(self) -> SignedText:
        """What is signed."""
        if self.signed is not None:
            return self.signed
        return ("timestamp", b".", "body") if self.timestamp else ("body",)

    @property
    def id_pick(self) -> Pick:
        return Digest(self.signed_headers) if self.id is None else super().id_pick

    @property
    def signed_headers(self) -> tuple[str, ...]:
        return (self.timestamp.header,) if self.timestamp else ()

    @model_validator(mode="after")
    def _what_protects_is_signed(self) -> Self:
        if ("timestamp" in self.pieces) != (self.timestamp is not None):
            raise rule("timestamp: and {timestamp} in signed: belong together", "declare both, or none of them")
        if "id" in self.pieces and (self.id is None or self.id.header is None):
            raise rule("signed: holds {id}, and no header is declared for it", "add id: {header: NAME}")
        if self.id is None and self.timestamp is None:
            fix = f"declare timestamp:, or id:; with id: {DIGEST} the same body counts once for ever"
            raise rule("nothing tells a repeated request from a new one", fix)
        return self


class BasicSource(WithSecret, NamedSource):
    """A sender that logs in with user and password."""

    user: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^:\x00-\x1f]+$")]

    def scheme(self, secrets: Keys) -> Scheme:
        return Basic(self.user, secrets)


class BearerSource(WithSecret, NamedSource):
    """A sender that shows a token."""

    header: HeaderName = AUTHORIZATION

    @model_validator(mode="after")
    def _the_token_is_not_kept(self) -> Self:
        taken = {place.header for place in (self.id, self.type, self.subject) if place is not None}
        if self.header in (*self.headers, *taken):
            raise credential(self.header)
        return self

    def scheme(self, secrets: Keys) -> Scheme:
        return Bearer(secrets, self.header)


class OpenSource(NamedSource):
    """Anyone on this machine."""

    def scheme(self, secrets: Keys) -> Scheme:
        return Loopback()


KINDS: Mapping[str, type[AnySource]] = {
    "standard-webhooks": StandardSource,
    "github": GitHubSource,
    "stripe": StripeSource,
    "hmac": HmacSource,
    "basic": BasicSource,
    "bearer": BearerSource,
    "none": OpenSource,
}
