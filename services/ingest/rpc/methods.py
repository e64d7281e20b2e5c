"""The methods: the parameters of each, and the event that they become. Pure.

Each is a class; its docstring is what `rpc.discover` says of it.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from services.ingest.notification import Notification, Saying
from services.ingest.rpc.params import Audience, Json, Line, Name, Params, Percent, Publishing, Reason, User
from shared.model.checks import rule
from shared.model.event import Long, Short
from shared.model.notification import TYPE as NOTIFICATION
from shared.model.tags import EVERYONE, MAX_AUDIENCE_TAGS, audience_text, user_tag

METRICS_TAG = "topic:metrics"

# What of the parameters is no attribute.
ABOUT_THE_CALL = {"specversion", "extensions", "idempotency_key"}

StepStatus = Literal["pending", "running", "completed", "failed", "passed", "error", "cancelled"]


class _Telling(Publishing):
    audience: Audience

    def _given(self, *names: str) -> dict[str, Any]:
        """Parameters of these names are the event's data, with every null that was given."""
        told = self.model_dump(include=set(names), exclude_unset=True)
        return {"type": self.type_of_event, "audience": self.audience, "data": told}


class _Notifying(Publishing, Notification):
    type_of_event = NOTIFICATION

    def _to(self, audience: str) -> dict[str, Any]:
        return {"type": NOTIFICATION, "audience": audience, "data": self.content()}


class NotifyUser(_Notifying):
    """Tells one user something."""

    user: Annotated[User, Field(description="Whom, as their token names them in sub")]

    def event(self) -> dict[str, Any]:
        return self._to(user_tag(self.user))


class NotifyUsers(_Notifying):
    """Tells several users something, each once."""

    users: Annotated[list[User], Field(min_length=1, max_length=MAX_AUDIENCE_TAGS, description="Whom")]

    def event(self) -> dict[str, Any]:
        return self._to(audience_text(dict.fromkeys(map(user_tag, self.users))))


class NotifyEveryone(_Notifying):
    """Tells everyone something."""

    def event(self) -> dict[str, Any]:
        return self._to(EVERYONE)


class Step(BaseModel):
    """What is new of one step of a job; what is left out stays as it was."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Line | None = None
    status: StepStatus | None = None
    started_at: Name | None = None
    ended_at: Name | None = None
    duration_ms: Annotated[int, Field(ge=0)] | None = None
    needs: list[Name] | None = None
    error: Json = None
    attempt: Annotated[int, Field(ge=1)] | None = None


class _OfJob(_Telling):
    status: ClassVar[str]
    tells: ClassVar[tuple[str, ...]] = ()

    job: Annotated[Name, Field(description="The job's id; its stream is job/<id>")]
    message: Annotated[Line, Field(description="What it does now, in one line")] | None = None
    steps: (
        Annotated[dict[Name, Step | None], Field(description="What is new of its steps, by their ids; null drops one")]
        | None
    ) = None

    def event(self) -> dict[str, Any]:
        given = self._given("message", "steps", *self.tells)
        return given | {"subject": f"job/{self.job}", "data": {"status": self.status, **given["data"]}}


class JobProgress(_OfJob):
    """What a job is doing, on its stream."""

    type_of_event, status, tells = "job.progressed", "running", ("progress",)

    progress: Percent | None = None


class JobComplete(_OfJob):
    """A job is done: ends its stream."""

    type_of_event, status, tells = "job.completed", "completed", ("result",)

    result: Annotated[Json, Field(description="What came of it")] = None

    def event(self) -> dict[str, Any]:
        ended = super().event()
        return ended | {"data": ended["data"] | {"progress": 100}, "final": "true"}


class JobFail(_OfJob):
    """A job has failed: ends its stream."""

    type_of_event, status, tells = "job.failed", "failed", ("error",)

    error: Reason

    def event(self) -> dict[str, Any]:
        return super().event() | {"final": "true"}


class DataChanged(_Telling):
    """Something that pages show has changed."""

    type_of_event = "data.changed"

    resource: Annotated[Line, Field(description="What changed, such as orders")]
    id: Annotated[Line, Field(description="Which one of them")] | None = None
    change: Annotated[Name, Field(description="How, such as created, updated or deleted")] | None = None
    details: Annotated[dict[str, Json], Field(description="Whatever a page needs to show it")] | None = None

    def event(self) -> dict[str, Any]:
        return self._given("resource", "id", "change", "details")


class SystemAnnounce(Publishing, Saying):
    """Something that everyone should know, such as a maintenance."""

    type_of_event = "system.announced"

    def event(self) -> dict[str, Any]:
        return {"type": self.type_of_event, "audience": EVERYONE, "data": self.content()}


class MetricsUpdate(_Telling):
    """Values that a dashboard shows."""

    type_of_event = "metrics.updated"

    name: Annotated[Line, Field(description="Which metrics")]
    values: Annotated[dict[Name, Json], Field(min_length=1, description="By name")]
    audience: Audience = METRICS_TAG

    def event(self) -> dict[str, Any]:
        return self._given("name", "values")


class UserActivity(_Telling):
    """What a user does, for those who work beside them."""

    type_of_event = "user.active"

    user: Annotated[User, Field(description="Who did it")]
    activity: Annotated[Line, Field(description="What they did")]
    details: Annotated[dict[str, Json], Field(description="Whatever a page needs to show it")] | None = None

    def event(self) -> dict[str, Any]:
        return self._given("user", "activity", "details")


class Described(Params):
    """Any event, by its CloudEvents attributes."""

    type: Annotated[Short, Field(description="What happened, such as order.created")]
    specversion: Literal["1.0"] = "1.0"
    source: Annotated[Long, Field(description="Who says so; the producer's own where it is left out")] | None = None
    id: Annotated[Short, Field(description="With source, what makes it the same event")] | None = None
    subject: Annotated[Long, Field(description="The stream it belongs to, such as order/7")] | None = None
    time: Annotated[str, Field(description="When it happened, as RFC 3339 has it")] | None = None
    datacontenttype: Long | None = None
    dataschema: Long | None = None
    data: Json = None
    data_base64: Annotated[str, Field(description="In place of data: bytes that are no JSON")] | None = None
    audience: Audience | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    final: Annotated[
        Json, WithJsonSchema({"enum": ["true", "false", True, False]}), Field(description="Whether it ends its stream")
    ] = None
    expectedversion: Annotated[
        Json, WithJsonSchema({"type": ["string", "integer"]}), Field(description="The version that the stream has now")
    ] = None
    extensions: Annotated[dict[str, Json], Field(description="Further attributes")] | None = None

    @field_validator("extensions")
    @classmethod
    def _check_extensions(cls, extensions: dict[str, Json] | None) -> dict[str, Json] | None:
        if known := set(extensions or {}) & set(cls.model_fields):
            raise rule(f"{min(known)!r} is a parameter itself", "move it out of extensions")
        return extensions

    def event(self) -> dict[str, Any]:
        """Its attributes as they were given."""
        given = self.model_dump(exclude_unset=True, exclude=ABOUT_THE_CALL)
        attributes = {name: said for name, said in given.items() if said is not None or name == "data"}
        return attributes | (self.extensions or {})


class EventPublish(Described, Publishing):
    """Publishes any event, by its CloudEvents attributes."""

    @model_validator(mode="after")
    def _check_identity(self) -> Self:
        if self.id is not None and self.idempotency_key is not None:
            raise rule("both id and idempotency_key are there", "send one of them: each says which event it is")
        return self


class EventDryRun(Described):
    """Who would receive an event and why, and what rules would say of it. Publishes nothing."""


class Discover(Params):
    """This document (OpenRPC)."""


PUBLISHING: dict[str, type[Publishing]] = {
    "event.publish": EventPublish,
    "notify.user": NotifyUser,
    "notify.users": NotifyUsers,
    "notify.everyone": NotifyEveryone,
    "job.progress": JobProgress,
    "job.complete": JobComplete,
    "job.fail": JobFail,
    "data.changed": DataChanged,
    "system.announce": SystemAnnounce,
    "metrics.update": MetricsUpdate,
    "user.activity": UserActivity,
}
DRY_RUN = "event.dryRun"
DISCOVER = "rpc.discover"
METHODS: dict[str, type[Params]] = {**PUBLISHING, DRY_RUN: EventDryRun, DISCOVER: Discover}
