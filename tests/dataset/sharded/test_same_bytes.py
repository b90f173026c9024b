"""A sample that is made shard by shard has the bytes of one that is made in one pass, whatever is asked of it."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from phi_assets.config.dataset import ContractSection, DatasetSection, Policies, SampleSection
from phi_assets.dataset.contract import tokens as tokens_module
from phi_assets.dataset.contract.rules import RULES
from phi_assets.dataset.contract.tokenizers import ModelTokenizer
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.samples import token_counting
from phi_assets.dataset.samples.mixture import Mixture, Raw, ref_of
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.sources.raw_splits import fetch_split
from phi_assets.refs import SampleRef
from tests.dataset.contract.test_tokens import TOKENIZER
from tests.dataset.sharded.steps import prepare_by_shards
from tests.dataset.shards import Row, make_odd_rows, make_rows, quiet, raw_split, write_shards

EVERYTHING = SampleSection(percent=100)
DUPLICATES = Policies.model_validate(dict.fromkeys(RULES, "drop") | {"prompt_mismatch": "warn"})


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def same(folder: Path, raw: Raw, sample: SampleSection, contract: ContractSection, **options: Any) -> Path:
    """Both ways give the same files, byte by byte, manifest and report included; the steps' folder."""
    refs = prepare_split(raw, sample, contract, folder / "here", quiet, **options)
    work = prepare_by_shards(raw, sample, contract, folder / "sharded", **options)
    here, sharded = files(folder / "here"), files(folder / "sharded")
    hashes = json.loads(sharded.pop(f"{ref_of(raw).split}.hashes.json"))
    assert hashes == {name: sha256(here[name]).hexdigest() for name in here if not name.endswith(".sample.json")}
    assert sorted(here) == sorted(sharded)
    assert [name for name in here if here[name] != sharded[name]] == []
    assert refs[0].rows
    return work


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Each seventh breaks a rule; later ones repeat earlier ones, wholly or nearly, across the shards."""
    found = make_odd_rows(2600, words=30)
    for number in range(40, 2600, 61):
        found[number] = found[number // 2] | {"prompt_id": f"again {number}"}
        changed = [dict(each) for each in found[number // 3]["messages"] or [] if each]
        if changed and changed[-1]["content"]:
            changed[-1]["content"] += " indeed"
        found[number - 1] = found[number // 3] | {"prompt_id": f"nearly {number}", "messages": changed}
    return found


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> Raw:
    return raw_split(tmp_path_factory.mktemp("raw"), rows, shards=4, group=130)


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> SampleRef:
    folder = tmp_path_factory.mktemp("test")
    some = [*rows[5:400:9], *make_rows(30, seed=9)]
    (ref,) = prepare_split(
        raw_split(folder, some, split="test_sft"), EVERYTHING, ContractSection(), folder / "o", quiet
    )
    return ref


@pytest.mark.parametrize(
    ("sample", "contract"),
    [
        (EVERYTHING, ContractSection()),
        (SampleSection(percent=40), ContractSection()),
        (SampleSection(mode="hash", percent=30), ContractSection()),
        (EVERYTHING, ContractSection(policies=Policies.model_validate(dict.fromkeys(RULES, "warn")))),
        (EVERYTHING, ContractSection(near_duplicate_threshold=0.7, policies=DUPLICATES, context_tokens=200)),
    ],
    ids=["all", "head", "hash", "warn", "near"],
)
def test_of_one_source(
    tmp_path: Path, raw: Raw, unseen: SampleRef, sample: SampleSection, contract: ContractSection
) -> None:
    same(tmp_path, raw, sample, contract, validation=True, against=unseen)


def test_alone_without_validation_and_with_a_file_that_must_not_be_learned(
    tmp_path: Path, raw: Raw, rows: list[Row]
) -> None:
    benchmark = tmp_path / "mine.jsonl"
    asked = [pl.Series([row["prompt"]]).to_frame("question") for row in rows[0:2000:300] if row["prompt"]]
    pl.concat(asked).write_ndjson(benchmark)
    contract = ContractSection(decontaminate=[benchmark], decontaminate_threshold=0.3, tokenizer=TOKENIZER)
    same(tmp_path, raw, EVERYTHING, contract)


def test_rows_near_the_limit_are_counted_as_far_as_there_is_room(
    tmp_path: Path, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_counting, "COUNTED_BYTES", 60_000)
    monkeypatch.setattr(token_counting, "_CALIBRATED_BYTES", 60_000)
    contract = ContractSection(context_tokens=300, policies=DUPLICATES)
    model = ModelTokenizer(TOKENIZER, "owner/model")
    for room in (4 << 20, 9000):
        monkeypatch.setattr(tokens_module, "COUNTED_BYTES", room)
        same(tmp_path / str(room), raw, EVERYTHING, contract, tokenizer=model, validation=True)
        said = next(each for each in files(tmp_path / str(room) / "here").items() if each[0].endswith("report.json"))
        assert b"rows near the limit" in said[1]


@pytest.mark.parametrize(
    ("members", "mixing", "sample"),
    [
        ({}, {}, SampleSection(percent=60)),
        ({"a": {"rows": 150}, "b": {"rows": 40}}, {}, SampleSection(mode="hash", percent=50)),
        ({"a": {"weight": 1}, "b": {"weight": 3}}, {"total_rows": 700, "oversample": True}, SampleSection(percent=50)),
        ({"a": {"weight": 2}, "b": {"weight": 1}}, {}, SampleSection(percent=80)),
    ],
    ids=["all", "numbers", "repeated", "weights"],
)
def test_of_a_mixture(
    tmp_path: Path, members: Any, mixing: Any, sample: SampleSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_counting, "COUNTED_BYTES", 20_000)
    found = {"a": make_odd_rows(500, words=20), "b": make_odd_rows(300, seed=2, words=20)}
    found["b"][10:20] = found["a"][30:40]
    for name, rows in found.items():
        write_shards(tmp_path / name, "train_sft", rows, shards=2, group=70)
    chosen = {name: {"source": "local", "path": tmp_path / name, **members.get(name, {})} for name in found}
    section = DatasetSection.model_validate({"name": "mix", "mixture": chosen, **mixing})
    sources = section.sources().items()
    mixture = Mixture(section, {n: fetch_split(each, "train_sft", tmp_path / "d", quiet) for n, each in sources})
    contract, model = ContractSection(near_duplicate_threshold=0.8, context_tokens=150), ModelTokenizer(TOKENIZER, "m")
    same(tmp_path, mixture, sample, contract, tokenizer=model, validation=True)
    assert b"rows near the limit" in (tmp_path / "here" / "train_sft.report.json").read_bytes()


def test_what_a_shard_tells_the_others_is_at_most_28_bytes_a_row(tmp_path: Path) -> None:
    raw = raw_split(tmp_path, make_rows(20_000, words=3), shards=2)
    for near, most in ((None, 28), (0.8, 28 + 512)):
        contract = ContractSection(near_duplicate_threshold=near)
        work = prepare_by_shards(raw, EVERYTHING, contract, tmp_path / f"out {near}")
        judged = work / "j0" / "rows.parquet"
        assert 20 < judged.stat().st_size / 10_000 < 1.01 * most


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda rows: [row | {"messages": []} for row in rows], "The commonest problem"),
        (lambda rows: [*rows[:3], rows[0], *rows[4:]], "breaks rules with the policy `fail`: duplicate_id in 1 rows"),
    ],
    ids=["none can be used", "fail"],
)
def test_what_cannot_be_used_is_said_in_the_same_words(
    tmp_path: Path, spoil: Callable[[list[Row]], list[Row]], says: str
) -> None:
    policies = Policies.model_validate({"duplicate_id": "fail"})
    raw = raw_split(tmp_path, spoil(make_rows(60)), shards=3)
    said = []
    for way in (prepare_split, prepare_by_shards):
        arguments = (quiet,) if way is prepare_split else ()
        with pytest.raises(DatasetError) as raised:
            way(raw, EVERYTHING, ContractSection(policies=policies), tmp_path / "out", *arguments)
        said.append(str(raised.value))
    assert said[0] == said[1]
    assert says in said[0]
