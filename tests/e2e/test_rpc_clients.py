"""JSON-RPC by a client that others wrote, and the OpenRPC document by the schema that they publish for it."""

from __future__ import annotations

from pathlib import Path

import jsonschema_rs
import pytest

from services.ingest.rpc import openrpc
from services.ingest.rpc.methods import METHODS
from tests.e2e import npm
from tests.e2e.rpc_clients import lines_of
from tests.eventually import eventually
from tests.harness.platform import DevPlatform

# With the servers come Node.js and npm.
pytestmark = pytest.mark.servers

FOLDER = Path(__file__).parent / "rpc_clients"


@pytest.fixture(scope="module")
def installed() -> Path:
    return npm.install(FOLDER, tell=print)


async def test_a_library_of_others_calls_notifies_and_batches(installed: Path, tmp_path: Path) -> None:
    async with await DevPlatform(tmp_path).start() as dev, dev.readers() as readers:
        alice = await readers.open("alice")
        called, refused, batch, methods = await lines_of(installed, "call.mjs", dev.ingest_url, dev.producer_key)
        await eventually(lambda: len(alice.reading.deliveries) == 4)
        titles = [each.data["data"]["title"] for each in alice.reading.deliveries]
    assert called["duplicate"] is False
    assert refused["isException"] is True
    assert (refused["code"], refused["data"]["field"]) == (-32602, "title")
    assert [each["id"] for each in batch] == ["batch-0", "batch-1"]
    assert methods == len(METHODS)
    assert sorted(titles) == sorted(["Called", "Notified", "one", "two"])


async def test_the_document_is_valid_openrpc(installed: Path) -> None:
    [schema] = await lines_of(installed, "schema.mjs")
    # The schema of JSON Schema itself is at an address; that our schemas are some is shown by using them.
    schema["$schema"] = "http://json-schema.org/draft-07/schema#"
    anything = {
        "$id": "https://meta.json-schema.tools",
        "definitions": {"JSONSchemaObject": {"properties": {"$ref": {}}}},
    }
    registry = jsonschema_rs.Registry([(f"https://meta.json-schema.tools{end}", anything) for end in ("", "/")])
    validator = jsonschema_rs.validator_for(schema, registry=registry)
    assert [error.message for error in validator.iter_errors(openrpc.document())] == []
    assert not validator.is_valid(openrpc.document() | {"methods": [{"name": "x"}]}), "it can refuse"
