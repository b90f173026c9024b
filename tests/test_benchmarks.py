"""The benchmarks' data set is what it says, and the benchmark itself works; nothing here judges a time."""

import json
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from phi_assets.emulator.process import Connection
from tests.azureml.toy_step import write_model
from tests.benchmarks import gpu, many_jobs, mixed_traffic, prepare, scoring, ultrachat
from tests.benchmarks.report import BenchmarkError
from tests.postgres import Server, needs_postgresql

SCALE = 0.002


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ultrachat")
    ultrachat.generate(directory, scale=SCALE)
    return directory


def _truth(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "truth.json").read_text(encoding="utf-8"))["splits"]


def _rows(directory: Path, split: str) -> Iterator[dict[str, Any]]:
    for shard in sorted((directory / "data").glob(f"{split}-*.parquet")):
        yield from pq.read_table(shard).to_pylist()


def _normalized(text: str) -> str:
    kept = (letter for letter in text.lower() if not letter.isspace())
    return "".join(letter for letter in kept if not unicodedata.category(letter).startswith("P"))


def _question(messages: list[dict[str, str]]) -> str | None:
    return next((message["content"] for message in messages if message["role"] == "user"), None)


def _is_complete(row: dict[str, Any]) -> bool:
    messages = row["messages"]
    if row["prompt"] is None or row["prompt_id"] is None or messages is None:
        return False
    return all(message and None not in message.values() for message in messages)


def _broken_alone(row: dict[str, Any], split: str) -> set[str]:
    """Rules that a row breaks by itself, read off it in the plainest way."""
    if not _is_complete(row):
        return {"schema"}
    messages = row["messages"]
    if not messages:
        return {"no_messages"}
    roles = [message["role"] for message in messages]
    dialogue = roles[1:] if roles[0] == "system" else roles
    contents = [message["content"] for message in messages]
    size = sum(len(content.encode()) for content in contents)
    # Far from the context's 4,096 tokens on either side, so that any way of counting agrees.
    assert not 3_700 < 0.214 * size < 6_000
    broken = {
        "roles": dialogue != (["user", "assistant"] * len(dialogue))[: len(dialogue)],
        "ending": split.endswith("_sft") and roles[-1] != "assistant",
        "empty_content": not all(content.strip() for content in contents),
        "prompt_mismatch": row["prompt"] != _question(messages),
        "too_long": 0.214 * size > 4_096,
    }
    return {rule for rule, is_broken in broken.items() if is_broken}


def _violations(directory: Path, split: str) -> dict[str, list[int]]:
    """Numbers of the rows that break each rule."""
    found: dict[str, list[int]] = defaultdict(list)
    against = [row for row in _rows(directory, split.replace("train_", "test_")) if split.startswith("train_")]
    test_ids = {row["prompt_id"] for row in against} - {None}
    test_texts = {_normalized(_question(row["messages"]) or "") for row in against if _is_complete(row)} - {""}
    ids, conversations = set(), set()
    for number, row in enumerate(_rows(directory, split)):
        broken = _broken_alone(row, split)
        if row["prompt_id"] in ids:
            broken.add("duplicate_id")
        if row["prompt_id"] in test_ids:
            broken.add("leaked_id")
        if row["messages"]:
            conversation = json.dumps(row["messages"])
            if conversation in conversations:
                broken.add("duplicate_conversation")
            conversations.add(conversation)
            if _is_complete(row) and _normalized(_question(row["messages"]) or "") in test_texts:
                broken.add("leaked_text")
        if row["prompt_id"] is not None:
            ids.add(row["prompt_id"])
        for rule in broken:
            found[rule].append(number)
    return found


@pytest.mark.parametrize("split", list(ultrachat.ROWS))
def test_the_truth_names_exactly_the_rows_that_break_each_rule(tiny: Path, split: str) -> None:
    known = _truth(tiny)[split]

    expected: dict[str, list[int]] = defaultdict(list)
    for kind in known["kinds"].values():
        for rule in kind["rules"]:
            expected[rule] += kind["rows"]

    assert _violations(tiny, split) == {rule: sorted(rows) for rule, rows in expected.items() if rows}
    assert {rule: len(rows) for rule, rows in expected.items()} == known["rules"]
    possible = {kind for kind, found in known["kinds"].items() if found["rows"]}
    missing = set(ultrachat.KINDS) - possible
    leaks = {"id_in_test", "text_in_test", "row_in_test"}
    assert missing == (leaks if "test" in split else set()) | ({"ends_with_user"} if "gen" in split else set())


@pytest.mark.parametrize("split", ["train_sft", "train_gen"])
def test_repetitions_and_leaks_name_what_they_repeat(tiny: Path, split: str) -> None:
    kinds = _truth(tiny)[split]["kinds"]
    rows = list(_rows(tiny, split))
    tests = list(_rows(tiny, split.replace("train_", "test_")))

    for kind, others, column in (
        ("same_id", rows, "prompt_id"),
        ("same_messages", rows, "messages"),
        ("same_row", rows, "messages"),
        ("id_in_test", tests, "prompt_id"),
        ("row_in_test", tests, "prompt"),
    ):
        for number, of in zip(kinds[kind]["rows"], kinds[kind]["of"], strict=True):
            assert rows[number][column] == others[of][column]
    for number, of in zip(kinds["text_in_test"]["rows"], kinds["text_in_test"]["of"], strict=True):
        assert rows[number]["prompt"] != tests[of]["prompt"]
        assert _normalized(rows[number]["prompt"]) == _normalized(tests[of]["prompt"])


def test_the_layout_is_the_hubs(tiny: Path) -> None:
    truth = _truth(tiny)

    assert {split: known["rows"] for split, known in truth.items()} == {
        "train_sft": 416,
        "test_sft": 46,
        "train_gen": 512,
        "test_gen": 57,
    }
    assert sorted(path.name for path in (tiny / "data").iterdir()) == sorted(
        name for known in truth.values() for name in known["shards"]
    )
    first = pq.ParquetFile(tiny / "data" / truth["train_sft"]["shards"][0])
    assert truth["train_sft"]["shards"][0].startswith("train_sft-00000-of-00003-")
    assert first.schema_arrow.equals(ultrachat.SCHEMA)
    assert first.metadata.row_group(0).column(0).compression == "SNAPPY"
    complete = (row for split in truth for row in _rows(tiny, split) if _is_complete(row))
    text = "".join(message["content"] for row in complete for message in row["messages"])
    assert set('é日\n\u2028"\\') <= set(text)
    assert max(text) > "\uffff"


def test_row_groups_hold_a_thousand_rows(tmp_path: Path) -> None:
    truth = ultrachat.generate(tmp_path, scale=0.06, splits=["test_sft"])

    (shard,) = truth["splits"]["test_sft"]["shards"]
    metadata = pq.read_metadata(tmp_path / "data" / shard)
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [1000, 387]


def test_equal_seeds_give_equal_files_and_other_seeds_other_rows(tiny: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    ultrachat.generate(again, scale=SCALE)
    ultrachat.generate(other, scale=SCALE, seed=7)

    made = {path.relative_to(tiny): path.read_bytes() for path in tiny.rglob("*") if path.is_file()}
    assert {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()} == made
    ids = {row["prompt_id"] for row in _rows(tiny, "test_gen")} - {None}
    assert ids.isdisjoint(row["prompt_id"] for row in _rows(other, "test_gen"))


def test_a_split_can_be_made_alone(tiny: Path, tmp_path: Path) -> None:
    ultrachat.generate(tmp_path, scale=SCALE, splits=["train_gen"])

    assert _truth(tmp_path) == {"train_gen": _truth(tiny)["train_gen"]}
    assert list(_rows(tmp_path, "train_gen")) == list(_rows(tiny, "train_gen"))


def test_too_small_a_scale_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="23 rows in a split: 40 are the fewest"):
        ultrachat.generate(tmp_path, scale=0.001)


def test_one_round_measures_every_contestant_and_judges_what_it_can(tiny: Path, tmp_path: Path) -> None:
    names = ["seed-warm-5", "decode-1-100", "ours-bare-5", "ours-hash-5"]
    lines: list[str] = []

    report = prepare.benchmark(tiny, tmp_path, names, rounds=1, cores=1, log=lines.append)

    runs = {name: run for name, (run,) in report.runs.items()}
    assert list(runs) == names
    assert {name: run.rows for name, run in runs.items()} == {
        "seed-warm-5": 21,
        "decode-1-100": 416,
        "ours-bare-5": 21,
        "ours-hash-5": runs["ours-hash-5"].rows,
    }
    for name, run in runs.items():
        assert 0 < run.work_s < run.wall_s
        assert 10 < run.peak_mb < 10_000
        assert (run.bytes > 0) == (name != "decode-1-100")
    assert report.equal_rows == 21
    assert [verdict.what.split(":")[0] for verdict in report.verdicts] == [
        "bare JSON Lines of 5 %",
        "hash sample of 5 %",
        "peak MB of ours-bare-5",
        "peak MB of ours-hash-5",
    ]
    faster = report.verdicts[0]
    assert faster.measured == runs["seed-warm-5"].work_s / runs["ours-bare-5"].work_s
    assert faster.ok == (faster.measured >= 4)
    assert sum(line.startswith("round 1/1") for line in lines) == len(names)


def test_a_contestant_that_fails_ends_the_benchmark_with_its_words(tiny: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    (broken / "data").mkdir(parents=True)
    for shard in _truth(tiny)["train_sft"]["shards"]:
        (broken / "data" / shard).write_bytes(b"not Parquet")

    with pytest.raises(BenchmarkError, match=r"decode-1-5 ended with exit code 1:[\s\S]*Parquet"):
        prepare.benchmark(broken, tmp_path / "scratch", ["decode-1-5"], rounds=1, log=lambda line: None)


def test_files_that_differ_are_told_apart_by_objects_not_bytes(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    one.write_text('{"a": "é", "b": 1}\n{"a": "x"}\n', encoding="utf-8")
    same.write_text('{"b":1,"a":"\\u00e9"}\n{"a":"x"}\n', encoding="utf-8")
    other.write_text('{"a": "é", "b": 1}\n', encoding="utf-8")

    assert prepare.compare_json_lines(one, same) == 2
    with pytest.raises(BenchmarkError, match="one and other differ in line 2"):
        prepare.compare_json_lines(one, other)


def test_messages_that_are_null_are_compared_by_what_they_say(tmp_path: Path) -> None:
    ours, theirs, other = (tmp_path / name for name in ("ours", "theirs", "other"))
    ours.write_text('{"messages":[{"content":null,"role":null},{"content":"x","role":"user"}]}\n', encoding="utf-8")
    theirs.write_text('{"messages":[null,{"role":"user","content":"x"}]}\n', encoding="utf-8")
    other.write_text('{"messages":[{"role":"user","content":"x"}]}\n', encoding="utf-8")

    assert prepare.compare_json_lines(ours, theirs) == 1
    with pytest.raises(BenchmarkError, match="differ in line 1"):
        prepare.compare_json_lines(ours, other)


def test_the_benchmarks_own_process_stays_small() -> None:
    # A child's peak memory begins with that of the process that starts it.
    import subprocess

    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, tests.benchmarks.prepare; print(*sys.modules)"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {"pyarrow", "polars", "pandas", "datasets", "numpy"}.isdisjoint(loaded)


def test_scoring_is_measured_side_by_side_and_judged_against_the_seed(tmp_path: Path) -> None:
    write_model(tmp_path / "model", "echo ")
    lines: list[str] = []

    report = scoring.benchmark(tmp_path / "scratch", rounds=2, requests=12, model=tmp_path / "model", log=lines.append)

    assert list(report.runs) == [scoring.SEED, "ours-1", "ours-8", "ours-32"]
    asked = [f"echo {turns[-1]['content']}" for turns in scoring.read_prompts(12)]
    for runs in report.runs.values():
        assert [run.texts for run in runs] == [asked, asked]
        assert all(0 < latency < run.wall_s for run in runs for latency in run.latencies_s)
    ours = report.verdicts[-1]
    ratios = [ours / seed for ours, seed in zip(report.rates("ours-32"), report.rates(scoring.SEED), strict=True)]
    assert (ours.what, ours.target) == ("ours-32: times the seed's requests/s", ">= 8")
    assert (ours.lowest, ours.highest, ours.ok) == (min(ratios), max(ratios), ours.measured >= 8)
    assert 0 < report.latency_ms("ours-32", 50) <= report.latency_ms("ours-32", 99)
    assert len(lines) == 2 * len(report.runs)
    assert not list((tmp_path / "scratch").rglob("emulator.json")), "the emulator is still running"

    report.runs["ours-8"][1].texts[3] = "something else"
    with pytest.raises(BenchmarkError, match="ours-8 got 'something else' to prompt 3, seed-invoke got 'echo "):
        scoring.check_agreement(report)


@pytest.mark.slow
def test_a_model_of_phis_architecture_is_trained_and_served(tmp_path: Path) -> None:
    figures = gpu.measure(gpu.TINY, tmp_path)
    assert figures.train_tokens_per_second > 0
    assert figures.serve_tokens_per_second > 0
    assert 0 < figures.first_token_seconds < figures.load_seconds
    assert figures.train_peak_gib > 0


def test_phi_3_mini_has_the_parameters_that_it_is_said_to_have() -> None:
    embedding = gpu.PHI3_MINI.hidden * gpu.PHI3_MINI.vocabulary
    assert round((gpu.PHI3_MINI.parameters + embedding) / 1e9, 2) == 3.82


def test_mixed_traffic_leaves_nothing_behind(tmp_path: Path) -> None:
    result = mixed_traffic.measure(tmp_path / "emulator", seconds=3, seed=1, warm_up=1.5)
    assert result.defects == {}
    assert {name for name, _ in result.answers} == mixed_traffic.ACTS.keys()
    before, after = result.before, result.after
    assert after.processes == before.processes
    assert after.descriptors <= before.descriptors + 8  # of connections that are being closed
    assert after.threads <= before.threads + 8
    assert after.resident_mib < before.resident_mib + 50


@pytest.mark.slow
@needs_postgresql
def test_what_many_detached_jobs_need_is_measured(
    postgres: Server, emulator: Connection, toy_registry: Path, tmp_path: Path
) -> None:
    found = many_jobs.measure(emulator, postgres.new_database(), tmp_path, jobs=20, ended=2, ticks=2, forks=True)
    assert (found.jobs, found.ended) == (20, 2)
    assert found.daemon_mb > 10
    assert found.code_server_mb > 10
    # The cluster, and run history of the whole experiment; the tick may be cut at either end.
    assert 0 < found.requests < 10
    assert 0 < found.service_seconds < found.seconds
    assert found.bytes_a_job > 0
