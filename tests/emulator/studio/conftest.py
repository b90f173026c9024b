"""Studio as a browser asks it, without a browser."""

from collections.abc import Iterator

import httpx
import pytest

from phi_assets.emulator.process import Connection
from tests.emulator import testing_registry
from tests.emulator.jobs import Jobs, connected


@pytest.fixture
def studio(emulator: Connection) -> Iterator[httpx.Client]:
    """A client of Studio that has no credential and follows no link."""
    with httpx.Client(base_url=emulator.studio_url, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def jobs(emulator: Connection) -> Iterator[Jobs]:
    """Jobs of trivial components."""
    testing_registry.install(emulator.directory)
    with connected(emulator) as connection:
        yield connection
