"""The programs of examples/ against whole platforms: what their README tells to run, both ways, and through a break."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
import pytest_asyncio

from infra.local.servers import RabbitServer
from shared.model.entry import Entry
from shared.wiring.log_only import open_log
from tests.eventually import WITHIN_S, answered
from tests.harness.platform import DevPlatform, FourServices, Platform
from tests.harness.programs import commands_of_the_readme, ended, run, start
from tests.harness.shared import bare_services

pytestmark = pytest.mark.servers

ENDINGS = {"workflow.completed", "workflow.failed", "workflow.cancelled", "job.completed", "job.failed"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dev(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevPlatform]:
    async with await DevPlatform(tmp_path_factory.mktemp("dev")).start() as platform:
        yield platform


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def services(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FourServices]:
    async with bare_services(request, tmp_path_factory) as platform:
        yield platform


def env_of(platform: Platform) -> dict[str, str]:
    return {"CARILLON_URL": platform.ingest_url, "CARILLON_KEY": platform.producer_key}


async def streams_of(platform: Platform, subjects: Sequence[str]) -> dict[str, list[Entry]]:
    """The entries of each of these streams, once all have ended."""

    async def look() -> dict[str, list[Entry]]:
        _, entries = await platform.entries()
        found = {subject: [entry for entry in entries if entry.subject == subject] for subject in subjects}
        assert all(stream and stream[-1].type in ENDINGS for stream in found.values())
        return found

    return await answered(look, AssertionError)


def merged(stream: Sequence[Entry]) -> dict[str, Any]:
    """The state of a stream, as RFC 7396 makes it of its events' data."""
    state: dict[str, Any] = {}
    for entry in stream:
        _merge(state, json.loads(entry.event)["data"])
    return state


def _merge(state: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for name, value in patch.items():
        if isinstance(value, dict):
            kept = state.setdefault(name, {})
            _merge(kept, value)
        elif value is None:
            state.pop(name, None)
        else:
            state[name] = value


def check_stream(stream: Sequence[Entry]) -> None:
    """One beginning, one end, and everything in between once."""
    assert [entry.version for entry in stream] == list(range(1, len(stream) + 1))
    assert [entry.final for entry in stream] == [False] * (len(stream) - 1) + [True]
    assert len({entry.id for entry in stream}) == len(stream)


async def test_what_the_readme_tells_to_run_runs(dev: DevPlatform) -> None:
    commands = [command for command in commands_of_the_readme() if "--amqp" not in command]
    assert len(commands) >= 6
    # As written, but that nobody watches.
    programs = await asyncio.gather(*(run([*command, "--pace", "0"], env_of(dev)) for command in commands))
    assert all(program.status in (0, 1) for program in programs), [program.output for program in programs]
    subjects = [subject for program in programs for subject in program.subjects]
    for stream in (await streams_of(dev, subjects)).values():
        check_stream(stream)


async def test_both_ways_tell_the_same(services: FourServices, rabbitmq: RabbitServer) -> None:
    """The same seed by HTTP and by AMQP comes to the same states."""
    programs = (
        ["examples.workflow", "release", "--seed", "8", "--pace", "0.01"],
        ["examples.job_worker", "--exports", "2", "--seed", "5", "--pace", "0.01"],
    )
    for arguments in programs:
        states = []
        for way in ([], by_amqp(services, rabbitmq)):
            program = await run([*arguments, *way], env_of(services))
            assert program.status in (0, 1), program.output
            streams = await streams_of(services, program.subjects)
            for stream in streams.values():
                check_stream(stream)
                assert all(entry.audience == ("user:alice",) for entry in stream)
            states.append([comparable(merged(stream)) for stream in streams.values()])
        assert states[0] == states[1]


def comparable(state: dict[str, Any]) -> dict[str, Any]:
    """Without what depends on how fast it went."""
    return {name: value for name, value in state.items() if name not in ("message", "progress")}


async def grown(services: FourServices, events: int) -> None:
    """Returns once the log holds so many more events."""
    async with open_log(services.settings) as event_log:
        goal = (await event_log.head()).last + events

        async def look() -> None:
            assert (await event_log.head()).last >= goal

        await answered(look, AssertionError)


def by_amqp(services: FourServices, rabbitmq: RabbitServer) -> list[str]:
    """Has a program publish by AMQP."""
    return ["--amqp", rabbitmq.url, "--namespace", services.settings.namespace]


async def test_a_break_in_the_middle_leaves_no_gap_and_no_repeat(
    services: FourServices, rabbitmq: RabbitServer
) -> None:
    """Ingest and persister are killed while two programs tell of their runs by HTTP, and two by AMQP."""
    arguments = [
        [*program, *way]
        for program in (
            ["examples.workflow", "release", "--seed", "8", "--pace", "0.15"],
            ["examples.job_worker", "--exports", "3", "--seed", "5", "--pace", "0.3"],
        )
        for way in ([], by_amqp(services, rabbitmq))
    ]
    running = [await start(each, env_of(services)) for each in arguments]
    first = [await asyncio.wait_for(process.stdout.readline(), WITHIN_S) for process in running if process.stdout]
    await grown(services, 2 * len(running))
    for service in (services.ingests[0], services.persisters[0]):
        service.kill()
        service.start()
    programs = [await ended(process) for process in running]
    assert all(program.status in (0, 1) for program in programs), programs
    subjects = [subject for line in first for subject in line.decode().partition(", to ")[0].split(", ")]
    assert len(subjects) == 8
    for stream in (await streams_of(services, subjects)).values():
        check_stream(stream)


async def test_a_run_that_is_stopped_ends_its_stream(dev: DevPlatform) -> None:
    # So slowly that none of its steps is over before the signal comes.
    running = await start(["examples.workflow", "release", "--id", "stopped", "--pace", "30"], env_of(dev))
    assert running.stdout is not None
    while b"checkout: running" not in await asyncio.wait_for(running.stdout.readline(), WITHIN_S):
        pass
    running.send_signal(signal.SIGINT)
    assert (await ended(running)).status == 130
    (stream,) = (await streams_of(dev, ["workflow/release-stopped"])).values()
    check_stream(stream)
    assert stream[-1].type == "workflow.cancelled"
    # On a busy machine a step may end before the signal comes.
    statuses = {about["status"] for about in merged(stream)["steps"].values()}
    assert {"cancelled"} <= statuses <= {"cancelled", "completed"}


async def test_a_producer_that_is_refused_says_why(dev: DevPlatform) -> None:
    wrong = env_of(dev) | {"CARILLON_KEY": "wrong"}
    for arguments in (["examples.workflow", "release", "--pace", "0"], ["examples.job_worker", "--pace", "0"]):
        program = await run(arguments, wrong)
        assert program.status == 2
        assert "nobody has this key" in program.output
        assert "Traceback" not in program.output
