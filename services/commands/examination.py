"""What `carillon doctor` looks at. Each check says what it found and, where that is wrong, what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from services.commands.check import Check, checked
from services.commands.keys import each_key
from services.commands.liveness import checks_of_movement, checks_of_services, checks_of_tracing
from services.ingest.catalogue.loading import load as load_catalogue
from services.ingest.rules.loading import load as load_rules
from services.ingest.webhooks.sources import SourcesFile
from shared.model.errors import CarillonError, InvalidInput
from shared.model.settings import MIN_SECRET_BYTES, Settings
from shared.ports.event_log import EventLog
from shared.telemetry import logs
from shared.wiring import open_backends
from shared.wiring.log_only import open_log
from shared.wiring.producers_only import open_producers

# More than NTP leaves between machines of one place.
MAX_SKEW_S = 2.0


async def examine(overrides: dict[str, object], services: Sequence[str] = ()) -> AsyncIterator[Check]:
    """Every check in turn; later ones are left out where they make no sense without an earlier one.

    Args:
        services: addresses of running ones, that are asked how they are.
    """
    try:
        settings = Settings.load(**overrides)
    except InvalidInput as refused:
        yield Check("settings", False, f"{refused.field}: {refused.problem}", refused.fix)
        return
    logs.set_up(settings)  # which silences the drivers' own words: a finding is one line
    yield Check("settings", True, f"backends {settings.backends}, namespace {settings.namespace}")
    for check in (*_checks_of_secrets(settings), *_checks_of_files(settings)):
        yield check
    if settings.backends != "embedded":
        yield await checked("producers", partial(_producers, settings), "see that MongoDB runs, and CARILLON_MONGO_URL")
        yield await _check_of_broker(settings)
    of_log = await _checks_of_log(settings)
    for check in of_log:
        yield check
    if of_log[0].ok:
        for check in await checks_of_movement(settings):
            yield check
    for check in await checks_of_tracing(settings):
        yield check
    for check in await checks_of_services(services):
        yield check


def _checks_of_secrets(settings: Settings) -> list[Check]:
    if settings.backends == "embedded":
        return [_check_of_folder(settings.data_dir)]
    return [
        _check_of_tokens(settings),
        _check_of_secret("session_secret", settings.session_secret, "no cookie can be signed"),
    ]


def _check_of_tokens(settings: Settings) -> Check:
    """What opens a session: one way is enough."""
    if settings.jwt_secret is None and settings.jwt_jwks_url is not None:
        return Check("jwt_jwks_url", True, f"tokens are verified with the keys at {settings.jwt_jwks_url}")
    if settings.jwt_secret is None and settings.oidc_issuer is not None:
        return Check("oidc_issuer", True, f"users log in at {settings.oidc_issuer}")
    return _check_of_secret("jwt_secret", settings.jwt_secret, "no bearer token opens a session")


def _check_of_secret(name: str, secret: SecretStr | None, without: str) -> Check:
    variable = f"CARILLON_{name.upper()}"
    if secret is None:
        fix = f"set {variable} on every edge to the same value; make one with: openssl rand -hex {MIN_SECRET_BYTES}"
        return Check(name, False, f"not set: {without}", fix)
    return Check(name, True, f"set, {len(secret.get_secret_value().encode())} bytes")


async def _producers(settings: Settings) -> str:
    """Who may publish over HTTP."""
    fixed, now = len(settings.producers()), datetime.now(UTC)
    async with open_producers(settings) as store:
        handed_out = len([key async for key in each_key(store) if key.is_good(now)])
    if not fixed and not handed_out:
        raise InvalidInput("producers", "nobody has a key to publish with", "hand one out: carillon keys add NAME")
    return f"{fixed} keys in CARILLON_PRODUCER_KEYS, {handed_out} handed out"


def _check_of_folder(folder: Path | None) -> Check:
    if folder is None:
        return Check("folder", False, "embedded backends without a folder keep nothing", "name one with --data")
    secret = folder / "secret"
    if not secret.exists():
        return Check("folder", False, f"{folder} holds no secret", f"start: carillon dev --data {folder}")
    if secret.stat().st_mode & 0o077:
        return Check("folder", False, f"{secret} can be read by others", f"run: chmod 600 {secret}")
    return Check("folder", True, str(folder))


def _checks_of_files(settings: Settings) -> Iterator[Check]:
    """What ingest reads when it starts, where it is to read anything."""
    if (where := settings.rules) is not None:
        yield _check_of_files("rules", lambda: f"{len(load_rules(where).rules)} of {where}")
    if (folder := settings.catalogue) is not None:
        yield _check_of_files("catalogue", lambda: f"{len(load_catalogue(folder).types)} types, with those of {folder}")
    if (file := settings.webhooks_file) is not None:
        yield _check_of_files("webhooks", lambda: f"{len(SourcesFile(file).load())} of {file}, and their secrets")


def _check_of_files(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except InvalidInput as refused:
        return Check(name, False, f"{refused.field}: {refused.problem}", refused.fix)


async def _check_of_broker(settings: Settings) -> Check:
    async def ping() -> str:
        async with open_backends(settings) as backends:
            await backends.broker.ping()
        return "answers"

    return await checked("broker", ping, "see that RabbitMQ runs, and CARILLON_AMQP_URL")


async def _checks_of_log(settings: Settings) -> list[Check]:
    fix = "see that MongoDB runs as a replica set, and CARILLON_MONGO_URL"
    try:
        async with open_log(settings) as event_log:
            found = await checked("log", partial(_place, event_log), fix)
            if not found.ok:
                return [found]
            return [found, await checked("clock", partial(_clock, event_log), "synchronise all machines' clocks (NTP)")]
    except InvalidInput as refused:
        return [Check("log", False, refused.problem, refused.fix)]
    except CarillonError as failed:
        return [Check("log", False, str(failed), "see that this user may write the data folder")]


async def _place(event_log: EventLog) -> str:
    head = await event_log.head()
    kept = f"positions {head.floor + 1} to {head.last}" if head.last > head.floor else "empty"
    return f"answers; log {head.log_id}, {kept}"


async def _clock(event_log: EventLog) -> str:
    """The log's last entry carries the persister's time, which cannot be after ours."""
    head = await event_log.head()
    page = await event_log.read(max(head.last - 1, 0), 1)
    if not page.entries:
        return "nothing in the log to compare with"
    ahead_s = (page.entries[-1].appended_at - datetime.now(UTC)).total_seconds()
    if ahead_s > MAX_SKEW_S:
        raise SkewedClock(f"the last event was appended {ahead_s:.1f} s in this machine's future")
    return "not behind the persister's"


class SkewedClock(CarillonError):
    """Clocks of two machines differ by more than is lawful."""
