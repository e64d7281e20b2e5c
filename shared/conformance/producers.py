"""Every promise of `shared.ports.producers.ProducerStore` as a check."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from shared.conformance import ProducerStoreMaker
from shared.conformance.samples import NOON
from shared.model.errors import KeyTaken
from shared.ports.producers import KeyRecord, ProducerStore

ProducerStoreCheck = Callable[[ProducerStoreMaker], Awaitable[None]]

LATER = NOON + timedelta(days=1, milliseconds=7)
# More than one page of any driver.
MANY = 250


def a_key(id_: str, **attributes: object) -> KeyRecord:
    """A plain key, whose digest follows from its id."""
    plain = {"digest": f"digest of {id_}", "name": "shop", "created_at": NOON}
    return KeyRecord(id_, **{**plain, **attributes})  # type: ignore[arg-type]  # fields by name


async def keys_come_back_equal(make: ProducerStoreMaker) -> None:
    full = a_key(
        "full",
        name="Süd-Shop 🛒",
        sources=("/shop/*", "urn:x, y"),
        types=("order.*", "job.done"),
        events_per_s=0.25,
        expires_at=LATER,
        revoked_at=LATER,
        is_gone=True,
    )
    async with make() as storage, storage.client() as store:
        for key in (a_key("plain"), full, a_key("nothing", sources=(), types=())):
            await store.add(key)
            assert await store.find(key.digest) == key, "a key is found as it was added"
        assert await store.find("another digest") is None, "what was never added is not found"


async def a_key_outlives_who_added_it(make: ProducerStoreMaker) -> None:
    async with make() as storage:
        async with storage.client() as store:
            await store.add(a_key("1"))
        async with storage.client() as other:
            assert await other.find("digest of 1") == a_key("1"), "every process finds it"


async def ids_and_digests_are_unique(make: ProducerStoreMaker) -> None:
    async with make() as storage, storage.client() as store:
        await store.add(a_key("1"))
        for second in (a_key("1", digest="another"), a_key("2", digest="digest of 1")):
            await _refused(store, second)
        assert list(await store.keys()) == [a_key("1")], "what was refused left nothing behind"
        raced = await asyncio.gather(*(store.add(a_key("3", name=str(n))) for n in range(5)), return_exceptions=True)
        assert raced.count(None) == 1, f"of several at once one is added: {raced}"
        assert all(outcome is None or isinstance(outcome, KeyTaken) for outcome in raced), "the others are refused"


async def _refused(store: ProducerStore, key: KeyRecord) -> None:
    try:
        await store.add(key)
    except KeyTaken:
        return
    raise AssertionError("a second key of one id or digest must be refused")


async def a_revoked_key_is_revoked_for_everyone_and_for_good(make: ProducerStoreMaker) -> None:
    async with make() as storage, storage.client() as store, storage.client() as other:
        await store.add(a_key("1"))
        await store.add(a_key("2"))
        revoked = replace(a_key("1"), revoked_at=LATER)
        assert await store.revoke("1", LATER) == revoked, "it is returned as it is then"
        assert await other.find("digest of 1") == revoked, "every process finds it revoked"
        assert await other.revoke("1", LATER + timedelta(days=1)) == revoked, "its time stays that of the first"
        gone = replace(revoked, is_gone=True)
        assert await other.revoke("1", LATER, gone=True) == gone, "and it may be gone since"
        assert await store.revoke("1", LATER) == gone, "which nothing takes back"
        assert await store.find("digest of 2") == a_key("2"), "others stay as they were"
        assert await store.revoke("unknown", LATER) is None, "what is not there cannot be revoked"


async def keys_are_listed_page_by_page(make: ProducerStoreMaker) -> None:
    async with make() as storage, storage.client() as store:
        assert list(await store.keys()) == [], "at first there are none"
        numbers = [f"{number:03}" for number in range(MANY)]
        for number in reversed(numbers):
            await store.add(a_key(number, name="shop" if int(number) % 3 else "other"))
        found, after = [], ""
        while page := [key.id for key in await store.keys(after=after, limit=99)]:
            found += page
            after = page[-1]
        assert found == numbers, "each once, in the order of their ids"
        of_other = await store.keys(name="other", limit=MANY)
        assert [key.id for key in of_other] == numbers[::3], "those of one producer"
        assert list(await store.keys(name="nobody")) == []
        assert list(await store.keys(limit=0)) == []


PRODUCER_STORE_CHECKS: tuple[ProducerStoreCheck, ...] = (
    keys_come_back_equal,
    a_key_outlives_who_added_it,
    ids_and_digests_are_unique,
    a_revoked_key_is_revoked_for_everyone_and_for_good,
    keys_are_listed_page_by_page,
)
