"""Every promise of `shared.ports.broker.Broker` about request and reply as a check."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from shared.conformance import BrokerMaker
from shared.conformance.waiting import DEADLINE_S, QUIET_S, eventually, within_deadline
from shared.model.errors import BrokerUnavailable
from shared.ports.broker import RPC_AT_ONCE, Broker, RpcRequest

RpcCheck = Callable[[BrokerMaker], Awaitable[None]]

# For a call that is meant to end without a reply.
GIVES_UP_AFTER_S = 0.4
# For one that must not be carried out afterwards: a request lives from when the broker has it, and on a busy
# machine it may be late there by more than its caller has left for that.
GIVES_UP_AFTER_EACH_S = (0.4, 4.0, 30.0)


class Server:
    """Counts what it is asked, and answers `re: ` and the body once it may."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.under_way = self.most_at_once = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def answer(self, request: RpcRequest) -> bytes | None:
        self.asked.append(request.body)
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            await self.may_answer.wait()
        finally:
            self.under_way -= 1
        return b"re: " + request.body


async def a_call_gets_its_reply_unchanged(make: BrokerMaker) -> None:
    bodies = [b"", b"\x00\xff not JSON", "日本 🎉".encode(), b"x" * 300_000]
    async with make() as storage, storage.client() as broker, broker.serve_rpc(Server().answer):
        for body in bodies:
            assert await _reply(broker, body) == b"re: " + body, "bytes go and come as they are"


async def each_caller_gets_its_own_reply(make: BrokerMaker) -> None:
    server = Server()
    server.may_answer.clear()
    async with make() as storage, storage.client() as broker, broker.serve_rpc(server.answer):
        bodies = [str(number).encode() for number in range(3 * RPC_AT_ONCE)]
        replies = asyncio.gather(*(_reply(broker, body) for body in bodies))
        await eventually(lambda: server.under_way == RPC_AT_ONCE, f"{RPC_AT_ONCE} are carried out at a time")
        server.may_answer.set()
        assert await replies == [b"re: " + body for body in bodies], "nobody gets another's reply"
        assert server.most_at_once == RPC_AT_ONCE, f"at most {RPC_AT_ONCE} at a time, not {server.most_at_once}"
        assert Counter(server.asked) == Counter(bodies), "each is carried out once while nothing breaks"


async def a_request_names_its_id_and_none_twice(make: BrokerMaker) -> None:
    ids: list[str | None] = []

    async def answer(request: RpcRequest) -> bytes:
        ids.append(request.id)
        return b""

    async with make() as storage, storage.client() as broker, broker.serve_rpc(answer):
        for _ in range(3):
            await _reply(broker, b"the same body")
        assert len(set(ids)) == 3, "requests are told apart by their ids"
        assert None not in ids


async def a_request_waits_for_a_server(make: BrokerMaker) -> None:
    async with make() as storage, storage.client() as broker:
        calling = asyncio.create_task(_reply(broker, b"early"), name="early call")
        await asyncio.wait([calling], timeout=QUIET_S)
        assert not calling.done(), "nobody serves yet"
        async with broker.serve_rpc(Server().answer):
            assert await within_deadline(calling, "it is answered once somebody serves") == b"re: early"


async def a_request_whose_time_is_over_is_not_carried_out(make: BrokerMaker) -> None:
    for gives_up_after_s in GIVES_UP_AFTER_EACH_S:
        server = Server()
        async with make() as storage, storage.client() as broker:
            await _assert_no_reply(broker, b"too early", gives_up_after_s)
            async with broker.serve_rpc(server.answer):
                assert await _reply(broker, b"in time") == b"re: in time"
        if server.asked == [b"in time"]:
            return
    raise AssertionError("nobody waits for the one before any more")


async def requests_are_shared_between_servers(make: BrokerMaker) -> None:
    one, other = Server(), Server()
    async with make() as storage, storage.client() as broker:
        one.may_answer.clear()
        other.may_answer.clear()
        async with broker.serve_rpc(one.answer), broker.serve_rpc(other.answer):
            bodies = [str(number).encode() for number in range(2 * RPC_AT_ONCE)]
            replies = asyncio.gather(*(_reply(broker, body) for body in bodies))
            await eventually(lambda: one.under_way == other.under_way == RPC_AT_ONCE, "each carries some out")
            one.may_answer.set()
            other.may_answer.set()
            assert await replies == [b"re: " + body for body in bodies]
            assert Counter(one.asked + other.asked) == Counter(bodies), "each request goes to one of them"


async def a_slow_request_holds_up_no_other(make: BrokerMaker) -> None:
    blocked = asyncio.Event()

    async def answer(request: RpcRequest) -> bytes:
        if request.body == b"slow":
            await blocked.wait()
        return request.body

    async with make() as storage, storage.client() as broker, broker.serve_rpc(answer):
        slow = asyncio.create_task(_reply(broker, b"slow"), name="slow call")
        for number in range(20):
            body = str(number).encode()
            assert await _reply(broker, body) == body
        assert not slow.done()
        blocked.set()
        assert await within_deadline(slow, "it is answered in the end") == b"slow"


async def what_fails_or_is_silent_ends_only_its_own_call(make: BrokerMaker) -> None:
    asked: list[bytes] = []

    async def answer(request: RpcRequest) -> bytes | None:
        asked.append(request.body)
        if request.body == b"fail":
            raise ValueError("meant")
        return None if request.body == b"silent" else request.body

    async with make() as storage, storage.client() as broker, broker.serve_rpc(answer):
        for body in (b"fail", b"silent"):
            calling = asyncio.create_task(broker.call(body, DEADLINE_S), name="call without a reply")
            await eventually(lambda body=body: body in asked, "it is carried out")  # type: ignore[misc]  # bound here
            assert await _reply(broker, b"fine") == b"fine"
            assert not calling.done(), f"nobody was to answer {body!r}"
            calling.cancel()
            await asyncio.wait([calling])
        assert asked == [b"fail", b"fine", b"silent", b"fine"], "what was carried out is not carried out again"


async def a_caller_that_goes_away_holds_nobody_up(make: BrokerMaker) -> None:
    server = Server()
    server.may_answer.clear()
    async with make() as storage, storage.client() as broker, broker.serve_rpc(server.answer):
        leaving = [asyncio.create_task(_reply(broker, b"leaving"), name="leaving") for _ in range(RPC_AT_ONCE)]
        await eventually(lambda: server.under_way == RPC_AT_ONCE, "all are carried out")
        for call in leaving:
            call.cancel()
        await asyncio.wait(leaving)
        server.may_answer.set()
        assert await _reply(broker, b"staying") == b"re: staying", "replies that nobody takes are dropped"


async def leaving_answers_what_is_under_way(make: BrokerMaker) -> None:
    server = Server()
    server.may_answer.clear()
    async with make() as storage, storage.client() as broker:
        async with broker.serve_rpc(server.answer):
            calling = asyncio.create_task(_reply(broker, b"last"), name="last call")
            await eventually(lambda: server.under_way == 1, "it is carried out")
            asyncio.get_running_loop().call_later(GIVES_UP_AFTER_S / 2, server.may_answer.set)
        assert await within_deadline(calling, "who left finished it") == b"re: last"
        await _assert_no_reply(broker, b"after the last")
        assert server.asked == [b"last"], "who left is asked no more"


RPC_CHECKS: tuple[RpcCheck, ...] = (
    a_call_gets_its_reply_unchanged,
    each_caller_gets_its_own_reply,
    a_request_names_its_id_and_none_twice,
    a_request_waits_for_a_server,
    a_request_whose_time_is_over_is_not_carried_out,
    requests_are_shared_between_servers,
    a_slow_request_holds_up_no_other,
    what_fails_or_is_silent_ends_only_its_own_call,
    a_caller_that_goes_away_holds_nobody_up,
    leaving_answers_what_is_under_way,
)


async def check_rpc(make: BrokerMaker) -> None:
    """Runs every check, one after the other. Raises `AssertionError` at the first broken promise."""
    for check in RPC_CHECKS:
        await check(make)


async def _reply(broker: Broker, body: bytes) -> bytes:
    return await within_deadline(broker.call(body, DEADLINE_S), "a call is answered")


async def _assert_no_reply(broker: Broker, body: bytes, gives_up_after_s: float = GIVES_UP_AFTER_S) -> None:
    try:
        reply = await broker.call(body, gives_up_after_s)
    except BrokerUnavailable:
        return
    raise AssertionError(f"nobody was to answer, but {reply!r} came")
