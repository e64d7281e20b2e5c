"""`/client/…`: the built browser client as files, and what is said where it was not built."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client

from services.edge import client
from shared.web.problem import register_problems

MODULE = b"export const answer = 42;\n" * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dist").mkdir()
    return tmp_path / "dist"


@pytest.fixture
def ask(folder: Path) -> Client:
    app = Quart("files")
    app.register_blueprint(client.blueprint(folder))
    register_problems(app)
    return app.test_client()


async def test_without_a_build_the_answer_says_how_to_make_one(ask: Client) -> None:
    answer = await ask.get("/client/carillon.js")
    problem = await answer.get_json()
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert "make client" in problem["fix"]


async def test_a_module_is_served_to_pages_of_any_site(ask: Client, folder: Path) -> None:
    (folder / "carillon.js").write_bytes(MODULE)
    answer = await ask.get("/client/carillon.js", headers={"Origin": "https://shop.example"})
    assert (answer.status_code, await answer.get_data()) == (200, MODULE)
    assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cache-Control"] == "no-cache"


async def test_it_is_gzipped_for_who_takes_that(ask: Client, folder: Path) -> None:
    (folder / "carillon.js").write_bytes(MODULE)
    answer = await ask.get("/client/carillon.js", headers={"Accept-Encoding": "gzip, br"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(await answer.get_data(as_text=False)) == MODULE
    assert answer.headers["Vary"] == "Accept-Encoding"


async def test_what_a_browser_has_already_is_not_sent_again_and_a_new_build_is(ask: Client, folder: Path) -> None:
    file = folder / "carillon.js"
    file.write_bytes(MODULE)
    etag = (await ask.get("/client/carillon.js")).headers["ETag"]
    assert (await ask.get("/client/carillon.js", headers={"If-None-Match": etag})).status_code == 304
    file.write_bytes(b"export {};\n")
    os.utime(file, ns=(1, 1))
    answer = await ask.get("/client/carillon.js", headers={"If-None-Match": etag})
    assert (answer.status_code, await answer.get_data()) == (200, b"export {};\n")


@pytest.mark.parametrize(
    "name", ["other.js", "..%2Fsecret.js", "types", "carillon.d.ts", "CARILLON.JS", "%00.js", "a" * 300]
)
async def test_nothing_but_modules_of_the_build_is_served(ask: Client, folder: Path, name: str) -> None:
    (folder / "carillon.js").write_bytes(MODULE)
    (folder / "types").mkdir()
    (folder.parent / "secret.js").write_bytes(b"secret")
    answer = await ask.get(f"/client/{name}")
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")
