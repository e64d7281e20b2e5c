"""docker-compose.yml, the image and what is mounted into it. No Docker runs here: the structure is checked."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from services.cli import commands
from shared.model.settings import Settings
from tests.docs.pages import ROOT, text_of

COMPOSE: dict[str, Any] = yaml.safe_load(text_of("docker-compose.yml"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BACKENDS = {"rabbitmq": r"rabbitmq:4\.\d+-management", "mongodb": r"mongo:8\.\d+"}
OURS = ("ingest", "persister", "edge", "console")
DOCKERFILE = text_of("infra/docker/Dockerfile")
FINAL_STAGE = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]

_REQUIRED = re.compile(r"\$\{(\w+):\?[^}]+\}")
_OPTIONAL = re.compile(r"\$\{\w+:-([^}]*)\}")


def interpolated(value: str) -> str:
    """As compose would, with every required variable set to something long."""
    return _OPTIONAL.sub(r"\1", _REQUIRED.sub(lambda found: f"{found[1].lower()}={'x' * 32}", value))


def secret_settings() -> set[str]:
    fields = Settings.model_fields.items()
    return {f"CARILLON_{name.upper()}" for name, field in fields if "SecretStr" in str(field.annotation)}


def test_the_services_are_the_platform() -> None:
    assert set(SERVICES) == set(BACKENDS) | set(OURS)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_is_pinned_by_its_minor_and_keeps_its_data(name: str) -> None:
    assert re.fullmatch(BACKENDS[name], SERVICES[name]["image"])
    kept = [mount.split(":")[0] for mount in SERVICES[name]["volumes"] if not mount.startswith(".")]
    assert kept
    assert set(kept) <= set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_and_comes_back(name: str) -> None:
    health = SERVICES[name]["healthcheck"]
    assert health["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= set(health)
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert set(SERVICES[name]["networks"]) <= set(COMPOSE["networks"])


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_runs_a_command_that_exists(name: str) -> None:
    service = SERVICES[name]
    program, command = service["command"]
    assert program == "carillon"
    assert command == name
    assert command in commands.commands
    assert (ROOT / service["build"]["dockerfile"]).exists()
    assert service["read_only"] is True
    assert {backend: {"condition": "service_healthy"} for backend in BACKENDS} == service["depends_on"]


@pytest.mark.parametrize("name", OURS)
def test_the_environment_is_what_settings_know_and_accept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = SERVICES[name]["environment"]
    assert set(environment) <= {f"CARILLON_{field.upper()}" for field in Settings.model_fields}
    for variable, value in environment.items():
        monkeypatch.setenv(variable, interpolated(value))
    settings = Settings.load()
    assert settings.producers() or name != "ingest"
    assert (settings.jwt_secret and settings.session_secret) or name != "edge"
    # Who cannot sign in has no console, and without metrics it draws nothing of ingest and edges.
    asked = {urlsplit(url).netloc for url in settings.console_metrics_urls}
    assert (settings.operators() and settings.session_secret and asked == {"ingest:8081", "edge:8082"}) or (
        name != "console"
    )


@pytest.mark.parametrize("name", OURS)
def test_the_health_check_asks_the_port_that_is_listened_on(name: str) -> None:
    service = SERVICES[name]
    port = service["environment"]["CARILLON_PORT"]
    assert f"http://127.0.0.1:{port}/readyz" in service["healthcheck"]["test"][-1]
    assert service.get("ports", [f"127.0.0.1:{port}:{port}"]) == [f"127.0.0.1:{port}:{port}"]
    exposed = re.search(r"^EXPOSE (.+)$", DOCKERFILE, re.MULTILINE)
    assert exposed is not None
    assert port in exposed[1].split()


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_has_a_default(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        if key in secret_settings() | {"RABBITMQ_DEFAULT_PASS"} and key != "CARILLON_MONGO_URL":
            assert _REQUIRED.search(value), key
            assert not _OPTIONAL.search(value), key


def test_mongodb_is_made_a_replica_set_by_its_own_health_check() -> None:
    mongodb = SERVICES["mongodb"]
    name = re.search(r"replicaSet=(\w+)", SERVICES["ingest"]["environment"]["CARILLON_MONGO_URL"])
    assert name is not None
    assert mongodb["command"][mongodb["command"].index("--replSet") + 1] == name[1]
    check = mongodb["healthcheck"]["test"][-1]
    assert f'rs.initiate({{_id: "{name[1]}"' in check
    assert 'host: "mongodb:27017"' in check
    assert "isWritablePrimary" in check
    # It has no access control, so no port of it may leave the inner network.
    assert mongodb["networks"] == ["backends"]
    assert COMPOSE["networks"]["backends"]["internal"] is True
    assert "ports" not in mongodb


def test_files_that_are_mounted_exist() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            if mount.startswith("."):
                assert (ROOT / mount.split(":")[0]).exists()


def test_the_image_runs_as_nobody_in_particular_and_holds_no_build_tools() -> None:
    (user,) = re.findall(r"^USER (\S+)", FINAL_STAGE, re.MULTILINE)
    assert user.split(":")[0] not in ("root", "0")
    assert re.findall(r"^FROM \S+(?: AS (\w+))?$", DOCKERFILE, re.MULTILINE) == ["client", "build", ""]
    assert "HEALTHCHECK" not in DOCKERFILE
    for tool in ("apt-get", "gcc", "pip install", "npm"):
        assert tool not in FINAL_STAGE


def test_the_image_is_of_a_python_that_the_project_supports() -> None:
    versions = {tuple(map(int, found)) for found in re.findall(r"^FROM python:(\d+)\.(\d+)-slim", DOCKERFILE, re.M)}
    assert len(versions) == 1
    assert min(versions) >= (3, 11)


def test_what_the_image_copies_is_let_through() -> None:
    let_through = {line[1:] for line in text_of(".dockerignore").splitlines() if line.startswith("!")}
    build_stages = DOCKERFILE.removesuffix(FINAL_STAGE)
    copied = [name for line in re.findall(r"^COPY ([^-].+)", build_stages, re.M) for name in line.split()[:-1]]
    assert {name.split("/")[0] for name in copied} == let_through
    assert all((ROOT / name).exists() for name in copied)


def test_nginx_does_not_buffer_streams_and_waits_for_heartbeats() -> None:
    conf = text_of("infra/nginx/carillon.conf")
    assert "proxy_buffering off;" in conf
    timeout = re.search(r"proxy_read_timeout (\d+)s;", conf)
    assert timeout is not None
    assert float(timeout[1]) > 2 * Settings.model_fields["heartbeat_s"].default


def test_a_secret_is_known_as_one() -> None:
    """The check above is worth something only while it finds the secrets."""
    assert {"CARILLON_JWT_SECRET", "CARILLON_PRODUCER_KEYS", "CARILLON_AMQP_URL"} <= secret_settings()
