"""Settings: read from the environment, refused by the variable's name, and secrets unseen."""

from __future__ import annotations

import pytest

from shared.model.errors import InvalidInput
from shared.model.settings import Settings


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARILLON_ROUTING", "edge-queue")
    monkeypatch.setenv("CARILLON_JWT_SECRET", "s" * 32)
    settings = Settings.load(port=0)
    assert (settings.routing, settings.port) == ("edge-queue", 0)
    assert "sss" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CARILLON_PORT", "-1"),
        ("CARILLON_PORT", "http"),
        ("CARILLON_ROUTING", "both"),
        ("CARILLON_JWT_SECRET", "too-short"),
        ("CARILLON_BACKEND_TIMEOUT_S", "0"),
        ("CARILLON_MONGO_DATABASE", "a/b"),
        ("CARILLON_CORS_ORIGINS", "https://app.example.com"),
        ("CARILLON_RETENTION_TYPE_AGES_S", "metrics.*=60"),
        ("CARILLON_RETENTION_TYPE_AGES_S", '{"metrics.*": "inf"}'),
        ("CARILLON_RETENTION_MAX_AGE_S", "inf"),
        ("CARILLON_RETENTION_MAX_AGE_S", "1e11"),
    ],
)
def test_a_bad_value_names_its_variable_and_no_secret(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput) as refused:
        Settings.load()
    assert refused.value.field == name
    assert "too-short" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "producers"), [("", {}), ("a=1", {"a": "1"}), (" a=1 , b=2=3 ,", {"a": "1", "b": "2=3"})]
)
def test_producers(text: str, producers: dict[str, str]) -> None:
    assert Settings.load(producer_keys=text).producers() == producers


@pytest.mark.parametrize("text", ["key", "a=", "a=1,b", "a=1,a=2"])
def test_bad_producers_are_refused_without_showing_a_key(text: str) -> None:
    with pytest.raises(InvalidInput, match="CARILLON_PRODUCER_KEYS"):
        Settings.load(producer_keys=text).producers()
