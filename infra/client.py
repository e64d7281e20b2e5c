"""Builds the browser client: `python -m infra.client`, as `make client` does.

Usage: python -m infra.client [--for-tests]

--for-tests brings what the client's unit tests need, instead.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from infra.node import Node, NoNode, find_node

FOLDER = Path(__file__).resolve().parents[1] / "services" / "edge" / "browser"


def tell(text: str) -> None:
    """To whoever watches the build."""
    print(text, flush=True)


def build(node: Node) -> None:
    """Makes `dist/` anew. Raises `subprocess.SubprocessError` where a step fails."""
    node.install(FOLDER, tell)
    tell("building the browser client (esbuild and tsc, seconds)")
    node.run("build.mjs", cwd=FOLDER)


def main(arguments: list[str]) -> int:
    """The exit status."""
    if arguments not in ([], ["--for-tests"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        node = find_node(tell)
        if arguments:
            node.install(FOLDER / "test", tell)
        else:
            build(node)
    except (NoNode, OSError, subprocess.SubprocessError) as failed:
        print(f"the browser client is not built: {failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
