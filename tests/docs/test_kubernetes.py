"""infra/k8s: no cluster runs here, so the structure is checked, and that it is about services that there are."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from services.cli import commands
from shared.model.settings import Settings
from tests.docs.pages import text_of
from tests.docs.test_compose import SERVICES, secret_settings

FILES = ("carillon", "autoscaling", "scale-to-zero")
TEXTS = {name: text_of(f"infra/k8s/{name}.yaml") for name in FILES}
ITEMS: list[dict[str, Any]] = [item for text in TEXTS.values() for item in yaml.safe_load(text)["items"]]
OURS = ("ingest", "edge", "persister", "console")
KNOWN = {f"CARILLON_{field.upper()}" for field in Settings.model_fields}


def of_kind(kind: str) -> dict[str, Any]:
    return {item["metadata"]["name"]: item for item in ITEMS if item["kind"] == kind}


DEPLOYMENTS = of_kind("Deployment")


def container_of(role: str) -> dict[str, Any]:
    (container,) = DEPLOYMENTS[f"carillon-{role}"]["spec"]["template"]["spec"]["containers"]
    return dict(container)


def test_the_services_are_the_platform() -> None:
    assert set(DEPLOYMENTS) == {f"carillon-{role}" for role in OURS}
    assert set(of_kind("Service")) == {f"carillon-{role}" for role in OURS if role != "persister"}


@pytest.mark.parametrize("role", OURS)
def test_a_service_runs_as_its_image_and_its_code_have_it(role: str) -> None:
    container, composed = container_of(role), SERVICES[role]
    assert (container["command"], container["image"]) == (composed["command"], composed["image"])
    assert container["command"][1] in commands.commands
    (port,) = container["ports"]
    assert [{"name": "CARILLON_PORT", "value": str(port["containerPort"])}] == container["env"]
    assert composed["environment"]["CARILLON_PORT"] == str(port["containerPort"])
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness")]
    assert probes == [{"path": "/healthz", "port": "http"}, {"path": "/readyz", "port": "http"}]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("role", OURS)
def test_a_pod_has_no_settings_that_nobody_set_and_time_to_drain(role: str) -> None:
    pod = DEPLOYMENTS[f"carillon-{role}"]["spec"]["template"]["spec"]
    assert pod["enableServiceLinks"] is False
    waits = int(container_of(role)["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > waits + Settings.model_fields["drain_s"].default + 3


@pytest.mark.parametrize("role", OURS)
def test_labels_and_ports_lead_to_the_pods(role: str) -> None:
    spec = DEPLOYMENTS[f"carillon-{role}"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels == {"app": f"carillon-{role}"}
    if service := of_kind("Service").get(f"carillon-{role}"):
        assert service["spec"]["selector"] == labels
        assert service["spec"]["ports"][0]["port"] == container_of(role)["ports"][0]["containerPort"]
    if budget := of_kind("PodDisruptionBudget").get(f"carillon-{role}"):
        assert budget["spec"]["selector"]["matchLabels"] == labels


def test_secrets_are_made_by_hand_and_hold_what_each_service_needs() -> None:
    """The same settings as in docker-compose.yml, none of them with a value in a file."""
    made: dict[str, set[str]] = {}
    commands_of_head = TEXTS["carillon"].replace("\\\n#", "")
    for name, literals in re.findall(r"create secret generic (\S+) (.+)", commands_of_head):
        made[name] = set(re.findall(r"--from-literal=(\w+)=", literals))
    assert set().union(*made.values()) <= KNOWN
    for role in OURS:
        sources = [next(iter(source.values()))["name"] for source in container_of(role)["envFrom"]]
        given = set().union(*(made.get(source, set()) for source in sources))
        assert given == set(SERVICES[role]["environment"]) & secret_settings()
    for config in of_kind("ConfigMap").values():
        assert set(config["data"]) <= KNOWN - secret_settings()


def test_what_scales_is_there_and_the_persister_only_sleeps() -> None:
    scaled = {
        name: item["spec"]
        for kind in ("HorizontalPodAutoscaler", "ScaledObject")
        for name, item in of_kind(kind).items()
    }
    assert {spec["scaleTargetRef"]["name"] for spec in scaled.values()} == {
        "carillon-ingest", "carillon-edge", "carillon-persister",
    }  # fmt: skip
    sleeper = scaled["carillon-persister"]
    assert (sleeper["minReplicaCount"], sleeper["maxReplicaCount"]) == (0, 1)
    queue, counter = (trigger["metadata"] for trigger in sleeper["triggers"])
    assert queue["queueName"] == f"{Settings.model_fields['namespace'].default}.log"
    (metric,) = re.findall(r"carillon_\w+", counter["query"])
    assert f"`{metric.removesuffix('_total')}`" in text_of("docs/reference/metrics.md")
    (authentication,) = of_kind("TriggerAuthentication").values()
    assert authentication["spec"]["secretTargetRef"][0]["key"] in KNOWN


@pytest.mark.parametrize("name", FILES)
def test_a_setting_that_is_named_exists(name: str) -> None:
    assert set(re.findall(r"\bCARILLON_[A-Z_]*[A-Z]\b", TEXTS[name])) <= KNOWN
