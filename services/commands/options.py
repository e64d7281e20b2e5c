"""Options that several commands have, and what they stand for."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from services.commands.group import Failed
from shared.model.errors import InvalidInput, Unavailable
from shared.model.settings import Settings
from shared.ports.event_log import EventLog
from shared.ports.read_models import ReadModels

if TYPE_CHECKING:
    from shared.wiring import Backends

Result = TypeVar("Result")

DEFAULT_DATA_DIR = Path(".carillon")
DEFAULT_DEV_PORT = 8080
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_DEV_PORT}"

url_option = click.option(
    "--url", envvar="CARILLON_URL", default=DEFAULT_URL, show_default=True, help="Where Carillon is."
)
data_option = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="The folder of carillon dev."
)
json_option = click.option("--json", "as_json", is_flag=True, help="For scripts: JSON.")


def with_log(data: Path | None, use: Callable[[EventLog], Awaitable[Result]], *, make: bool = False) -> Result:
    """Opens the log that --data or the settings name, and returns what `use` makes of it.

    Args:
        make: where there is no log yet, makes one.
    """
    from shared.wiring.log_only import open_log

    async def look(settings: Settings) -> Result:
        async with open_log(settings, make=make) as event_log:
            return await use(event_log)

    return _looked(data, look)


def with_models(data: Path | None, use: Callable[[EventLog, ReadModels], Awaitable[Result]]) -> Result:
    """The same with the read models of that log."""
    from shared.wiring.log_only import open_log, open_read_models

    async def look(settings: Settings) -> Result:
        async with open_log(settings) as event_log, open_read_models(settings) as models:
            return await use(event_log, models)

    return _looked(data, look)


def with_backends(data: Path | None, use: Callable[[Backends], Awaitable[Result]]) -> Result:
    """Opens all backends that --data or the settings name, for what needs the broker.

    Raises `InvalidInput` where another process has the folder: an embedded broker is one process's.
    """
    from shared.wiring import open_backends

    async def look(settings: Settings) -> Result:
        folder = settings.data_dir if settings.backends == "embedded" else None
        if folder is not None and not (folder / "broker.db").exists():
            raise InvalidInput("--data", f"there is no broker in {folder}", "name the folder of carillon dev")
        try:
            async with open_backends(settings) as backends:
                return await use(backends)
        except InvalidInput as taken:
            if taken.reason != "folder-in-use":
                raise
            fix = "do it in its console, at /console, or stop that process"
            raise InvalidInput(taken.field, taken.problem, fix, reason=taken.reason) from None

    return _looked(data, look)


def _looked(data: Path | None, look: Callable[[Settings], Coroutine[Any, Any, Result]]) -> Result:
    """What `look` finds behind --data or the settings. Raises `Failed` where a server does not answer."""
    from shared.telemetry import logs

    settings = Settings.load(**overrides(data))
    # The drivers' own words about a server that is away would stand before ours.
    logs.set_up(settings.model_copy(update={"log_level": "warning"}))
    try:
        return asyncio.run(look(settings))
    except Unavailable as away:
        if settings.backends == "embedded":
            raise
        raise Failed(f"{away}; see carillon doctor; for the folder of carillon dev give --data") from None


def parsed_age(option: str, text: str) -> float:
    """`90s`, `15m`, `12h`, `30d` or `4w` -> seconds. Raises `InvalidInput`."""
    match = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if match is None:
        raise InvalidInput(option, f"{text[:40]!r} is no age", "write a number and s, m, h, d or w: 30d")
    return int(match[1]) * _UNITS[match[2]]


def overrides(data: Path | None) -> dict[str, object]:
    """The settings that --data stands for."""
    return {} if data is None else {"backends": "embedded", "data_dir": data}


def progress_bar(length: int, label: str) -> AbstractContextManager[Any]:
    """On standard error; `update(count)` moves it on."""
    return click.progressbar(length=max(length, 1), label=label, file=sys.stderr)
