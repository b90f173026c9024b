"""Studio as a browser asks it, without a browser."""

from collections.abc import Iterator

import httpx
import pytest

from phi_assets.emulator.process import Connection


@pytest.fixture
def studio(emulator: Connection) -> Iterator[httpx.Client]:
    """A client of Studio that has no credential and follows no link."""
    with httpx.Client(base_url=emulator.studio_url, trust_env=False, timeout=30) as client:
        yield client
