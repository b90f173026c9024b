"""The toy registry beside the emulator's own."""

import pytest

from phi_assets.azureml.client import Workspace
from phi_assets.emulator.process import Connection
from tests.azureml.toys import write_registry


@pytest.fixture(scope="session")
def toys(emulator: Connection, workspace: Workspace) -> Workspace:
    """The workspace, with the registry `toys`."""
    write_registry(emulator.directory / "registry")
    return workspace
