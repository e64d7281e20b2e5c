"""The browser client as `make client` built it: `/client/carillon.js`."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from quart import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from shared.web.problem import Refusal

FOLDER = Path(__file__).parent / "browser" / "dist"
MAIN = "carillon.js"
# A build has a handful of files; whoever builds while we run leaves some behind.
KEPT_FILES = 32

_NAME = re.compile(r"[a-z][a-z0-9-]*\.js(\.map)?")


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """One file of the build, as it is and gzipped."""

    body: bytes
    gzipped: bytes
    etag: str
    content_type: str


def blueprint(folder: Path = FOLDER) -> Blueprint:
    """Serves the modules of a build; where there is none, each answer says how to make one."""
    routes = Blueprint("client", __name__)

    @routes.get("/client/<name>")
    async def module(name: str) -> Response:
        file = built_file(folder, name)
        is_gzipped = request.accept_encodings.best_match(["gzip", "identity"]) == "gzip"
        response = Response(file.gzipped if is_gzipped else file.body, content_type=file.content_type)
        if is_gzipped:
            response.content_encoding = "gzip"
        response.set_etag(f"{file.etag}-gzip" if is_gzipped else file.etag)
        # Asked again each time, and answered 304: a page never runs with a client older than its server's.
        response.headers["Cache-Control"] = "no-cache"
        response.vary.add("Accept-Encoding")
        # Modules are always fetched by CORS. What is in them is no secret, and they act as the page that loads them.
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        response.headers["X-Content-Type-Options"] = "nosniff"
        await response.make_conditional(request)
        return response

    return routes


def built_file(folder: Path, name: str) -> BuiltFile:
    """The file of that name. Raises `Refusal` where nothing is built, `NotFound` for a name not in the build."""
    path = folder / name
    if _NAME.fullmatch(name) and path.is_file():
        return _loaded(path, path.stat().st_mtime_ns)
    if (folder / MAIN).is_file():
        raise NotFound(f"the browser client has no file {name[:60]!r}")
    fix = "run `make client` where the source is (it needs Node.js 20, or brings it from PyPI), or use a built image"
    raise Refusal(503, "the browser client was not built into this server", fix=fix)


@lru_cache(maxsize=KEPT_FILES)
def _loaded(path: Path, _changed_at: int) -> BuiltFile:
    body = path.read_bytes()
    kind = "application/json" if path.suffix == ".map" else "text/javascript; charset=utf-8"
    return BuiltFile(body, gzip.compress(body, mtime=0), blake2b(body, digest_size=12).hexdigest(), kind)
