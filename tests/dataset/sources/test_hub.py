"""The hub source against a hub on the loopback interface, in processes of their own: HF_ENDPOINT is read once."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from phi_assets.config.settings import PROJECT_ROOT
from tests.dataset.shards import make_rows, write_shards
from tests.dataset.sources.hub_server import ALWAYS, COMMIT, Hub, Weather, running


def card(**configurations: dict[str, str]) -> str:
    """A README that says which files are which split of which configuration."""
    configs = [
        {"config_name": name, "data_files": [{"split": split, "path": path} for split, path in splits.items()]}
        for name, splits in configurations.items()
    ]
    return f"---\n{yaml.safe_dump({'configs': configs})}---\n"


CARD = card(default={"train_sft": "data/train_sft-*", "test_sft": "data/test_sft-*"})


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "repository"
    write_shards(folder, "train_sft", make_rows(300, seed=1), shards=3)
    write_shards(folder, "test_sft", make_rows(40, seed=2))
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    with running(Hub(folder)) as hub:
        yield hub


@pytest.fixture(scope="module", autouse=True)
def template() -> Iterator[subprocess.Popen[str]]:
    """The process whose copies answer the calls."""
    command = [sys.executable, "-m", "tests.dataset.sources.hub_template"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT
    ) as program:
        _TEMPLATE.append(program)
        yield program
        _TEMPLATE.clear()
        assert program.stdin is not None
        program.stdin.close()


_TEMPLATE: list[subprocess.Popen[str]] = []


def call(
    hub_url: str,
    data_dir: Path,
    *calls: tuple[str, dict[str, Any]],
    attempts: int = 4,
    env: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """What `fetch_split(section, split, ...)` answers for each call: `latest_revision` where no split is named, and a
    look at the first rows for the split `look`, and the tokenizer of the repository for `tokenizer`."""
    (program,) = _TEMPLATE
    assert program.stdin is not None
    assert program.stdout is not None
    request = {
        "attempts": attempts,
        "data_dir": str(data_dir),
        "calls": [(split, {"repo": "owner/chat", **section}) for split, section in calls],
        "env": {
            "HF_ENDPOINT": hub_url,
            "HF_HOME": str(data_dir / "hf-home"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            **(env or {}),
        },
    }
    program.stdin.write(json.dumps(request) + "\n")
    program.stdin.flush()
    answers = json.loads(program.stdout.readline())
    assert answers is not None, "the process has died"
    return answers


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
    (offline,) = call(hub.url, tmp_path / "data", ("train_sft", {"revision": COMMIT}), env=OFFLINE)
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


def test_no_signature_of_an_address_is_written_into_the_log(hub: Hub) -> None:
    program = """
import logging, sys
from huggingface_hub import get_session
from phi_assets.dataset.sources.hub_client import ask
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
ask(lambda: get_session().get(sys.argv[1]), "owner/chat", "main", None, print)
"""
    address = f"{hub.url}/api/datasets/owner/chat?X-Amz-Expires=60&X-Amz-Signature="
    said = subprocess.run(
        [sys.executable, "-c", program, f"{address}c4n4ry"],
        env={**os.environ, "HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"GET {address}***" in said
    assert "c4n4ry" not in said


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
    hub.weather = [Weather("unavailable", times=2)]
    (branch,) = call(hub.url, tmp_path, ("", {"revision": "main"}))
    assert branch["answer"] == COMMIT
    assert len(hub.requests) == 3


def test_a_hub_that_stays_busy_is_asked_four_times(hub: Hub, tmp_path: Path) -> None:
    hub.weather = [Weather("unavailable", times=ALWAYS)]
    (answer,) = call(hub.url, tmp_path, ("", {"revision": "main"}))
    assert answer["answer"].startswith(f"DatasetError: {hub.url} cannot be reached for owner/chat@main")
    assert "503" in answer["answer"]
    assert len(hub.requests) == 4


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
    (answer,) = call(hub.url, tmp_path, ("train_sft", {"revision": "main"}), env=OFFLINE)
    assert "HF_HUB_OFFLINE" in answer["answer"]
    assert hub.requests == []


OFFLINE = {"HF_HUB_OFFLINE": "1"}
SHORT = {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_ETAG_TIMEOUT": "1"}
STAGES = {
    "which commit": "GET /api/datasets/owner/chat/revision",
    "the card": "HEAD .*README",
    "which files": "GET .*/tree/",
    "the size of a file": "HEAD .*/data/",
    "a file": "GET .*/data/",
}


def test_every_question_may_be_refused_once_and_the_pause_is_kept(hub: Hub, tmp_path: Path) -> None:
    hub.weather = [Weather("limited", where) for where in STAGES.values()]
    (fetched,) = call(hub.url, tmp_path, ("test_sft", {"revision": COMMIT}), attempts=6)
    assert fetched["answer"]["rows"] == 40
    assert all(weather.times == 0 for weather in hub.weather)
    assert hub.impatient == []
    assert any("429" in line and line.endswith("asking the hub again in 1 s") for line in fetched["log"])


@pytest.mark.parametrize("retry_after", ["2", '"api";r=0;t=2'])
def test_the_hub_says_how_long_to_wait(hub: Hub, tmp_path: Path, retry_after: str) -> None:
    hub.weather = [Weather("limited", retry_after=retry_after)]
    (answer,) = call(hub.url, tmp_path, ("", {"revision": "main"}))
    assert answer["answer"] == COMMIT
    assert hub.impatient == []


@pytest.mark.parametrize("retry_after", ["61", formatdate(4102444800, usegmt=True)])
def test_nobody_waits_longer_than_they_can(hub: Hub, tmp_path: Path, retry_after: str) -> None:
    hub.weather = [Weather("limited", retry_after=retry_after)]
    (answer,) = call(hub.url, tmp_path, ("", {"revision": "main"}))
    assert "limits how often it is asked" in answer["answer"]
    assert len(hub.requests) == 1


def test_a_limit_that_stays_is_one_clear_message(hub: Hub, tmp_path: Path) -> None:
    hub.weather = [Weather("limited", times=ALWAYS, retry_after="3600")]
    (answer,) = call(hub.url, tmp_path, ("train_sft", {"revision": COMMIT}))
    assert "is over the limit: it asks to wait 3,600 s. Run again later, set HF_TOKEN" in answer["answer"]
    assert len(hub.requests) == 1


@pytest.mark.slow
def test_every_question_may_go_unanswered_once(hub: Hub, tmp_path: Path) -> None:
    hub.weather = [Weather("silent", where) for where in STAGES.values()] + [Weather("stalled", STAGES["a file"])]
    (fetched,) = call(hub.url, tmp_path, ("test_sft", {"revision": COMMIT}), env=SHORT)
    assert fetched["answer"]["rows"] == 40
    assert all(weather.times == 0 for weather in hub.weather)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_silent_hub_is_one_clear_message(hub: Hub, tmp_path: Path, stage: str) -> None:
    hub.weather = [Weather("silent", STAGES[stage], ALWAYS)]
    (answer,) = call(hub.url, tmp_path, ("test_sft", {"revision": COMMIT}), attempts=2, env=SHORT)
    assert answer["answer"].startswith(f"DatasetError: {hub.url} cannot be reached for owner/chat@{COMMIT}")
    assert not list(tmp_path.glob("hub/splits/*.json")) or stage in ("the size of a file", "a file"), (
        "a wrong answer would be final"
    )


@pytest.mark.slow
def test_a_file_that_always_breaks_off_is_one_clear_message(hub: Hub, tmp_path: Path) -> None:
    hub.weather = [Weather("stalled", STAGES["a file"], ALWAYS)]
    (answer,) = call(hub.url, tmp_path, ("test_sft", {"revision": COMMIT}), attempts=2, env=SHORT)
    assert "broken off 5 times at the same place" in answer["answer"]
    assert not list(tmp_path.glob("hub/**/*.parquet"))


def test_a_card_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    write_shards(folder, "train_sft", make_rows(3, seed=1))
    write_shards(folder, "test_sft", make_rows(4, seed=2))
    # Its names are the wrong way round, so that it shows whether it was read.
    wrong = card(default={"train_sft": "data/test_sft-*", "test_sft": "data/train_sft-*"})
    (folder / "README.md").write_text(wrong, encoding="utf-8")
    with running(Hub(folder, weather=[Weather("unavailable", "HEAD .*README", times=2)])) as hub:
        (fetched,) = call(hub.url, tmp_path / "data", ("test_sft", {"revision": COMMIT}))
    assert fetched["answer"]["rows"] == 3


def test_a_mirror_that_serves_another_commit_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.served_commit = "e" * 40
    (answer,) = call(hub.url, tmp_path, ("test_sft", {"revision": COMMIT}))
    assert f"another revision of owner/chat than {COMMIT}: {'e' * 40}" in answer["answer"]
    assert len(hub.requests) == 4


@pytest.mark.parametrize("where", ["HEAD .*/data/", "GET .*/data/", "HEAD .*README"])
def test_a_file_of_another_commit_is_refused(hub: Hub, tmp_path: Path, where: str) -> None:
    hub.weather = [Weather("other commit", where, ALWAYS)]
    (answer,) = call(hub.url, tmp_path, ("test_sft", {"revision": COMMIT}), attempts=2)
    assert f"another revision of owner/chat than {COMMIT}: {'e' * 40}" in answer["answer"]
    assert "HF_ENDPOINT" in answer["answer"]
    assert not list(tmp_path.glob("hub/**/*.parquet"))
    hub.weather = [Weather("other commit", where, times=2)]
    (answer,) = call(hub.url, tmp_path, ("test_sft", {"revision": COMMIT}))
    assert answer["answer"]["rows"] == 40, "a mirror that catches up is good enough"


SHAREGPT = [
    {"conversations": [{"from": "human", "value": f"question {n}\u2028"}, {"from": "gpt", "value": f"answer {n}"}]}
    for n in range(25)
]
SPLITS = {"splits": {"train_sft": "train"}}


def sharegpt_repository(folder: Path, ending: str) -> None:
    """`data/train.<ending>` holds the conversations."""
    file = folder / "data" / f"train.{ending}"
    file.parent.mkdir(parents=True)
    table = pa.Table.from_pylist(SHAREGPT)
    if ending == "parquet":
        pq.write_table(table, file)
    elif ending == "arrow":
        with pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    else:
        with pa.output_stream(file, compression="gzip" if ending.endswith("gz") else None) as lines:
            lines.write(b"\n".join(map(orjson.dumps, SHAREGPT)))


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "jsonl.gz", "arrow"])
def test_what_is_not_in_the_schema_is_converted_once_and_works_offline(tmp_path: Path, ending: str) -> None:
    sharegpt_repository(tmp_path / "repository", ending)
    section = {"revision": COMMIT, **SPLITS}
    with running(Hub(tmp_path / "repository")) as hub:
        (first,) = call(hub.url, tmp_path / "data", ("train_sft", section))
        assert first["answer"]["rows"] == 25, first["answer"]
        assert first["answer"]["source"] == f"owner/chat@{COMMIT}"
        assert hub.downloads() == [f"train.{ending}"]
    (shard,) = first["answer"]["files"]
    assert Path(shard).is_relative_to(tmp_path / "data" / "converted")
    row = pq.read_table(shard).to_pylist()[3]
    assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
    assert row["prompt"] == "question 3\u2028"
    assert any("Converted 25 rows" in line for line in first["log"])

    for url, env in (("http://127.0.0.1:9", {}), (hub.url, OFFLINE)):
        (again,) = call(url, tmp_path / "data", ("train_sft", section), env=env)
        assert again["answer"] == first["answer"]
        assert not any("Converted" in line for line in again["log"])
        assert not again["datasets"]


def test_text_that_is_no_conversation_says_what_is_needed(tmp_path: Path) -> None:
    (tmp_path / "repository" / "data").mkdir(parents=True)
    (tmp_path / "repository" / "data" / "train.txt").write_text("once upon a time\n", encoding="utf-8")
    with running(Hub(tmp_path / "repository")) as hub:
        (answer,) = call(hub.url, tmp_path / "data", ("train_sft", {"revision": COMMIT, **SPLITS}))
    assert "train.txt has the columns text" in answer["answer"]
    assert "sharegpt needs conversations" in answer["answer"]


def test_an_archive_of_json_is_read_and_what_datasets_cannot_read_is_said(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    archive = tmp_path / "archive"
    archive.mkdir()
    with tarfile.open(archive / "train.tar", "w") as tar:
        for number in range(3):
            content = orjson.dumps(row)
            member = tarfile.TarInfo(f"{number:05d}.json")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with running(Hub(archive)) as hub:
        (read,) = call(hub.url, tmp_path / "data", ("train_sft", {}))
    assert (read["answer"]["rows"], read["answer"]["not_carried"]) == (3, {})
    script = tmp_path / "script"
    script.mkdir()
    (script / "chat.py").write_text("import datasets\n", encoding="utf-8")
    with running(Hub(script)) as hub:
        (refused,) = call(hub.url, tmp_path / "other", ("train_sft", {}))
    assert "scripts are no longer supported, but found chat.py); use `source: local`" in refused["answer"]
    named = tmp_path / "named"
    (named / "data").mkdir(parents=True)
    (named / "data" / "train.json").write_bytes(orjson.dumps({"version": 1, "data": [row] * 4}))
    with running(Hub(named)) as hub:
        (read,) = call(hub.url, tmp_path / "third", ("train_sft", {"splits": {"train_sft": "train"}}))
        assert (read["answer"]["rows"], read["answer"]["not_carried"]) == (4, {})
        (named / "README.md").write_text(card(default={"train-v1": "data/train.json"}), encoding="utf-8")
        (refused,) = call(hub.url, tmp_path / "fourth", ("train_sft", {"splits": {"train_sft": "train-v1"}}))
    assert "names splits that `datasets` does not take" in refused["answer"]
    assert "train-v1. Download the repository and use `source: local`" in refused["answer"]


def test_no_room_for_a_download_is_one_clear_message(hub: Hub, tmp_path: Path) -> None:
    call(hub.url, tmp_path, ("test_sft", {"revision": COMMIT}))
    (answer,) = call(hub.url, tmp_path, ("train_sft", {"revision": COMMIT}), env={"LARGEST_FILE": "2000"})
    assert answer["answer"].startswith(f"DatasetError: The disk that holds {tmp_path / 'hub'} is full")
    assert len(hub.downloads()) == 2, "more attempts make no more room"


def test_a_configuration_can_be_chosen(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    write_shards(folder / "small", "train_sft", make_rows(3, seed=1))
    write_shards(folder / "large", "train_sft", make_rows(5, seed=2))
    both = card(small={"train_sft": "small/data/*"}, large={"train_sft": "large/data/*"})
    (folder / "README.md").write_text(both, encoding="utf-8")
    calls = [("train_sft", {"revision": COMMIT, "config": name}) for name in ("small", "large", "huge", None)]
    with running(Hub(folder)) as hub:
        small, large, huge, neither = (answer["answer"] for answer in call(hub.url, tmp_path / "data", *calls))
    assert (small["rows"], large["rows"]) == (3, 5)
    assert "no configuration 'huge': there are small, large" in huge
    assert "several configurations (small, large): choose one in the recipe's dataset.config" in neither


def test_the_first_rows_are_looked_at_and_no_file_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    (looked,) = call(hub.url, tmp_path / "data", ("look", {"revision": "main"}))
    found = looked["answer"]
    assert (found["problems"], found["warnings"]) == ([], [])
    # By the first of the files.
    assert re.match(r"about (299|300|301) rows in 3 file\(s\)", found["splits"]["train_sft"])
    assert (
        "format messages (columns prompt, prompt_id, messages); of the first 100 rows 100 keep the contract"
        in (found["splits"]["train_sft"])
    )
    assert found["splits"]["test_sft"].startswith("40 rows in 1 file(s)")
    # Pieces were asked for, and no whole file.
    assert hub.ranges
    assert len(hub.ranges) == len(hub.downloads())
    assert not list((tmp_path / "data" / "hub").glob("datasets--*/blobs/*"))
    # What has been downloaded is not asked for again.
    call(hub.url, tmp_path / "data", ("train_sft", {"revision": COMMIT}))
    hub.requests.clear()
    (again,) = call(hub.url, tmp_path / "data", ("look", {"revision": COMMIT}))
    assert again["answer"]["splits"]["train_sft"] == found["splits"]["train_sft"]
    assert {name.partition("-")[0] for name in hub.downloads()} == {"test_sft"}


def test_of_lines_on_the_hub_the_beginning_is_read(tmp_path: Path) -> None:
    rows = [{"messages": row["messages"], "mood": "good"} for row in make_rows(5000, seed=7, words=400)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    assert len(text) > 5 << 20
    # What the end says is not known yet.
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "train.jsonl").write_text(f"{text}no JSON\n", encoding="utf-8")
    with running(Hub(tmp_path / "repository")) as hub:
        (looked,) = call(hub.url, tmp_path / "data", ("look", {"revision": COMMIT}))
    found = looked["answer"]
    assert (found["problems"], found["warnings"]) == ([], [])
    words = found["splits"]["train_sft"]
    counted = re.match(r"about ([\d,]+) rows in 1 file\(s\)", words)
    assert counted is not None
    assert int(counted[1].replace(",", "")) == pytest.approx(5000, rel=0.1)
    assert re.search(r"in no conversation are mood \(\d+ rows\)$", words)
    assert len(hub.ranges) <= 4


def test_what_stands_in_the_way_on_the_hub_is_told_by_the_first_rows(hub: Hub, tmp_path: Path) -> None:
    file = hub.folder / "data" / "test_sft-00000-of-00001.parquet"
    table = pq.read_table(file)
    pq.write_table(table.append_column("label", pa.array([True] * len(table))), file)
    (hub.folder / "data" / "train_sft-00000-of-00003.parquet").write_bytes(b"PAR1 and no more of it")
    (looked,) = call(hub.url, tmp_path, ("look", {"revision": COMMIT, "splits": {"train_gen": "nobody"}}))
    damaged, labelled, lacking = looked["answer"]["problems"]
    assert damaged.startswith("train_sft: data/train_sft-00000-of-00003.parquet cannot be read to its end")
    assert labelled.startswith(
        "test_sft, test_gen: data/test_sft-00000-of-00001.parquet, row 1 has label True: it says"
    )
    assert lacking.startswith(f"train_gen: owner/chat@{COMMIT} has no split 'nobody': there are test_sft, train_sft")


def test_a_models_tokenizer_is_fetched_once_and_what_cannot_be_had_is_said(hub: Hub, tmp_path: Path) -> None:
    (hub.folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    (fetched,) = call(hub.url, tmp_path, ("tokenizer", {}))
    assert fetched["answer"] == str(tmp_path / "tokenizers" / "owner--chat.json")
    assert Path(fetched["answer"]).read_text(encoding="utf-8") == "{}"
    assert fetched["log"] == []
    hub.requests.clear()
    (again,) = call(hub.url, tmp_path, ("tokenizer", {}))
    assert (again["answer"], hub.requests) == (fetched["answer"], [])
    gated, unknown = call(hub.url, tmp_path, ("tokenizer", {"repo": "owner/gated"}), ("tokenizer", {"repo": "a/b"}))
    assert gated["answer"] is unknown["answer"] is None
    assert "Tokens are estimated: the tokenizer of owner/gated could not be had (GatedRepoError" in gated["log"][0]
    # Once and no more: an estimate is not worth waiting for.
    hub.weather.append(Weather("unavailable", times=ALWAYS))
    hub.requests.clear()
    busy, again = call(hub.url, tmp_path, *[("tokenizer", {"repo": "owner/other"})] * 2)
    assert "could not be had" in busy["log"][0]
    assert again["log"] == busy["log"]
    assert len(hub.requests) == 1
