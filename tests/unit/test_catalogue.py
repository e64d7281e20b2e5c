"""The catalogue: schemas of a folder, events held to them, and documents that say so."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest import reloading
from services.ingest.catalogue.catalogue import Catalogue
from services.ingest.catalogue.event_type import EventType
from services.ingest.catalogue.loading import DIALECT, SHIPPED, InvalidSchema, load
from services.ingest.catalogue.page import members, page
from services.ingest.catalogue.reloading import open_catalogue
from shared.model.errors import Degraded, InvalidEvent
from shared.model.notification import LEVELS, is_link
from tests.eventually import eventually
from tests.harness.rules import event

OURS = load(None)
# docs and the contract between the parts: who makes them is elsewhere, what they say is here.
NAMES = {
    "notification.sent", "job.progressed", "job.completed", "job.failed", "data.changed", "system.announced",
    "metrics.updated", "user.active", "carillon.inbox.marked", "carillon.subscription.changed",
    "carillon.session.revoked", "carillon.connection.opened", "carillon.connection.closed",
    "carillon.connection.disconnected",
}  # fmt: skip


def folder(path: Path, **schemas: Any) -> Path:
    """A folder with these schemas; `__` stands for a dot, and `___` for a slash."""
    for name, schema in schemas.items():
        file = path / (name.replace("___", "/").replace("__", ".") + ".json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(schema if isinstance(schema, str) else json.dumps(schema))
    return path


def checked(catalogue: Catalogue, type_: str, data: Any, **attributes: Any) -> str | None:
    """What an event is refused for."""
    try:
        catalogue.check(event(type_, data, **attributes))
    except InvalidEvent as refused:
        return f"{refused.field}: {refused.problem}"
    return None


# Our own types


def test_our_types_are_there_and_enforced() -> None:
    assert set(OURS.types) == NAMES
    assert {each.validation for each in OURS.types.values()} == {"enforce"}
    assert all(each.description and each.schema["examples"] for each in OURS.types.values())


@pytest.mark.parametrize("each", OURS.types.values(), ids=lambda each: each.name)
def test_the_examples_of_our_types_are_lawful(each: EventType) -> None:
    for example in each.schema["examples"]:
        assert checked(OURS, each.name, example) is None
        for name in each.schema["required"]:
            broken = {key: value for key, value in example.items() if key != name}
            assert name in (checked(OURS, each.name, broken) or "")


@pytest.mark.parametrize(
    ("type_", "data", "refused"),
    [
        ("notification.sent", None, "data: it is missing, or not JSON"),
        ("notification.sent", "text", 'data: it is not of type "object"'),
        ("notification.sent", {"title": ""}, "data/title"),
        ("notification.sent", {"title": "t", "level": "secret"}, "data/level"),
        ("notification.sent", {"title": "t", "link": "javascript:alert(1)"}, "data/link"),
        ("notification.sent", {"title": "t", "about": {"source": "/s"}}, "data/about"),
        ("notification.sent", {"title": "t", "more": {"is": ["kept"]}}, None),
        ("job.progressed", {"status": "running", "progress": 101}, "data/progress"),
        ("job.progressed", {"status": "completed"}, "data/status"),
        ("job.progressed", {"status": "running", "steps": {"a": {"status": "lost"}}}, "data/steps/a/status"),
        ("job.progressed", {"status": "running", "steps": {"a": None}, "message": None}, None),
        ("job.failed", {"status": "failed", "error": {"code": 7}}, None),
        ("data.changed", {"resource": "orders", "id": 7}, None),
        ("metrics.updated", {"name": "m", "values": [1]}, "data/values"),
        ("unknown.type", {"anything": "goes"}, None),
    ],
)
def test_events_of_our_types_are_held_to_them(type_: str, data: Any, refused: str | None) -> None:
    said = checked(OURS, type_, data)
    assert said is None if refused is None else (said or "").startswith(refused)
    assert "secret" not in (said or "")


def test_bytes_are_no_json_data() -> None:
    bytes_event = event("notification.sent").model_copy(update={"data_base64": "aGk="})
    with pytest.raises(InvalidEvent, match="missing, or not JSON"):
        OURS.check(bytes_event)


LINKS = ["https://a.test", "http://a.test/b?c#d", "/", "/a/b?c", "//a.test", "/\\a.test", "javascript:x", "https://a b"]


@pytest.mark.parametrize("link", [*LINKS, "x", ""])
def test_the_schema_and_the_methods_take_the_same_links(link: str) -> None:
    assert (checked(OURS, "notification.sent", {"title": "t", "link": link}) is None) == is_link(link)


def test_the_schema_and_the_methods_have_the_same_levels() -> None:
    assert OURS.types["notification.sent"].schema["properties"]["level"]["enum"] == list(LEVELS)


# Folders

OBJECT: dict[str, Any] = {"type": "object", "required": ["total"]}


def test_each_type_says_how_it_is_held(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    modes = {mode: OBJECT | {"x-carillon-validation": mode} for mode in ("off", "warn", "enforce")}
    catalogue = load(
        folder(tmp_path, **{f"order__{mode}": schema for mode, schema in modes.items()}, order__silent=OBJECT)
    )
    assert checked(catalogue, "order.off", {}) is None
    assert not caplog.records
    assert checked(catalogue, "order.warn", {}) is None
    assert checked(catalogue, "order.silent", {}) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert 'data: "total" is a required property' in caplog.messages[0]
    assert checked(catalogue, "order.enforce", {}) == 'data: "total" is a required property'
    assert checked(catalogue, "order.enforce", {"total": 1}) is None


def test_warnings_do_not_fill_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    catalogue = load(folder(tmp_path, a=OBJECT))
    for _ in range(3):
        checked(catalogue, "a", {})
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith("; 0 more events since last told")


def test_a_folder_may_say_something_else_of_our_types(tmp_path: Path) -> None:
    catalogue = load(folder(tmp_path, user__active={"x-carillon-validation": "off"}))
    assert checked(catalogue, "user.active", None) is None
    assert checked(catalogue, "data.changed", None) is not None


def test_references_lead_to_files_of_the_folder(tmp_path: Path) -> None:
    address = {"$ref": "parts/country.json"}
    catalogue = load(
        folder(
            tmp_path,
            order__created={
                "x-carillon-validation": "enforce",
                "properties": {"to": {"$ref": "shop/address.json"}, "own": {"$ref": "#/$defs/own"}},
                "$defs": {"own": {"type": "integer"}},
            },
            shop___address={"properties": {"country": address}},
            shop___parts___country={"enum": ["de", "fr"]},
        )
    )
    assert set(catalogue.types) == {*NAMES, "order.created"}
    assert checked(catalogue, "order.created", {"to": {"country": "de"}, "own": 1}) is None
    assert (checked(catalogue, "order.created", {"to": {"country": "xx"}}) or "").startswith("data/to/country: ")
    assert (checked(catalogue, "order.created", {"own": "x"}) or "").startswith("data/own: ")


def test_hidden_folders_are_not_read_twice(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: links to files in a hidden folder."""
    folder(tmp_path / "..2026", order__created=OBJECT)
    (tmp_path / "order.created.json").symlink_to(tmp_path / "..2026" / "order.created.json")
    catalogue = load(tmp_path)
    assert "order.created" in catalogue.types
    assert set(catalogue.definitions) == set(OURS.definitions)


@pytest.mark.parametrize(
    ("name", "schema", "place", "problem"),
    [
        ("a", "{\n  oops", "a.json:2", "it is not JSON"),
        ("a", '{"minimum": NaN}', "a.json", "NaN is no JSON"),
        ("a", "[" * 100_000, "a.json", "it is not JSON"),
        ("a", "[]", "a.json", "it is no JSON object"),
        ("a", '"' + "x" * 300_000 + '"', "a.json", "it is over 262144 bytes"),
        ("a", {"$schema": "http://json-schema.org/draft-07/schema#"}, "a.json", "another dialect"),
        ("a", {"$schema": 7}, "a.json", "another dialect"),
        ("a", {"properties": {"x": {"type": "strange"}}}, "a.json", "at properties/x/type: "),
        ("a", {"pattern": "("}, "a.json", "at pattern: "),
        ("a", {"pattern": "(?=x)"}, "a.json", ""),
        ("a", {"$ref": "nowhere.json"}, "a.json", "'nowhere.json' leads to no file"),
        ("a", {"$ref": "http://127.0.0.1:9/x.json"}, "a.json", "leads to no file"),
        ("a", {"$ref": "file:///etc/passwd"}, "a.json", "leads to no file"),
        ("a", {"$ref": "../../etc/passwd"}, "a.json", "leads to no file"),
        ("a", {"$ref": "#/$defs/none"}, "a.json", "$defs/none"),
        ("a", {"x-carillon-validation": "maybe"}, "a.json", "x-carillon-validation is 'maybe'"),
        ("a b", {}, "a b.json", "no type"),
        ("carillon___link", {}, "carillon/link.json", "Carillon has a definition of that name"),
    ],
)
def test_a_bad_schema_is_refused_with_its_file(
    tmp_path: Path, name: str, schema: Any, place: str, problem: str
) -> None:
    with pytest.raises(InvalidSchema) as refused:
        load(folder(tmp_path, **{name: schema}))
    assert refused.value.field == str(tmp_path / place)
    assert problem in refused.value.problem
    assert refused.value.fix


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", folder(tmp_path, a=OBJECT) / "a.json"):
        with pytest.raises(InvalidSchema, match="it is no folder"):
            load(path)


def test_a_pattern_takes_linear_time_whatever_the_data(tmp_path: Path) -> None:
    catalogue = load(folder(tmp_path, a={"pattern": "^(a+)+$", "x-carillon-validation": "enforce"}))
    began = time.process_time()
    assert checked(catalogue, "a", "a" * 200_000 + "b") is not None
    assert time.process_time() - began < 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.just("steps") | st.text(max_size=8), inner),
    max_leaves=15,
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(type_=st.sampled_from(sorted(NAMES)), data=json_values)
def test_any_data_is_lawful_or_refused_with_its_place(type_: str, data: Any) -> None:
    said = checked(OURS, type_, data)
    assert said is None or said.startswith("data")


@settings(max_examples=25, deadline=None)
@given(
    schema=json_values | st.dictionaries(st.sampled_from(["type", "properties", "$ref", "enum", "items"]), json_values)
)
def test_any_file_is_a_schema_or_an_error_with_its_file(tmp_path_factory: pytest.TempPathFactory, schema: Any) -> None:
    path = folder(tmp_path_factory.mktemp("fuzz"), a=schema)
    try:
        catalogue = load(path)
    except InvalidSchema as error:
        refused = error
    else:
        page(catalogue)
        return
    assert refused.field.startswith(str(path))


def test_an_address_of_its_own_does_not_lead_references_astray(tmp_path: Path) -> None:
    schema = {"$id": "https://shop.test/order", "x-carillon-validation": "enforce", "$ref": "parts/x.json"}
    catalogue = load(folder(tmp_path, a=schema, parts___x={"type": "integer"}))
    assert checked(catalogue, "a", "text") == 'data: it is not of type "integer"'


# The page


def test_hostile_schemas_are_shown_as_text(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\"'&"
    schema = {
        "title": hostile,
        "description": hostile,
        "properties": {hostile: {"description": hostile, "enum": [hostile], "format": hostile}},
        "examples": [{hostile: hostile}],
    }
    shown = page(load(folder(tmp_path, a=schema)))
    assert "<script" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;" in shown
    assert 'href="#a"' in shown


def test_members_say_what_they_refer_to() -> None:
    rows = {row.name: row for row in members(OURS.types["job.progressed"], OURS.definitions)}
    assert (rows["status"].kind, rows["status"].required) == ('"pending" or "running"', True)
    assert (rows["progress"].kind, rows["progress"].required) == ("number or null", False)
    assert rows["steps"].kind == "object or null"
    assert rows["steps"].description.startswith("The job's steps")


def test_our_files_are_schemas_of_the_dialect_that_we_name() -> None:
    for path in SHIPPED.rglob("*.json"):
        assert json.loads(path.read_text())["$schema"] == DIALECT, path


# While ingest runs


async def test_schemas_come_change_and_go_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "LOOK_EVERY_S", 0.01)
    async with open_catalogue(folder(tmp_path, order__created=OBJECT), "carillon.events") as live:
        folder(tmp_path, order__paid=OBJECT)
        await eventually(lambda: "order.paid.json" in live.value.schemas)
        assert "order.paid" in live.value.html
        assert "order.paid" in live.value.asyncapi
        assert "order.paid" in live.value.catalogue.types
        bad = folder(tmp_path, order__bad="{") / "order.bad.json"
        await eventually(lambda: live.problem is not None)
        with pytest.raises(Degraded, match=r"order\.bad\.json"):
            await live.probe()
        assert "order.paid.json" in live.value.schemas
        bad.unlink()
        (tmp_path / "order.paid.json").unlink()
        await eventually(lambda: live.problem is None and "order.paid.json" not in live.value.schemas)


async def test_a_folder_that_goes_leaves_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "LOOK_EVERY_S", 0.01)
    async with open_catalogue(folder(tmp_path / "types", order__created=OBJECT), "carillon.events") as live:
        (tmp_path / "types").rename(tmp_path / "elsewhere")
        await eventually(lambda: live.problem is not None)
        assert "order.created.json" in live.value.schemas
