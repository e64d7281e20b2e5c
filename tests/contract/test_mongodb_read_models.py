"""Read models on a real MongoDB: the common promises, and what only this adapter can get wrong."""

from __future__ import annotations

from functools import partial

import pytest

from infra.local.servers import MongoServer
from shared.conformance.folding import FOLDING_CHECKS
from shared.conformance.read_models import READ_MODELS_CHECKS, ReadModelsCheck
from shared.model.settings import Settings
from shared.mongo.throwaway import throwaway_read_models

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("check", [*READ_MODELS_CHECKS, *FOLDING_CHECKS], ids=lambda check: check.__name__)
async def test_promise(check: ReadModelsCheck, mongodb: MongoServer) -> None:
    await check(partial(throwaway_read_models, Settings.load(mongo_url=mongodb.url, backend_timeout_s=20.0)))
