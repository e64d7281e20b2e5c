"""A small OpenID Connect issuer on a real socket: keys, documents and codes, each of which a test can spoil."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, Key
from pydantic import SecretStr

from infra.local.servers import free_port
from shared.model.settings import Settings

CLIENT_ID = "carillon"
CLIENT_SECRET = "the-client's-secret"
# A test that failed before it let go leaves no thread behind for long.
HELD_MAX_S = 60.0
DISCOVERY, KEYS, TOKEN = "/.well-known/openid-configuration", "/jwks", "/token"


@dataclass(frozen=True)
class Spoiled:
    """An answer instead of the right one."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    held: threading.Event | None = None
    """Comes only once this is set."""


def new_key(kid: str) -> Key:
    """A fast one."""
    return ECKey.generate_key("P-256", {"kid": kid, "alg": "ES256", "use": "sig"})


class LocalIssuer:
    """Serves from `start` to `stop`, and again."""

    def __init__(self) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.keys: list[Key] = [new_key("first")]
        self.published: list[dict[str, Any]] | None = None
        """What the key set holds, where it is not the public halves of `keys`."""
        self.metadata: dict[str, Any] = {}
        """Laid over the discovery document; None removes."""
        self.spoiled: dict[str, Spoiled] = {}
        self.asked: Counter[str] = Counter()
        self._codes: dict[str, dict[str, str]] = {}
        self._tokens: dict[str, str | None] = {}
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), _requests_of(self))
        threading.Thread(target=self._server.serve_forever, args=(0.01,), name="issuer", daemon=True).start()

    def stop(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Those of a good token; `...` removes one."""
        now = int(time.time())
        good = {"iss": self.url, "sub": "alice", "aud": CLIENT_ID, "iat": now, "exp": now + 300}
        return {name: value for name, value in (good | changed).items() if value is not ...}

    def sign(self, claims: dict[str, Any], key: Key | None = None, **header: Any) -> str:
        """A token with the first key, or another."""
        key = key or self.keys[0]
        full = {"alg": str(key.get("alg")), "kid": key.kid} | header
        return jwt.encode({name: value for name, value in full.items() if value is not None}, claims, key)

    def log_in(self, address: str, id_token: str | None = "", **changed: Any) -> str:
        """What the issuer does once the user has logged in at `address`: returns the code.

        Args:
            id_token: what the code will be exchanged for; by default a good one.
            changed: claims of it.
        """
        asked = dict(parse_qsl(urlsplit(address).query))
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        good = self.sign(self.claims(**{"nonce": asked["nonce"]} | changed)) if id_token == "" else id_token
        self._tokens[code] = good
        return code

    def document(self) -> dict[str, Any]:
        """The discovery document."""
        right = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": self.url + TOKEN,
            "jwks_uri": self.url + KEYS,
        }
        return {name: value for name, value in (right | self.metadata).items() if value is not None}

    def key_set(self) -> dict[str, Any]:
        public = [dict(key.as_dict(private=False)) for key in self.keys]
        return {"keys": public if self.published is None else self.published}

    def exchange(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """The token endpoint: every rule of RFC 6749, 4.1.3 and RFC 7636, 4.6 that a client can break."""
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        shown = (form.get("client_id"), form.get("client_secret"))
        if authorization != f"Basic {basic}" and shown != (CLIENT_ID, CLIENT_SECRET):
            return 401, {"error": "invalid_client"}
        asked = self._codes.pop(form.get("code", ""), None)
        if asked is None or form.get("redirect_uri") != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        challenge = hashlib.sha256(form["code_verifier"].encode()).digest()
        if asked["code_challenge"] != base64.urlsafe_b64encode(challenge).rstrip(b"=").decode():
            return 400, {"error": "invalid_grant"}
        token = self._tokens.pop(form["code"])
        return 200, {"access_token": "x", "token_type": "Bearer"} | ({} if token is None else {"id_token": token})


def _requests_of(issuer: LocalIssuer) -> type[BaseHTTPRequestHandler]:
    class Request(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            documents = {DISCOVERY: issuer.document, KEYS: issuer.key_set}
            self._answer(200, documents[self.path]())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._answer(*issuer.exchange(form, self.headers.get("Authorization", "")))

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            issuer.asked[self.path] += 1
            right = Spoiled(status, json.dumps(document).encode())
            answer = issuer.spoiled.get(self.path, right)
            if answer.held is not None:
                answer.held.wait(HELD_MAX_S)
            self.send_response(answer.status)
            for name, value in (*answer.headers, ("Content-Length", str(len(answer.body)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: Any) -> None:
            return

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                # A client that stops reading is one of the cases.
                return

    return Request


def oidc_settings(issuer: LocalIssuer, **given: Any) -> Settings:
    """Of a service whose issuer it is."""
    known = {"oidc_issuer": issuer.url, "oidc_client_id": CLIENT_ID, "oidc_client_secret": SecretStr(CLIENT_SECRET)}
    return Settings(**known | given)


@contextmanager
def local_issuer() -> Iterator[LocalIssuer]:
    """A running one, stopped at the end."""
    issuer = LocalIssuer()
    issuer.start()
    try:
        yield issuer
    finally:
        issuer.stop()
