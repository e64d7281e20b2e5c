"""`carillon dev`, and one command for each service."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

from services.commands.options import DEFAULT_DATA_DIR, DEFAULT_DEV_PORT
from shared.model.settings import Settings


def _service(name: str, default_port: int, summary: str) -> click.Command:
    @click.command(name, help=summary)
    @click.option(
        "--port",
        type=click.IntRange(0, 65_535),
        help=f"Listen here, 0 for a free port.  [default: CARILLON_PORT, or {default_port}]",
    )
    def command(port: int | None) -> None:
        _run(name, Settings.load(**({} if port is None else {"port": port})))

    return command


services = (
    _service("ingest", 8081, "Take events in over HTTP, until SIGTERM."),
    _service("edge", 8082, "Serve sessions and event streams, until SIGTERM."),
    _service("console", 8083, "Serve the operators' pages, until SIGTERM."),
    _service("persister", 8084, "Append events to the log and dispatch them, until SIGTERM."),
)


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=DEFAULT_DEV_PORT, show_default=True, help="0: a free port."
)
@click.option(
    "--data",
    "data_dir",
    type=click.Path(path_type=Path),
    default=DEFAULT_DATA_DIR,
    show_default=True,
    help="Keep log and secret in this folder.",
)
@click.option("--memory", is_flag=True, help="Keep the log in memory only: it is gone at the end.")
def dev(port: int, data_dir: Path, memory: bool) -> None:
    """All services in one process, on embedded backends, with demo users alice and bob.

    \b
    carillon dev --port 9000
    carillon dev --memory
    """
    # Somebody watches: text to read, and the journey of every event.
    settings = Settings.load()
    chosen = {"log_format": "text", "trace_ratio": 1.0}
    settings = settings.model_copy(
        update={name: value for name, value in chosen.items() if name not in settings.model_fields_set}
    )
    _run("dev", settings, port=port, data_dir=data_dir, memory=memory)


def _run(name: str, settings: Settings, **options: Any) -> None:
    """Runs `services.<name>.service.run`; imported only now, so that a process loads what it uses."""
    from shared.telemetry import logs
    from shared.web.process import run

    logs.set_up(settings)
    service = importlib.import_module(f"services.{name}.service")
    run(lambda stopping: service.run(settings, stopping, **options))
