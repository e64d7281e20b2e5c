"""What docs/operating/webhooks.md tells to type works as it says, in a shell."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import pytest

from shared.model.entry import Entry
from tests.docs.pages import ROOT, section, text_of
from tests.eventually import WITHIN_S, answered
from tests.harness.platform import DevPlatform

PAGE = text_of("docs/operating/webhooks.md")


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


async def typed(script: str, folder: Path, **env: str) -> str:
    """The standard output of a shell in which that was typed."""
    path = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
    shell = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", script, cwd=folder, env=os.environ | env | {"PATH": path},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(WITHIN_S):
        out, err = await shell.communicate()
    assert shell.returncode == 0, err.decode()
    return out.decode()


async def test_the_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = section(PAGE, "Connect a sender with a signature of its own")
    [script] = blocks("sh", own)
    start, sign = blocks("sh", section(PAGE, "Try it"))
    sources = [blocks("yaml", PAGE)[0], blocks("yaml", own)[-1]]
    (tmp_path / "webhooks.yaml").write_text("sources:\n" + "".join(block.split("\n", 1)[1] for block in sources))
    (tmp_path / "backups.key").write_text("a key of its own\n")
    assert "CARILLON_WEBHOOKS_FILE=webhooks.yaml carillon dev --memory" in start
    secret = await typed(f"{start.splitlines()[0]}; echo $GITHUB_WEBHOOK_SECRET", tmp_path)
    monkeypatch.setenv("GITHUB_WEBHOOK_SECRET", secret.strip())

    async with await DevPlatform(tmp_path, webhooks_file=str(tmp_path / "webhooks.yaml")).start() as platform:
        url = platform.ingest_url
        signed = await typed(sign.replace("http://127.0.0.1:8080", url), tmp_path)
        backed_up = await typed(script, tmp_path, INGEST=url)
        assert json.loads(signed)["accepted"] == [{"source": "/webhooks/github", "id": "1", "duplicate": False}]
        [receipt] = json.loads(backed_up)["accepted"]

        async def look() -> list[Entry]:
            _, entries = await platform.entries()
            by_identity = {entry.identity: entry for entry in entries}
            return [by_identity["/webhooks/github", "1"], by_identity["/webhooks/backups", receipt["id"]]]

        opened, finished = await answered(look, KeyError)

    assert opened.type == "github.issues.opened"
    assert (finished.type, finished.subject, finished.audience) == (
        "backups.finished",
        "job/nightly",
        ("topic:backups",),
    )
