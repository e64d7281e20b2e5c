"""Which adapters a process runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.model.errors import BrokerUnavailable, InvalidInput, LogUnavailable
from shared.model.settings import Settings
from shared.wiring import open_backends
from shared.wiring.producers_only import open_producers
from tests.contract.entries import event


async def test_production_backends_open_without_their_servers() -> None:
    """So that a service starts, says that it is alive, and that it is not ready."""
    settings = Settings.load(
        amqp_url="amqp://guest:guest@127.0.0.1:9/",
        mongo_url="mongodb://127.0.0.1:9/?replicaSet=rs0",
        backend_timeout_s=0.2,
    )
    async with open_backends(settings) as backends:
        with pytest.raises(BrokerUnavailable):
            await backends.broker.ping()
        with pytest.raises(LogUnavailable):
            await backends.event_log.head()


async def test_embedded_backends_keep_their_folder(tmp_path: Path) -> None:
    settings = Settings.load(backends="embedded", data_dir=tmp_path)
    async with open_backends(settings) as backends:
        await backends.broker.publish(event("1"))
        log_id = (await backends.event_log.head()).log_id
    async with open_backends(settings) as backends:
        assert (await backends.event_log.head()).log_id == log_id
        async with backends.broker.intake(1) as intake:
            assert (await intake.batch(1, 0))[0].body == event("1").to_json()


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = Settings.load(backends="embedded", data_dir=tmp_path / "file" / "data")
    with pytest.raises(InvalidInput, match="cannot be used"):
        async with open_producers(settings, make=True):
            pass
