"""The hub source against a hub on the loopback interface, in processes of their own: HF_ENDPOINT is read once."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dataset.hub_server import COMMIT, Hub, running
from tests.dataset.shards import make_rows, write_shards

_PROGRAM = """
import json, sys
import huggingface_hub.constants
from pathlib import Path
from phi_assets.dataset import hub
from phi_assets.dataset.source import fetch_split, latest_revision
from phi_assets.recipe import DatasetSection
# The client keeps whole pieces of this size; what a test can afford to download is smaller than its own.
huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 1000
hub._FIRST_WAIT_SECONDS = 0.01
hub._LONGEST_WAIT_SECONDS = 0.1
data_dir, calls = json.load(sys.stdin)
answers = []
for split, section in calls:
    section, log = DatasetSection(**section), []
    try:
        answer = latest_revision(section)
        if split:
            answer = fetch_split(section, split, Path(data_dir), log.append).model_dump()
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    answers.append({"answer": answer, "log": log, "datasets": "datasets" in sys.modules})
print(json.dumps(answers))
"""

CARD = """---
configs:
- config_name: default
  data_files:
  - split: train_sft
    path: data/train_sft-*
  - split: test_sft
    path: data/test_sft-*
---
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "repository"
    write_shards(folder, "train_sft", make_rows(300, seed=1), shards=3)
    write_shards(folder, "test_sft", make_rows(40, seed=2))
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    with running(Hub(folder)) as hub:
        yield hub


def call(hub_url: str, data_dir: Path, *calls: tuple[str, dict[str, str]], **env: str) -> list[dict[str, Any]]:
    """What `fetch_split(section, split, ...)` answers for each call (`latest_revision` where no split is named)."""
    program = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps([str(data_dir), [(split, {"repo": "owner/chat", **section}) for split, section in calls]]),
        env={
            **os.environ,
            "HF_ENDPOINT": hub_url,
            "HF_HOME": str(data_dir / "hf-home"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            **env,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert program.returncode == 0, program.stderr
    return json.loads(program.stdout.splitlines()[-1])


def test_fetches_one_split_pins_it_and_never_downloads_it_again(hub: Hub, tmp_path: Path) -> None:
    (first,) = call(hub.url, tmp_path / "data", ("train_sft", {"revision": "main"}))
    ref = first["answer"]
    assert ref["rows"] == 300
    assert ref["source"] == f"owner/chat@{COMMIT}"
    assert [Path(file).name for file in ref["files"]] == [f"train_sft-0000{n}-of-00003.parquet" for n in range(3)]
    assert all(Path(file).is_relative_to(tmp_path / "data") for file in ref["files"])
    assert hub.downloads() == [Path(file).name for file in ref["files"]]

    hub.requests.clear()
    pinned, other_split = call(
        hub.url, tmp_path / "data", ("train_sft", {"revision": COMMIT}), ("test_sft", {"revision": COMMIT})
    )
    assert pinned["answer"] == ref
    assert other_split["answer"]["rows"] == 40
    assert hub.downloads() == ["test_sft-00000-of-00001.parquet"]
    assert not other_split["datasets"], "which files a split has is known from the first call"

    hub.requests.clear()
    (offline,) = call(hub.url, tmp_path / "data", ("train_sft", {"revision": COMMIT}), HF_HUB_OFFLINE="1")
    assert offline["answer"] == ref
    assert hub.requests == []


def test_same_content_has_the_same_hash_wherever_it_comes_from(hub: Hub, tmp_path: Path) -> None:
    from_hub, local = call(
        hub.url,
        tmp_path / "data",
        ("train_sft", {"revision": COMMIT}),
        ("train_sft", {"source": "local", "path": str(hub.folder)}),
    )
    assert from_hub["answer"]["sha256"] == local["answer"]["sha256"]


def test_latest_revision_is_the_commit_of_the_branch(hub: Hub, tmp_path: Path) -> None:
    (branch,) = call(hub.url, tmp_path, ("", {"revision": "main"}))
    assert branch["answer"] == COMMIT
    assert not branch["datasets"]


def test_mistakes_are_explained_and_not_tried_again(hub: Hub, tmp_path: Path) -> None:
    calls = {
        "owner/nothing": ("", {"repo": "owner/nothing", "revision": "main"}),
        "'v9'": ("", {"revision": "v9"}),
        "owner/gated is gated": ("", {"repo": "owner/gated", "revision": "main"}),
        "<owner>/<name>": ("", {"repo": "not a repository", "revision": "main"}),
        "no split 'validation': there are test_sft, train_sft": ("validation", {"revision": COMMIT}),
        "no revision": ("train_sft", {"revision": "f" * 40}),
    }
    answers = call(hub.url, tmp_path, *calls.values())
    for expected, answer in zip(calls, answers, strict=True):
        assert answer["answer"].startswith("DatasetError: ")
        assert expected in answer["answer"]
    assert hub.requests.count("GET /api/datasets/owner/nothing/revision/main") == 1


def test_a_busy_hub_is_asked_again(hub: Hub, tmp_path: Path) -> None:
    hub.unavailable = 2
    (branch,) = call(hub.url, tmp_path, ("", {"revision": "main"}))
    assert branch["answer"] == COMMIT
    assert len(hub.requests) == 3


def test_a_download_that_breaks_is_resumed(hub: Hub, tmp_path: Path) -> None:
    hub.cut = 1
    (fetched,) = call(hub.url, tmp_path, ("test_sft", {"revision": COMMIT}))
    size = (hub.folder / "data" / "test_sft-00000-of-00001.parquet").stat().st_size
    assert fetched["answer"]["rows"] == 40
    assert hub.ranges == [f"bytes={size // 2 // 1000 * 1000}-"]


def test_an_unreachable_hub_is_one_clear_message(tmp_path: Path) -> None:
    answers = call("http://127.0.0.1:9", tmp_path, ("", {"revision": "main"}), ("train_sft", {"revision": COMMIT}))
    for answer in answers:
        assert answer["answer"].startswith("DatasetError: http://127.0.0.1:9 cannot be reached")
        assert "`source: local`" in answer["answer"]


def test_offline_without_a_download_says_so(hub: Hub, tmp_path: Path) -> None:
    (answer,) = call(hub.url, tmp_path, ("train_sft", {"revision": "main"}), HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE" in answer["answer"]
    assert hub.requests == []


def test_a_mirror_that_serves_another_commit_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.served_commit = "e" * 40
    (answer,) = call(hub.url, tmp_path, ("test_sft", {"revision": COMMIT}))
    assert "another revision" in answer["answer"]
    assert COMMIT in answer["answer"]
