"""An OTLP collector as a process of its own: takes spans by gRPC and by HTTP, and writes each as a line of JSON.

Made of OpenTelemetry's own protocol definitions and gRPC's own server. `python -m tests.harness.collector
GRPC_PORT HTTP_PORT FILE` runs until it is killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from infra.local.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
TRACES_PATH = "/v1/traces"


@dataclass
class Collector:
    """The process, and what it has written."""

    grpc_port: int
    http_port: int
    file: Path
    process: subprocess.Popen[bytes] | None = None

    def endpoint(self, protocol: str) -> str:
        return f"http://127.0.0.1:{self.grpc_port if protocol == 'grpc' else self.http_port}"

    def start(self) -> None:
        arguments = [str(self.grpc_port), str(self.http_port), str(self.file)]
        self.process = subprocess.Popen([sys.executable, "-m", "tests.harness.collector", *arguments], cwd=ROOT)

    def kill(self) -> None:
        """SIGKILL: connections to it are refused."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def pause(self) -> None:
        """SIGSTOP: connections to it stay open, and nothing answers."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    @property
    def spans(self) -> list[dict[str, Any]]:
        """All that it took, with the headers of the request and the resource of the process."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]


@contextmanager
def collecting(folder: Path) -> Iterator[Collector]:
    """A started collector, killed at the end."""
    collector = Collector(free_port(), free_port(), folder / "spans.jsonl")
    collector.start()
    try:
        yield collector
    finally:
        collector.kill()


def _main(grpc_port: int, http_port: int, file: Path) -> None:
    import grpc
    from google.protobuf.json_format import MessageToDict
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

    writing = threading.Lock()

    def write(request: Any, headers: dict[str, str]) -> None:
        with writing, file.open("a") as output:
            for resource_spans in request.resource_spans:
                resource = _values(MessageToDict(resource_spans.resource))
                for span in (span for scope in resource_spans.scope_spans for span in scope.spans):
                    about = MessageToDict(span) | {"attributes": _values(MessageToDict(span))}
                    ids = {name: getattr(span, name).hex() for name in ("trace_id", "span_id", "parent_span_id")}
                    output.write(json.dumps(about | ids | {"resource": resource, "headers": headers}) + "\n")

    class Servicer(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc]  # generated without types
        def Export(self, request: Any, context: Any) -> Any:  # the name in the protocol
            write(request, dict(context.invocation_metadata()))
            return trace_service_pb2.ExportTraceServiceResponse()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
            is_known = self.path == TRACES_PATH
            if is_known:
                write(request, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(200 if is_known else 404)
            self.end_headers()
            self.wfile.write(trace_service_pb2.ExportTraceServiceResponse().SerializeToString())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the lines of spans say it."""

    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Servicer(), server)
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    server.start()
    ThreadingHTTPServer(("127.0.0.1", http_port), Handler).serve_forever()


def _values(message: dict[str, Any]) -> dict[str, Any]:
    """Attributes as the protocol has them -> names and values."""
    return {each["key"]: next(iter(each["value"].values())) for each in message.get("attributes", [])}


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
