"""Packages of npm that a test runs: pinned in a package.json, installed into build/, which nobody commits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / "build"
INSTALL_TIMEOUT_S = 400


def install(folder: Path, tell: Callable[[str], None]) -> Path:
    """Copies the folder's scripts beside its packages, brings those unless they are there, and returns where."""
    installed = BUILD / folder.name
    installed.mkdir(parents=True, exist_ok=True)
    for file in (*folder.glob("*.json"), *folder.glob("*.mjs"), *folder.glob("*.js")):
        shutil.copy(file, installed)
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    if {name: _version(installed, name) for name in wanted} != wanted:
        tell(f"installing {', '.join(wanted)} (npm, some seconds)")
        # No lock file: it would hold the addresses of whatever registry it was made with.
        options = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
        env = os.environ | {"NO_UPDATE_NOTIFIER": "1"}
        subprocess.run(["npm", "install", *options], cwd=installed, check=True, timeout=INSTALL_TIMEOUT_S, env=env)
    return installed


def _version(installed: Path, name: str) -> str | None:
    about = installed / "node_modules" / name / "package.json"
    return str(json.loads(about.read_text())["version"]) if about.exists() else None
