"""Debian's nginx as a child process, with the configuration that we ship: only its addresses are others."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from infra.local.servers import ServerUnavailable, free_port
from tests.eventually import answered
from tests.harness.process import ROOT

SHIPPED = ROOT / "infra" / "nginx" / "carillon.conf"
END_WITHIN_S = 30.0
# What a distribution's nginx.conf brings, made worse: all that could be compressed is.
_MAIN = """
user {user} {group};
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    default_type application/octet-stream;
    access_log {folder}/access.log;
    gzip on;
    gzip_min_length 1;
    gzip_types *;
    gzip_proxied any;
{temporary}
    include {folder}/carillon.conf;
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx:
    """One nginx in front of an ingest and of edges, listening on a loopback port of its own."""

    def __init__(self, folder: Path, ingest_url: str, edge_urls: Sequence[str]) -> None:
        self.folder, port = folder, free_port()
        self.url = f"http://127.0.0.1:{port}"
        folder.mkdir()
        (folder / "carillon.conf").write_text(_substituted(port, ingest_url, edge_urls, folder))
        temporary = "\n".join(f"    {name}_temp_path {folder}/{name};" for name in _TEMPORARY)
        user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
        main = _MAIN.format(folder=folder, user=user, group=group, temporary=temporary)
        (folder / "nginx.conf").write_text(main)
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def access_log(self) -> str:
        """As our configuration has it written."""
        return (self.folder / "carillon.log").read_text()

    @property
    def error_log(self) -> str:
        return (self.folder / "error.log").read_text()

    async def start(self) -> None:
        """Returns once it accepts connections."""
        binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if binary is None:
            raise ServerUnavailable("no nginx: run `make setup`, or apt-get install nginx-light")
        command = [binary, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        with (self.folder / "output").open("wb") as output:
            self._child = await asyncio.to_thread(
                subprocess.Popen, command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        await answered(self._connect, ConnectionRefusedError)

    def end(self) -> None:
        """Ends it at once, with the streams that run through it."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    async def _connect(self) -> None:
        assert self._child is not None
        if self._child.poll() is not None:
            raise ServerUnavailable(f"nginx did not start:\n{(self.folder / 'output').read_text()}")
        _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(self.url).port)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def _substituted(port: int, ingest_url: str, edge_urls: Sequence[str], logs: Path) -> str:
    """The shipped configuration with addresses, port and the folder of its log replaced, each of them once."""
    ingest, *edges = (urlsplit(url).netloc for url in (ingest_url, *edge_urls))
    text = SHIPPED.read_text()
    for pattern, replacement in (
        (r"^( *)server 127\.0\.0\.1:8081;$", rf"\1server {ingest};"),
        (r"^( *)server 127\.0\.0\.1:8082( .*)?;$", "\n".join(rf"\1server {edge}\2;" for edge in edges)),
        (r"^( *)listen 8080;$", rf"\1listen 127.0.0.1:{port};"),
        (r"/var/log/nginx/", f"{logs}/"),
    ):
        text, times = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        assert times == 1, f"{SHIPPED} has {pattern} {times} times"
    return text


@asynccontextmanager
async def nginx(folder: Path, ingest_url: str, edge_urls: Sequence[str]) -> AsyncIterator[Nginx]:
    """A running one, ended with the test."""
    server = Nginx(folder, ingest_url, edge_urls)
    try:
        await server.start()
        yield server
    finally:
        server.end()
