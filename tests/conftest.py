"""Fixtures that all tests share: real servers, started when the first test asks, and a clean environment."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from infra.local.servers import MongoServer, RabbitServer, running

# Before anything reads settings: a developer's own CARILLON_* must not decide what a test finds.
for _name in [name for name in os.environ if name.upper().startswith("CARILLON_")]:
    del os.environ[_name]

# In the background of a shell Ctrl-C is ignored, and whatever is started from here would ignore it, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitServer]:
    """One RabbitMQ for the session: take a namespace of your own. Whoever stops it starts it again."""
    with running(RabbitServer) as server:
        yield server


@pytest.fixture(scope="session")
def mongodb() -> Iterator[MongoServer]:
    """One mongod for the session: take a database of your own. Whoever stops it starts it again."""
    with running(MongoServer) as server:
        yield server


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Commands send logs, at a level of theirs, to the standard error that they run under, which ends with the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


# How long an example takes is the machine's affair, and not what a property says. The same examples each time: a new
# one that fails is found by who looks for it (`pytest --hypothesis-profile exploring`), and not by who changed a word.
settings.register_profile("exploring", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("carillon", settings.get_profile("exploring"), derandomize=True)
settings.load_profile("carillon")
