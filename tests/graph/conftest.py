"""What tests of recipes share whose data lies on a hub."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from phi_assets.config.dataset import SPLITS
from tests.dataset.shards import make_rows, write_shards
from tests.dataset.sources.hub_server import Hub, running


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that this process's client asks, with 20 rows in each split."""
    import datasets.config

    for seed, split in enumerate(SPLITS):
        write_shards(tmp_path / "repository", split, make_rows(20, seed))
    with running(Hub(tmp_path / "repository")) as hub:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
        yield hub
