"""Samples are looked at where they were put together, by the code that looks at them anywhere."""

import json
from hashlib import sha256
from pathlib import Path

from phi_assets.config.dataset import ContractSection, SampleSection
from phi_assets.dataset.samples.findings import Findings, look
from phi_assets.dataset.samples.prepare import prepare_split
from tests.dataset.sharded.steps import prepare_by_shards, step
from tests.dataset.shards import make_odd_rows, quiet, raw_split

EVERYTHING = SampleSection(percent=100)
CONTRACT = ContractSection()


def test_what_the_step_has_seen_is_what_looking_shows_and_names_no_folder_of_its_own(tmp_path: Path) -> None:
    tested = raw_split(tmp_path / "t", make_odd_rows(60, seed=4), split="test_sft")
    (test,) = prepare_split(tested, EVERYTHING, CONTRACT, tmp_path / "test", quiet)
    raw = raw_split(tmp_path / "raw", make_odd_rows(400), shards=2, group=100)
    options = {"validation": True, "against": test}
    train, validation = prepare_split(raw, EVERYTHING, CONTRACT, tmp_path / "here", quiet, **options)
    merged = tmp_path / "merged"
    work = prepare_by_shards(raw, EVERYTHING, CONTRACT, merged, **options)

    def verified(out: Path) -> tuple[Findings, ...]:
        told = ["--request", str(work / "request"), "--plan", str(work / "plan.json"), "--test", str(test.parquet)]
        step("verify", *told, "--sample", str(merged), "--out", str(out))
        hashes = json.loads((out / "train_sft.hashes.json").read_text())
        assert hashes == {name: sha256((out / name).read_bytes()).hexdigest() for name in hashes}
        assert len(hashes) == 4
        names = [f"{split}.findings.json" for split in ("train_sft", "validation_sft")]
        return tuple(Findings.model_validate_json((out / name).read_bytes()) for name in names)

    assert verified(tmp_path / "first") == (
        look(train, CONTRACT, [test, validation]),
        look(validation, CONTRACT, [test]),
    )
    lines = merged / "validation_sft.jsonl"
    lines.write_bytes(lines.read_bytes()[:-2])
    _, damaged = verified(tmp_path / "second")
    assert damaged.problems
    assert all("validation_sft.jsonl" in each and str(tmp_path) not in each for each in damaged.problems)
    assert damaged.judged is not None
