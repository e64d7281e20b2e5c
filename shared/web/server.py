"""Hypercorn, set up for many long streams."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import h11
from hypercorn.asyncio import serve as hypercorn_serve
from quart import Quart

from shared.model.errors import InvalidInput
from shared.model.settings import Settings
from shared.web import tcp_server
from shared.web.repairs import repair_hypercorn
from shared.web.tcp_server import Config

# Hypercorn's 100 made 5,000 clients take 47 s to connect; this many, 5 s.
BACKLOG = 4096
# A peer that vanished without FIN is dropped when a heartbeat stays unacknowledged for so long.
UNACKNOWLEDGED_MAX_MS = 30_000
# Written and not yet on its way: for a client that does not read, the kernel would take 2.7 MB.
UNSENT_MAX_BYTES = 128 * 1024
# Request line and headers together, as nginx's four buffers of 16 KiB.
HEADERS_MAX_BYTES = 64 * 1024
# Longer than a proxy's usual 60 s, so that the proxy closes idle connections and never writes into a closed one.
KEEP_ALIVE_S = 75
# A keep-alive connection of a busy producer must not be closed under it every thousand requests.
KEEP_ALIVE_MAX_REQUESTS = 1_000_000

_VANISHED = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)

_log = logging.getLogger(__name__)


async def serve(
    app: Quart,
    settings: Settings,
    port: int,
    stopping: asyncio.Event,
    *,
    grace_s: float,
    on_bound: Callable[[int], None] | None = None,
) -> None:
    """Serves `app` on `settings.host` and `port` until `stopping` is set.

    Args:
        port: 0 takes a free one, which `on_bound` is told.
        grace_s: how long open requests may go on after `stopping`; then they are cancelled.
        on_bound: called with the port once connections are accepted by the kernel.

    Raises `InvalidInput` where the address cannot be used.
    """
    listening = listen(settings.host, port)
    bound_port = listening.getsockname()[1]
    _log.info("listening on http://%s:%d", settings.host, bound_port)
    if on_bound is not None:
        on_bound(bound_port)
    repair_hypercorn()
    tcp_server.install()
    # Hypercorn owns the descriptor from here on, and closes it.
    config = _config(settings, listening.detach(), grace_s)

    async def end_streams() -> None:
        await stopping.wait()
        config.idle.end()
        await config.wires.end(grace_s)

    with _quiet_about_vanished_clients():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(end_streams(), name="end streams")
            tasks.create_task(hypercorn_serve(app, config, shutdown_trigger=stopping.wait), name="serve")


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises `InvalidInput`, naming the setting, where that cannot be."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as refused:
        raise InvalidInput("CARILLON_HOST", f"{host!r}: {refused.strerror}", "use an address of this machine") from None
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MAX_MS)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # inherited, too
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_MAX_BYTES)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as refused:
        listening.close()
        raise _as_invalid_address(refused, host, port) from None
    return listening


def _as_invalid_address(refused: OSError, host: str, port: int) -> InvalidInput:
    if refused.errno == errno.EADDRINUSE:
        fix = "stop the program that has it, or choose another with --port or CARILLON_PORT"
        return InvalidInput("port", f"{port} on {host} is taken", fix)
    if refused.errno == errno.EACCES:
        fix = "choose one above 1023 with --port or CARILLON_PORT"
        return InvalidInput("port", f"no permission to listen on {port}", fix)
    return InvalidInput("CARILLON_HOST", f"cannot listen on {host}: {refused.strerror}", "use an address of this host")


def _config(settings: Settings, descriptor: int, grace_s: float) -> Config:
    config = Config()
    config.bind = [f"fd://{descriptor}"]
    config.backlog = BACKLOG
    config.graceful_timeout = grace_s
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = KEEP_ALIVE_MAX_REQUESTS
    config.h11_max_incomplete_size = HEADERS_MAX_BYTES
    config.include_server_header = False
    if settings.tls_cert is not None and settings.tls_key is not None:
        # Hypercorn offers h2 and http/1.1 by ALPN; without TLS it takes h2c by prior knowledge or upgrade.
        config.certfile, config.keyfile = str(settings.tls_cert), str(settings.tls_key)
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.errorlog.setLevel(logging.WARNING)
    return config


@contextlib.contextmanager
def _quiet_about_vanished_clients() -> Iterator[None]:
    """Hypercorn lets a client's disconnect surface as an exception of its connection's task."""
    loop = asyncio.get_running_loop()
    previous = loop.get_exception_handler()

    def tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if _is_about_a_vanished_client(context.get("exception")):
            return
        if previous is not None:
            previous(loop, context)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(tell)
    try:
        yield
    finally:
        loop.set_exception_handler(previous)


def _is_about_a_vanished_client(error: BaseException | None) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_about_a_vanished_client, error.exceptions))
    # A peer that acknowledges nothing for as long as TCP_USER_TIMEOUT says is no ConnectionError to Python.
    has_timed_out = isinstance(error, OSError) and error.errno in _VANISHED
    return has_timed_out or isinstance(error, ConnectionError | h11.LocalProtocolError)
