"""Jobs without a server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from phi_assets.emulator.routes.parts import Parts
from tests.emulator import testing_registry


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """What jobs need, with `file.txt` in the default datastore."""
    parts = testing_registry.without_server(tmp_path / "emulator", scale=1000)
    (parts.emulator.blobs.root / "azureml-blobstore" / "file.txt").write_text("hello")
    yield parts
    parts.emulator.stopping.set()
    parts.runner.shutdown()
