"""docs/reference/cli.md against the command, and the commands that pages tell to run."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from services.cli import commands
from tests.docs.pages import all_pages, headings, section, text_of

PAGE = "docs/reference/cli.md"


def leaves(group: click.Group, path: str = "carillon") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(leaves(commands))
FIRST_WORDS = {path.split()[1] for path in COMMANDS}


def options(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_a_section_with_its_options(path: str) -> None:
    about = section(text_of(PAGE), f"`{path}`")
    missing = [option.opts[0] for option in options(COMMANDS[path]) if f"`{option.opts[0]}`" not in about]
    assert not missing


@pytest.mark.parametrize("path", COMMANDS)
def test_defaults_are_told(path: str) -> None:
    about = section(text_of(PAGE), f"`{path}`")
    for option in options(COMMANDS[path]):
        if isinstance(option.default, str | int | float | Path) and not option.is_flag:
            assert str(option.default) in about, option.opts[0]


def test_the_page_describes_no_command_that_does_not_exist() -> None:
    described = {heading.strip("`") for heading in headings(text_of(PAGE)) if heading.startswith("`carillon")}
    assert described == set(COMMANDS)


@pytest.mark.parametrize("page", all_pages())
def test_commands_to_run_exist(page: str) -> None:
    """Only what starts a line of a shell block, or stands alone in backticks, is meant to be run."""
    text = text_of(page)
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    called = re.findall(r"^(?:\.venv/bin/)?carillon ([a-z]+)", shell, re.MULTILINE)
    assert set(called) <= FIRST_WORDS
    for module in re.findall(r"python -m ([a-z_.]+[a-z])", text):
        assert importlib.util.find_spec(module) is not None, module


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", text_of("Makefile"), re.MULTILINE))


@pytest.mark.parametrize("page", all_pages())
def test_make_targets_exist(page: str) -> None:
    named = re.findall(r"(?:^|`)make ([a-z-]+)", text_of(page), re.MULTILINE)
    assert set(named) <= makefile_targets()


def test_the_readme_has_the_two_commands() -> None:
    assert re.search(r"^```sh\nmake run .*\nmake test ", text_of("README.md"), re.MULTILINE)
