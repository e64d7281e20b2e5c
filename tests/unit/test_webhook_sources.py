"""The file of webhook sources: what is taken, and that every error has its line and never a secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.ingest.parts import InvalidFile
from services.ingest.reloading import Reloaded
from services.ingest.webhooks.schemes import Hmac, StandardWebhooks, Stripe
from services.ingest.webhooks.sources import Sources, SourcesFile, open_sources


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "hunter2-hunter2")
    monkeypatch.setenv("STANDARD_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    monkeypatch.setenv("PUBLIC_KEY", "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=")
    monkeypatch.setenv("EMPTY_SECRET", "")


def loaded(folder: Path, text: str) -> Sources:
    path = folder / "webhooks.yaml"
    path.write_text(text)
    return SourcesFile(path).load()


def test_what_standards_say_needs_no_more_than_a_kind_and_a_secret(tmp_path: Path) -> None:
    sources = loaded(
        tmp_path,
        """
        sources:
          github: {kind: github, secret: {env: HOOK_SECRET}}
          stripe: {kind: stripe, secret: {env: HOOK_SECRET}}
          billing: {kind: standard-webhooks, secret: {env: STANDARD_SECRET}}
          partner: {kind: standard-webhooks, secret: {env: PUBLIC_KEY}}
        """,
    )
    assert [*sources] == ["github", "stripe", "billing", "partner"]
    assert sources["github"].scheme == Hmac((b"hunter2-hunter2",), "x-hub-signature-256", prefix="sha256=")
    assert sources["stripe"].scheme == Stripe((b"hunter2-hunter2",), 300.0)
    shared, public = sources["billing"].scheme, sources["partner"].scheme
    assert isinstance(shared, StandardWebhooks)
    assert isinstance(public, StandardWebhooks)
    assert (len(shared.keys), len(shared.public_keys), len(public.keys), len(public.public_keys)) == (1, 0, 0, 1)
    assert not any(source.audience for source in sources.values())


def test_secrets_of_files_are_read_without_their_line_end(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new secret \r\n")
    (tmp_path / "old").write_bytes(b"old\n\n")
    path = tmp_path / "webhooks.yaml"
    places = f"secret: {{file: new}}, previous_secret: {{file: {tmp_path}/old}}"
    path.write_text(f"sources: {{a: {{kind: github, {places}}}}}")
    file = SourcesFile(path)
    scheme = file.load()["a"].scheme
    assert isinstance(scheme, Hmac)
    assert scheme.keys == (b"new secret ", b"old\n")
    assert file.files == (path, tmp_path / "new", tmp_path / "old")


def test_texts_need_no_quotes(tmp_path: Path) -> None:
    """`on` is no boolean here, and 7 no number, where a text is meant."""
    source = loaded(tmp_path, "sources: {a: {kind: none, type: on, audience: [topic:1, everyone], headers: X-1 X-2}}")[
        "a"
    ]
    assert source.audience == ("topic:1", "everyone")
    assert source.headers == ("x-1", "x-2")


SECRET = "secret: {env: HOOK_SECRET}"
HMAC = ("kind: hmac", SECRET, "header: X")
# Line 1 is `sources:`, line 2 `a:`, and each of these one more.
BAD_SOURCES: list[tuple[tuple[str, ...], int, str]] = [
    (("kind: github", "secret: hunter2-hunter2"), 4, "a.secret: a secret itself must not stand"),
    (("kind: github", "secret: [hunter2-hunter2]"), 4, "a.secret: "),
    (("kind: github",), 3, "a has no secret"),
    (("kind: github", "secret: {env: NO_SUCH}"), 3, "the environment has no NO_SUCH"),
    (("kind: github", "secret: {env: EMPTY_SECRET}"), 3, "is empty"),
    (("kind: github", "secret: {file: no-such}"), 3, "No such file"),
    (("kind: github", "secret: {file: .}"), 3, "Is a directory"),
    (("kind: github", "secret: {file: long}"), 3, "is over 4096 bytes"),
    (("kind: github", "secret: {}"), 4, "a.secret: it names no one place"),
    (("kind: github", "secret: {env: A, file: b}"), 4, "a.secret: it names no one place"),
    (("kind: github", "secret:", "  value: hunter2-hunter2"), 5, "a.secret.value"),
    (("kind: standard-webhooks", SECRET), 3, "it is not base64"),
    (("kind: standard-webhooks", "secret: {file: short}"), 3, "its key has 5 bytes, not 24 to 64"),
    (("kind: standard-webhooks", "secret: {file: private}"), 3, "private key"),
    (("kind: standard-webhooks", "secret: {file: public}"), 3, "no ed25519 key"),
    (("kind: gitub",), 3, "'gitub' is no kind of source"),
    ((SECRET,), 3, "source a has no kind"),
    (("kind: none", "kind: none"), 4, "source a has 'kind' twice"),
    (("kind: github", SECRET, "tolerance_s: 5"), 5, "a.tolerance_s: there is no such key"),
    (("kind: none", "audience: nobody"), 4, "a.audience.0: 'nobody' is not a tag"),
    (("kind: none", "audience:", "  - everyone", "  - control:alice"), 6, "a.audience.1: control tags"),
    (("kind: none", "headers: [Authorization]"), 4, "a.headers.0: authorization is a credential"),
    (("kind: none", f"headers: [{'x' * 61}]"), 4, "a.headers.0: its name is too long"),
    (("kind: none", "id: {header: Authorization}"), 4, "a.id.header: authorization is a credential"),
    (("kind: bearer", SECRET, "header: X-Token", "headers: x-token"), 3, "x-token is a credential"),
    (("kind: bearer", SECRET, "header: X-Token", "id: {header: X-TOKEN}"), 3, "x-token is a credential"),
    (("kind: none", "headers: ['a b']"), 4, "a.headers.0: it is no name of a header"),
    (("kind: none", "id: same"), 3, "one id for all"),
    (("kind: none", "id: {header: X, field: y}"), 4, "a.id: it names no one place"),
    (("kind: none", "type_prefix: a b"), 4, "a.type_prefix: String should match"),
    (("kind: basic", SECRET), 3, "a has no user"),
    (("kind: basic", SECRET, "user: 'a:b'"), 5, "a.user"),
    (("kind: stripe", SECRET, "tolerance_s: 0"), 5, "a.tolerance_s: "),
    (("kind: stripe", SECRET, "tolerance_s: nan"), 5, "a.tolerance_s: "),
    (("kind: stripe", SECRET, "test_events: ignore"), 5, "a.test_events: "),
    (("kind: hmac", SECRET, "id: digest"), 3, "a has no header"),
    (HMAC, 3, "nothing tells a repeated request"),
    ((*HMAC, "id: digest", "key: hex"), 3, "not hex"),
    (("kind: hmac", "secret: {file: blank}", "header: X", "id: digest", "key: hex"), 3, "not hex"),
    (("kind: hmac", "secret: {file: padding}", "header: X", "id: digest", "key: base64"), 3, "not base64"),
    (("kind: github", 'secret: {file: "a\\0b"}'), 3, "null byte"),
    ((*HMAC, "id: digest", "algorithm: md5"), 7, "a.algorithm"),
    ((*HMAC, "id: digest", "signed: a"), 7, "a.signed: it does not hold {body}"),
    ((*HMAC, "id: digest", "signed: '{body}{body}'"), 7, "a.signed: it does not hold {body}"),
    ((*HMAC, "id: digest", "signed: '{body}{bdy}'"), 7, "a.signed: there is no {bdy}"),
    ((*HMAC, "id: digest", "signed: '{timestamp}{body}'"), 3, "belong together"),
    ((*HMAC, "signed: '{body}'", "timestamp: {header: T}"), 3, "belong together"),
    ((*HMAC, "id: digest", "signed: '{id}{body}'"), 3, "no header is declared"),
    ((*HMAC, "timestamp: {format: unix}"), 6, "a.timestamp has no header"),
]
BAD_FILES: list[tuple[str, int, str]] = [
    ("sources:\n  A b:\n    kind: none", 3, "'A b' is no name of a source"),
    ("sources:\n  a: {kind: none}\n  a: {kind: none}", 3, "sources has 'a' twice"),
    ("sources:\n  a:\n", 2, "source a is empty"),
    ("sources:\n", 1, "sources is empty"),
    ("source: {}", 1, "the file has no 'source'"),
    ("- a", 1, "the file is a list"),
    ("", 1, "the file is empty"),
    ("sources:\n  a: {kind: none]", 2, "not YAML"),
    ("sources:\n  a: &x {kind: none}\n  b: *x", 3, "aliases"),
]
BAD = [
    *BAD_FILES,
    *(("\n    ".join(("sources:\n  a:", *lines)), line, fragment) for lines, line, fragment in BAD_SOURCES),
]


@pytest.mark.parametrize(("text", "line", "fragment"), BAD)
def test_a_bad_file_is_told_with_its_line_and_no_secret(tmp_path: Path, text: str, line: int, fragment: str) -> None:
    (tmp_path / "long").write_bytes(b"x" * 5000)
    (tmp_path / "short").write_text("whsec_aHVudGU=")
    (tmp_path / "private").write_text(
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
    )
    (tmp_path / "blank").write_text("  ")
    (tmp_path / "padding").write_text("====")
    (tmp_path / "public").write_text("whpk_aHVudGVyMg==")
    with pytest.raises(InvalidFile) as refused:
        loaded(tmp_path, text)
    assert fragment in refused.value.problem
    assert refused.value.field == f"{tmp_path}/webhooks.yaml:{line}"
    assert refused.value.fix
    for secret in ("hunter2", "aHVudGU", "6Xb/dC"):
        assert secret not in str(refused.value)


@pytest.mark.parametrize("content", [b"\xff", b"#" * (1024 * 1024 + 1), b"a: \x00"])
def test_a_file_that_is_no_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "webhooks.yaml"
    path.write_bytes(content)
    with pytest.raises(InvalidFile):
        SourcesFile(path).load()


async def test_a_secret_is_changed_in_its_file_without_a_restart(tmp_path: Path) -> None:
    """As a mounted secret changes: its file does, the one that names it does not."""
    (tmp_path / "key").write_text("one")
    path = tmp_path / "webhooks.yaml"
    path.write_text("sources: {a: {kind: github, secret: {file: key}}}")
    file = SourcesFile(path)
    sources = Reloaded("webhook sources", file.load, lambda: file.files)
    (tmp_path / "key").write_text("two")
    os.utime(tmp_path / "key", (9, 9))
    keys = []
    for _ in range(3):
        scheme = sources.value["a"].scheme
        assert isinstance(scheme, Hmac)
        keys.append(scheme.keys)
        await sources.look()
    assert keys == [(b"one",), (b"one",), (b"two",)]


async def test_without_a_file_there_are_no_sources(tmp_path: Path) -> None:
    async with open_sources(None) as nothing:
        assert nothing.value == {}
    with pytest.raises(InvalidFile, match="No such file"):
        async with open_sources(tmp_path / "missing.yaml"):
            pass
