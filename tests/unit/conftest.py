"""What several unit tests begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.issuer import LocalIssuer, local_issuer


@pytest.fixture
def issuer() -> Iterator[LocalIssuer]:
    """An issuer of OpenID Connect, for one test."""
    with local_issuer() as running:
        yield running
