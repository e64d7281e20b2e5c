"""How `carillon` speaks when it fails: one line on standard error, and an exit status that says whose fault it is."""

from __future__ import annotations

import os
import re
import sys
from typing import Any, NoReturn

import click

from shared.model.errors import CarillonError, InvalidInput

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
# Control characters, ends of lines, and what turns the direction of what follows.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Failed(CarillonError):
    """The command did not do what was asked; the message says why and what to do."""


class Commands(click.Group):
    """A group whose errors are one line each. Statuses: 0 done, 1 failed, 2 wrong usage or bad input."""

    def main(self, *args: Any, **options: Any) -> Any:
        options["standalone_mode"] = False
        try:
            status = super().main(*args, **options)
        except click.exceptions.NoArgsIsHelpError as asked:
            click.echo(asked.format_message(), err=True)
            status = EXIT_BAD_INPUT
        except click.UsageError as wrong:
            _say(f"{wrong.format_message()} See: {_path(wrong)} --help")
            status = EXIT_BAD_INPUT
        except click.ClickException as wrong:
            _say(wrong.format_message())
            status = wrong.exit_code
        except InvalidInput as wrong:
            _say(str(wrong))
            status = EXIT_BAD_INPUT
        except CarillonError as failed:
            _say(str(failed))
            status = EXIT_FAILED
        except (click.Abort, KeyboardInterrupt):
            status = EXIT_INTERRUPTED
        except BrokenPipeError:
            _forget_output()
            status = EXIT_FAILED
        sys.exit(status if isinstance(status, int) else 0)


def _path(wrong: click.UsageError) -> str:
    return wrong.ctx.command_path if wrong.ctx else "carillon"


def printable(text: str) -> str:
    """What others wrote, for a terminal to show and not to obey; JSON stays the same JSON."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _say(message: str) -> None:
    # What a server or a file said may hold line ends; a line stays a line.
    click.echo(f"carillon: {printable(' '.join(message.split()))}", err=True)


def _forget_output() -> None:
    """Whoever read our output is gone (`| head`): keeps the interpreter from failing at its last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(message: str) -> NoReturn:
    """Ends the command with status 1."""
    raise Failed(message)
