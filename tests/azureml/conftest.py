"""What running jobs need."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from phi_assets.azureml.connection.client import Workspace, connect_emulator
from phi_assets.emulator.process import Connection


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file that a job waits for; opened at the end, so that nothing is left waiting."""
    path = tmp_path / "gate"
    yield path
    path.touch()


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture(scope="session")
def impatient(toys: Workspace, emulator: Connection) -> Workspace:
    """A workspace whose SDK repeats nothing by itself, so that a single lost answer reaches this package."""
    ws = connect_emulator(emulator)
    ws._client_options["retry_total"] = 0
    return ws
