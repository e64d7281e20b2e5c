"""Every setting, read from `CARILLON_*`. docs/reference/settings.md describes each; a test checks that."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from shared.model.errors import InvalidInput

MIN_SECRET_BYTES = 32
_SEE = "see docs/reference/settings.md"


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"it needs at least {MIN_SECRET_BYTES} bytes; make one with: openssl rand -hex 32")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_long_enough)]
Role = Annotated[str, Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400 * 366)]
# A hundred years: no time that is reckoned with it is out of the calendar.
Age = Annotated[float, Field(gt=0, le=86_400 * 36_600)]


class Settings(BaseSettings):
    """Frozen once read. Names end in their unit."""

    model_config = SettingsConfigDict(env_prefix="CARILLON_", frozen=True, extra="ignore")

    # Backends
    backends: Literal["rabbitmq-mongodb", "embedded"] = "rabbitmq-mongodb"
    amqp_url: SecretStr = SecretStr("amqp://guest:guest@127.0.0.1:5672/")
    mongo_url: SecretStr = SecretStr("mongodb://127.0.0.1:27017/?replicaSet=rs0")
    mongo_database: str = Field("carillon", pattern=r"^[A-Za-z0-9_-]{1,40}$")
    namespace: str = Field("carillon", pattern=r"^[A-Za-z0-9_.-]{1,60}$")
    data_dir: Path | None = None
    backend_timeout_s: Seconds = 2.0

    # HTTP
    host: str = "127.0.0.1"
    port: int | None = Field(None, ge=0, le=65_535)
    max_event_bytes: int = Field(256 * 1024, ge=1024, le=8 * 1024 * 1024)

    # What events mean: a file, a folder or a shipped set of rules, and a folder of schemas
    rules: str | None = Field(None, min_length=1)
    catalogue: Path | None = None

    # Webhooks, off without a file
    webhooks_file: Path | None = None

    # Producers and sessions
    producer_events_per_s: float | None = Field(None, gt=0, le=1e6)
    function_base_path: str = Field("/", pattern=r"^/[A-Za-z0-9_.$/-]{0,100}$")
    batch_accept: Literal["each", "all-or-nothing"] = "each"
    producer_keys: SecretStr = SecretStr("")
    jwt_secret: Secret | None = None
    jwt_jwks_url: str | None = None
    jwt_algorithms: tuple[Literal["HS256", "RS256", "ES256", "EdDSA"], ...] = ("HS256",)
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    session_secret: Secret | None = None
    session_secret_previous: Secret | None = None
    session_ttl_s: Seconds = 8 * 3600
    session_max_s: Seconds = 7 * 86_400
    session_expiring_s: Seconds = 60.0
    cookie_secure: bool = True
    ticket_ttl_s: Seconds = 30.0

    # OpenID Connect login, off without an issuer
    oidc_issuer: str | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: SecretStr | None = None
    oidc_scopes: str = "openid profile email"
    oidc_tags_claim: str = "carillon_tags"
    public_url: str | None = None

    # Other sites whose pages may use the edge, such as https://app.example.com
    cors_origins: tuple[str, ...] = ()

    # Persister
    batch_max_events: int = Field(500, ge=1, le=5000)
    batch_max_wait_ms: float = Field(10, ge=0, le=1000)
    confirms_in_flight: int = Field(100, ge=1, le=1000)
    lease_s: Seconds = 10.0
    lag_max_s: Seconds = 30.0

    # Retention; without any, everything is kept
    retention_max_age_s: Age | None = None
    retention_type_ages_s: dict[str, Age] = {}
    retention_archive_dir: Path | None = None

    # Edge
    routing: Literal["user-queues", "edge-queue"] = "user-queues"
    heartbeat_s: float = Field(15.0, ge=0.1, le=300)
    retry_ms: int = Field(2000, ge=0, le=60_000)
    drain_s: float = Field(5.0, ge=0, le=600)
    backlog_page_events: int = Field(200, ge=1, le=5000)
    buffer_max_frames: int = Field(1000, ge=1, le=100_000)
    buffer_max_bytes: int = Field(1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    connections_per_user: int = Field(10, ge=1, le=10_000)
    connections_over_limit: Literal["close-oldest", "refuse-newest"] = "close-oldest"
    connections_max: int = Field(20_000, ge=1, le=1_000_000)
    connects_per_address_per_s: float = Field(500.0, gt=0, le=1e6)
    connects_per_user_per_s: float = Field(5.0, gt=0, le=1e6)
    operator_keys: SecretStr = SecretStr("")
    viewer_keys: SecretStr = SecretStr("")
    console_metrics_urls: tuple[str, ...] = ()
    console_session_s: Seconds = 36_000.0
    console_roles_claim: str = Field("roles", min_length=1)
    console_operator_roles: tuple[Role, ...] = ()
    console_viewer_roles: tuple[Role, ...] = ()
    presence: bool = False
    stale_s: Seconds = 60.0
    stream_wait_s: Seconds = 300.0
    compression: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None

    # Telling
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    trace_ratio: float = Field(0.1, ge=0, le=1)
    journeys_kept_s: float = Field(86_400.0, ge=0, le=86_400 * 366)
    otlp_endpoint: str | None = Field(None, pattern=r"^https?://[^\s/]+(/\S*)?$")
    otlp_protocol: Literal["grpc", "http"] = "grpc"
    otlp_headers: SecretStr = SecretStr("")

    @classmethod
    def load(cls, **overrides: object) -> Self:
        """Reads the environment. Raises `InvalidInput`, naming the variable, for a bad value."""
        try:
            return cls(**overrides)  # type: ignore[arg-type]  # values are checked by pydantic, here
        except ValidationError as refused:
            first = refused.errors(include_url=False, include_input=False)[0]
            name = f"CARILLON_{str(first['loc'][0]).upper()}"
            raise InvalidInput(name, first["msg"], _SEE, reason="invalid-setting") from None
        except SettingsError as refused:
            # Its only word of which one is in its sentence.
            name = next((name for name in cls.model_fields if f'"{name}"' in str(refused)), "setting")
            problem, fix = "it is not JSON", f'write a list as ["a","b"], and a map as {{"a":1}}; {_SEE}'
            raise InvalidInput(f"CARILLON_{name.upper()}", problem, fix, reason="invalid-setting") from None

    def producers(self) -> dict[str, str]:
        """The producers' API keys by name. Raises `InvalidInput`."""
        return _keys("CARILLON_PRODUCER_KEYS", self.producer_keys)

    def operators(self) -> dict[str, str]:
        """The operators' API keys by name. Raises `InvalidInput`."""
        return _keys("CARILLON_OPERATOR_KEYS", self.operator_keys)

    def viewers(self) -> dict[str, str]:
        """The API keys of who may look at the console and not act, by name. Raises `InvalidInput`."""
        return _keys("CARILLON_VIEWER_KEYS", self.viewer_keys)

    def otlp_headers_by_name(self) -> dict[str, str]:
        """What every request by OTLP carries. Raises `InvalidInput`."""
        return _keys("CARILLON_OTLP_HEADERS", self.otlp_headers)


def _keys(setting: str, text: SecretStr) -> dict[str, str]:
    """`name=key,name=key` -> keys by name."""
    pairs = [pair.strip() for pair in text.get_secret_value().split(",") if pair.strip()]
    keys = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    if len(keys) != len(pairs) or not all(keys.values()):
        raise InvalidInput(setting, "it is not a list of name=key", "write name=key,name2=key2")
    return keys
