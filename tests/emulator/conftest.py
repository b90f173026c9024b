"""Jobs of trivial components, for all who look at what becomes of jobs."""

from collections.abc import Iterator

import pytest

from phi_assets.emulator.process import Connection
from tests.emulator import testing_registry
from tests.emulator.jobs import Jobs, connected


@pytest.fixture(scope="module")
def jobs(emulator: Connection) -> Iterator[Jobs]:
    """The workspace's jobs, which may run the components of the registry `testing`."""
    testing_registry.install(emulator.directory)
    with connected(emulator) as connection:
        yield connection
