"""What it costs to know who sent a webhook, by scheme, and to make an event of it; without any server."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Callable
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.ingest.http_binding import MediaType
from services.ingest.webhooks.declarations import KINDS
from services.ingest.webhooks.posted import Posted
from services.ingest.webhooks.schemes import MAX_SIGNATURES, StandardWebhooks
from services.ingest.webhooks.source import Source
from tests.bench.measure import Benchmark, Figure, Sample, best_s
from tests.bench.stage import Stage

REPEATS, CALLS = 20, 50
NOW = 1_700_000_000.0
# What GitHub's payloads weigh; and the largest that ingest takes.
USUAL_BYTES, LARGE_BYTES = 8 * 1024, 250 * 1024
SECRET = b"whsec_" + base64.b64encode(b"k" * 32)
NAMED = {"X-GitHub-Event": "push", "X-GitHub-Delivery": "1", "Content-Type": "application/json"}
SIGNED = ("github", "stripe", "standard v1", "standard v1a", "hmac sha512")


def body_of(size_bytes: int) -> bytes:
    """JSON of about that size, that every kind takes."""
    return json.dumps({"id": "evt_1", "type": "push", "lines": ["x" * 60] * (size_bytes // 64)}).encode()


def source_of(kind: str, secret: bytes = SECRET, **declared: object) -> Source:
    return KINDS[kind].model_validate({"kind": kind, "secret": {"env": "X"}, **declared}).source("bench", (secret,))


def requests(body: bytes) -> dict[str, tuple[Source, Posted]]:
    """By scheme: the source, and a request that it takes."""
    sources = {
        "github": source_of("github"),
        "stripe": source_of("stripe"),
        "standard v1": source_of("standard-webhooks"),
        "hmac sha512": source_of("hmac", header="X-Sig", algorithm="sha512", timestamp={"header": "X-Time"}),
    }
    signed = {
        name: Posted.of((NAMED | dict(source.scheme.sign(body, "msg_1", NOW))).items(), body)
        for name, source in sources.items()
    }
    return {name: (source, signed[name]) for name, source in sources.items()} | {"standard v1a": public_key(body)}


def public_key(body: bytes, signatures: int = 1) -> tuple[Source, Posted]:
    """Of a sender with an ed25519 key, whose last signature is the right one."""
    key = Ed25519PrivateKey.generate()
    source = source_of("standard-webhooks", b"whpk_" + base64.b64encode(key.public_key().public_bytes_raw()))
    made = [base64.b64encode(key.sign(content)).decode() for content in (b"other", f"msg_1.{NOW:.0f}.".encode() + body)]
    header = " ".join(f"v1a,{each}" for each in [*[made[0]] * (signatures - 1), made[1]])
    sent = {StandardWebhooks.ID: "msg_1", StandardWebhooks.TIMESTAMP: f"{NOW:.0f}", StandardWebhooks.SIGNATURE: header}
    return source, Posted.of((NAMED | sent).items(), body)


async def runs(stage: Stage) -> AsyncGenerator[Sample, None]:
    usual, large = requests(body_of(USUAL_BYTES)), requests(body_of(LARGE_BYTES))
    many = public_key(body_of(USUAL_BYTES), MAX_SIGNATURES)
    json_ = MediaType.parse("application/json")
    steps: dict[str, Callable[[], object]] = {name: verify(*usual[name]) for name in SIGNED}
    steps |= {f"{name}, 250 KiB": verify(*large[name]) for name in ("github", "standard v1a")}
    steps |= {f"standard v1a, {MAX_SIGNATURES} signatures": verify(*many)}
    source, posted = usual["github"]
    steps |= {"github, event made": lambda: source.event(posted, json_)}
    for _ in stage.runs():
        yield {name: best_s(partial(repeat, step), REPEATS) / CALLS * 1_000_000 for name, step in steps.items()}


def repeat(step: Callable[[], object]) -> None:
    for _ in range(CALLS):
        step()


def verify(source: Source, posted: Posted) -> Callable[[], object]:
    return lambda: source.scheme.verify(posted, NOW)


FIGURES = (
    *SIGNED,
    "github, 250 KiB",
    "standard v1a, 250 KiB",
    f"standard v1a, {MAX_SIGNATURES} signatures",
    "github, event made",
)

BENCHMARK = Benchmark(
    "webhooks",
    f"one verification of a body of 8 KiB, the fastest of {REPEATS} repeats of {CALLS}",
    tuple(Figure(name, "µs") for name in FIGURES),
    runs,
)
