"""Hypercorn, set up for many long streams, and the frame that a service's process runs in."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import h11
from hypercorn.asyncio import serve as hypercorn_serve
from quart import Quart

from shared.model.errors import CarillonError, InvalidInput
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

# Live objects between two passes of the cyclic collector; Python's 700 is made for scripts.
COLLECT_EVERY_OBJECTS = 20_000
# By then a service has loaded and opened what it keeps for as long as it lives.
STARTED_AFTER_S = 2.0

_VANISHED = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

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


def run(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Runs a service until it ends by itself or SIGTERM or SIGINT sets the event it is given.

    A second SIGINT ends the process at once. A `CarillonError` becomes one line on standard error
    and exit status 2 for bad input, 1 for the rest.
    """
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(_until_signalled(main))
    except CarillonError as failed:
        _exit_with(failed)
    except BaseExceptionGroup as group:
        # Task groups wrap: a port that is taken is still one line.
        _, unknown = group.split(CarillonError)
        known = _first(group, CarillonError)
        if unknown is not None or known is None:
            raise
        _exit_with(known)


async def _until_signalled(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stopping = asyncio.Event()

    def interrupt() -> None:
        if stopping.is_set():
            os._exit(EXIT_INTERRUPTED)
        stopping.set()

    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C is a KeyboardInterrupt there
        loop.add_signal_handler(signal.SIGINT, interrupt)
        loop.add_signal_handler(signal.SIGTERM, stopping.set)
    _spare_collector(loop)
    await main(stopping)


def _spare_collector(loop: asyncio.AbstractEventLoop) -> None:
    """Has the cyclic collector run seldom, and never again over what the start left behind.

    Each full pass over some 300,000 objects of imported code stopped the process for 50 ms and more:
    a fifth of the persister's processor time, and most of what was above the median latency.
    """
    gc.set_threshold(COLLECT_EVERY_OBJECTS, *gc.get_threshold()[1:])

    def freeze() -> None:
        gc.collect()
        gc.freeze()

    loop.call_later(STARTED_AFTER_S, freeze)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _first(error: BaseException, wanted: type[CarillonError]) -> CarillonError | None:
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, (_first(inner, wanted) for inner in error.exceptions)), None)
    return error if isinstance(error, wanted) else None


def _exit_with(failed: CarillonError) -> None:
    print(f"carillon: {failed}", file=sys.stderr)
    sys.exit(EXIT_BAD_INPUT if isinstance(failed, InvalidInput) else EXIT_FAILED)
