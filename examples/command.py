"""What both programs have in common on the command line."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
from collections.abc import Coroutine
from typing import Any

from examples.events import NotPublished

UNTOLD, STOPPED = 2, 130


def parser_of(program: str, about: str | None) -> argparse.ArgumentParser:
    """With the options that say for whom it is, what chance decides, and which way it is published."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=about)
    parser.add_argument("--to", default="user:alice", help="who may see it: tags, separated by spaces (%(default)s)")
    parser.add_argument("--id", default=secrets.token_hex(4), help="what its ids begin with; something new")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="what chance decides is made of it")
    parser.add_argument("--pace", type=float, default=1.0, help="real seconds for each simulated one (%(default)s)")
    parser.add_argument("--url", default=os.environ.get("CARILLON_URL", "http://127.0.0.1:8080"), help="by HTTP")
    parser.add_argument("--key", default=os.environ.get("CARILLON_KEY", "dev"), help="the producer's key")
    parser.add_argument("--amqp", metavar="URL", help="by AMQP instead, at this broker")
    parser.add_argument("--namespace", default="carillon", help="Carillon's names at the broker (%(default)s)")
    return parser


def status_of(program: Coroutine[Any, Any, int]) -> int:
    """Runs it to its exit status; 2 where Carillon did not take what it had to tell."""
    try:
        return asyncio.run(program)
    except OSError as nobody:
        print(nobody, file=sys.stderr)
        return UNTOLD
    except ExceptionGroup as several:
        untold, others = several.split(NotPublished)
        if others is not None:
            raise others from None
        print(untold and untold.exceptions[0], file=sys.stderr)
        return UNTOLD
    except KeyboardInterrupt:
        return STOPPED
