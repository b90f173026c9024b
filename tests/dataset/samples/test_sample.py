"""Which rows a sample holds, and that its files are equal for equal input, and kept."""

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phi_assets.config.dataset import ContractSection, DatasetSection, Policies, SampleSection
from phi_assets.dataset.contract.rules import RULES
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.jsonl import read_jsonl
from phi_assets.dataset.reports.report import read_report
from phi_assets.dataset.samples.export import export_jsonl
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.samples.selection import chosen, hash_keys, head_rows
from phi_assets.dataset.sources.raw_splits import fetch_split
from phi_assets.fingerprint import file_sha256
from phi_assets.refs import DataFile, SampleRef, SplitRef
from tests.dataset.shards import Row, make_odd_rows, make_rows, quiet, raw_split, write_shards

SPLIT_SIZES = (
    *(1, 2, 3, 7, 10, 11, 30, 50, 70, 99),
    *(100, 101, 250, 333, 999, 23_110, 28_304, 207_865, 256_032, 1_000_001),
)
"""The four of ultrachat among them; 10, 30, 50, 70, 250 and 23,110 have percentages that cut a row in half."""
SMALL_SPLIT_SIZES = (1, 2, 3, 5, 7, 9, 10, 11, 13, 30, 50, 70, 90, 99, 100, 101, 130, 250, 333, 999)
PERCENTAGES = (1, 3, 5, 10, 15, 25, 33, 50, 75, 100)

CHI_SQUARE_9 = 27.88
"""What ten equally likely classes exceed once in a thousand times."""

KEEP_ALL = ContractSection(policies=Policies.model_validate(dict.fromkeys(RULES, "warn")))


def head(percent: float) -> SampleSection:
    return SampleSection(mode="head", percent=percent)


def hashed(percent: float, seed: int = 42, validation_percent: float = 5) -> SampleSection:
    return SampleSection(mode="hash", percent=percent, seed=seed, validation_percent=validation_percent)


def prepare(
    ref: SplitRef,
    sample: SampleSection,
    folder: Path,
    *,
    validation: bool = False,
    contract: ContractSection | None = None,
) -> tuple[SampleRef, ...]:
    return prepare_split(ref, sample, contract or ContractSection(), folder, quiet, validation=validation)


def rows_of(ref: SampleRef) -> list[Row]:
    return list(read_jsonl(Path(ref.jsonl)))


def ids(rows: Iterable[Row]) -> list[str]:
    return [row["prompt_id"] for row in rows]


def exported(ref: SplitRef, sample: SampleSection, folder: Path) -> list[Row]:
    export_jsonl(ref, sample, folder / "rows.jsonl")
    return list(read_jsonl(folder / "rows.jsonl"))


def prepared_bytes(folder: Path) -> dict[str, bytes]:
    """The content of all files but the manifest, which says what they were made from."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".") and path.name != "train_sft.sample.json"
    }


def normalized(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


def test_head_takes_the_first_rows_in_both_formats(tmp_path: Path) -> None:
    rows = make_rows(250)
    (ref,) = prepare(raw_split(tmp_path, rows, shards=3, group=40), head(50), tmp_path / "out")
    assert (ref.rows, ref.rows_total, ref.rows_quarantined, str(ref.quarantine)) == (125, 250, 0, "")
    assert rows_of(ref) == rows[:125]
    assert pq.read_table(ref.parquet).to_pylist() == rows[:125]
    assert list(json.loads(Path(ref.jsonl).read_bytes().split(b"\n")[0])) == ["prompt", "prompt_id", "messages"]
    assert ref.sha256 == file_sha256(Path(ref.jsonl))
    assert ref.size_bytes == Path(ref.jsonl).stat().st_size
    assert Path(ref.jsonl).name == "train_sft.jsonl"


@pytest.mark.parametrize(
    ("total", "rows"), [(207_865, 10_393), (23_110, 1_156), (256_032, 12_802), (28_304, 1_415), (10, 0), (30, 2)]
)
def test_head_rounds_exact_halves_to_even(total: int, rows: int) -> None:
    assert head_rows(total, 5) == rows


@pytest.mark.parametrize(
    ("total", "percent", "rows"), [(1000, 2.5, 25), (1000, 0.25, 2), (1000, 0.35, 4), (207_865, 0.01, 21)]
)
def test_head_takes_fractions_of_a_percent(total: int, percent: float, rows: int) -> None:
    """`datasets` knows whole ones only."""
    assert head_rows(total, percent) == rows


def test_head_counts_rows_as_datasets_does() -> None:
    import datasets

    for total in SPLIT_SIZES:
        for percent in PERCENTAGES:
            instruction = datasets.ReadInstruction.from_spec(f"train_sft[0%:{percent}%]")
            (absolute,) = instruction.to_absolute({"train_sft": total})
            assert (absolute.from_ or 0, absolute.to) == (0, head_rows(total, percent)), (total, percent)


@pytest.mark.slow
@pytest.mark.parametrize("total", SMALL_SPLIT_SIZES)
def test_head_is_what_datasets_takes(tmp_path: Path, total: int) -> None:
    import datasets

    rows = make_rows(total, seed=total)
    ref = raw_split(tmp_path, rows, shards=min(total, 3), group=16)

    def load(percentages: Sequence[int]) -> Any:
        return datasets.load_dataset(
            "parquet",
            data_files={"train_sft": list(map(str, ref.files))},
            split=[f"train_sft[0%:{percent}%]" for percent in percentages],
            cache_dir=str(tmp_path / "cache"),
        )

    some = [percent for percent in PERCENTAGES if head_rows(total, percent)]
    loaded = dict(zip(some, load(some), strict=True))
    for percent in PERCENTAGES:
        if percent in loaded:
            theirs = loaded[percent].to_list()
            (sample,) = prepare(ref, head(percent), tmp_path / "out")
            assert rows_of(sample) == theirs
            assert exported(ref, head(percent), tmp_path) == theirs
        else:
            with pytest.raises(ValueError, match="corresponds to no data"):
                load([percent])
            with pytest.raises(
                DatasetError, match=rf"{percent} % \(head\) of the {total} rows of 'train_sft' are none"
            ):
                prepare(ref, head(percent), tmp_path / "out")


def test_hash_samples_are_nested_and_seeded(tmp_path: Path) -> None:
    ref = raw_split(tmp_path, make_rows(2000), group=300)
    five, twenty, everything = (ids(exported(ref, hashed(percent), tmp_path)) for percent in (5, 20, 100))
    assert set(five) < set(twenty) < set(everything)
    assert everything == ids(make_rows(2000))
    assert [prompt_id for prompt_id in twenty if prompt_id in set(five)] == five
    other = ids(exported(ref, hashed(5, seed=7), tmp_path))
    assert set(other) != set(five)
    assert 60 < len(other) < 140


@pytest.mark.parametrize("mode", ["head", "hash"])
def test_what_is_kept_of_a_small_sample_is_kept_of_a_large_one(tmp_path: Path, mode: str) -> None:
    """Also which side of the validation split it is on, though a good tenth of the rows are left out."""
    ref = raw_split(tmp_path, make_odd_rows(3000), shards=2, group=250)

    def conversations(percent: float) -> list[set[str]]:
        section = SampleSection.model_validate({"mode": mode, "percent": percent, "validation_percent": 10})
        refs = prepare(ref, section, tmp_path / str(percent), validation=True)
        assert refs[0].rows_quarantined > 0.1 * (refs[0].rows + refs[1].rows)
        return [{json.dumps(row["messages"]) for row in rows_of(ref)} for ref in refs]

    five, twenty, everything = map(conversations, (5, 20, 100))
    for smaller, larger in ((five, twenty), (twenty, everything)):
        assert [small < large for small, large in zip(smaller, larger, strict=True)] == [True, True]


def test_a_row_of_validation_shares_neither_id_nor_question_with_a_row_to_train_on(tmp_path: Path) -> None:
    rows = make_rows(1500)
    for row in rows:
        row["prompt"] = row["messages"][0]["content"] = f"What do you know of {row['prompt']}"
    # Other answers to the same question, with other case and punctuation.
    for number, row in enumerate(make_rows(500, seed=1)):
        question = rows[3 * number]["prompt"].upper() + " ?!"
        row["prompt"] = row["messages"][0]["content"] = question
        rows.append(row)
    ref = raw_split(tmp_path, rows)
    train, validation = map(
        rows_of, prepare(ref, hashed(100, validation_percent=20), tmp_path / "out", validation=True)
    )
    assert len(train) + len(validation) == 2000
    assert 300 < len(validation) < 500
    assert not {row["prompt_id"] for row in train} & {row["prompt_id"] for row in validation}
    questions = [{normalized(row["prompt"]) for row in part} for part in (train, validation)]
    assert sum(map(len, questions)) == len({normalized(row["prompt"]) for row in rows}) == 1500


def test_the_seed_decides_what_is_kept_for_validation_not_what_is_sampled(tmp_path: Path) -> None:
    """A small sample's share is as large as a large one's: the two choices have nothing to do with each other.

    Not even where a question is its own id.
    """
    rows = make_rows(4000)
    for row in rows:
        row["prompt_id"] = normalized(row["prompt"])
    ref = raw_split(tmp_path, rows)
    shares = {}
    for percent in (5, 100):
        train, validation = prepare(ref, hashed(percent, validation_percent=20), tmp_path / "out", validation=True)
        shares[percent] = validation.rows / (train.rows + validation.rows)
    assert shares == pytest.approx({5: 0.2, 100: 0.2}, abs=0.1)
    one, other = (
        set(ids(rows_of(prepare(ref, section, tmp_path / "out", validation=True)[1])))
        for section in (head(50), head(50).model_copy(update={"seed": 1}))
    )
    assert len(one & other) < 0.2 * len(one)


def test_hash_samples_do_not_depend_on_order_or_shards(tmp_path: Path) -> None:
    rows = make_rows(1000)
    shuffled = random.Random(3).sample(rows, len(rows))
    reference = prepare(raw_split(tmp_path / "a", rows), hashed(30), tmp_path / "a", validation=True)
    resharded = prepare(raw_split(tmp_path / "b", rows, 4, 30), hashed(30), tmp_path / "b", validation=True)
    reordered = prepare(raw_split(tmp_path / "c", shuffled, 2), hashed(30), tmp_path / "c", validation=True)
    assert [ref.sha256 for ref in resharded] == [ref.sha256 for ref in reference]
    assert [ref.sha256 for ref in reordered] != [ref.sha256 for ref in reference]
    for ref, other in zip(reference, reordered, strict=True):
        assert sorted(rows_of(other), key=str) == sorted(rows_of(ref), key=str)


@pytest.mark.parametrize("seed", [0, 1, 42, 2**63, -1])
def test_hash_samples_are_uniform(tmp_path: Path, seed: int) -> None:
    """Over 12,000 rows, each tenth of the keys holds a tenth of the rows: chi-square, p = 0.001."""
    rows = [{"prompt": "?", "prompt_id": str(number), "messages": []} for number in range(12_000)]
    ref = raw_split(tmp_path, rows)
    counts = [0, *(len(exported(ref, hashed(p, seed), tmp_path)) for p in range(10, 101, 10))]
    tenths = [upper - lower for lower, upper in pairwise(counts)]
    assert sum(tenths) == 12_000
    assert sum((observed - 1200) ** 2 / 1200 for observed in tenths) < CHI_SQUARE_9


def test_keys_are_those_that_samples_have_always_been_made_with() -> None:
    """Else a new version of the library would silently make other samples of the same data.

    The first is one of the algorithm's own test vectors. <https://github.com/Cyan4973/xxHash/tree/dev/tests>
    """
    assert hash_keys(pl.Series([""]), 0).to_list() == [0x2D06800538D394C2]
    texts = ["f0e37e9f7800261167ce91143f98f511f768847236f133f2d0aed60b444ebe57", "7", "Grüße, 日本 😀"]
    assert hash_keys(pl.Series(texts), 42).to_list() == [0x3161A4EDE37ACCBF, 0x0C5F1E6F8BFCD1CB, 0x94E7E2B87DA30A59]


def test_every_text_has_a_key() -> None:
    texts = pl.Series("prompt_id", ["", None, "\x00", "\U0010ffff"])
    keys = hash_keys(texts, 1)
    assert (keys.name, keys.dtype) == ("prompt_id", pl.UInt64)
    assert keys[0] == keys[1]
    assert keys.n_unique() == 3
    assert hash_keys(texts, 1 + (1 << 64)).to_list() == keys.to_list()
    assert chosen(texts, 100, 1).to_list() == [True] * 4
    assert chosen(texts.head(0), 100, 1).to_list() == chosen(texts.head(0), 5, 1).to_list() == []


def test_rows_without_an_id_are_sampled_together(tmp_path: Path) -> None:
    rows = make_rows(200)
    for row in rows[::2]:
        row["prompt_id"] = None
    ref = raw_split(tmp_path, rows)
    counts = {sum(row["prompt_id"] is None for row in exported(ref, hashed(50, seed), tmp_path)) for seed in range(8)}
    assert counts == {0, 100}


@pytest.fixture(scope="module")
def shardings(tmp_path_factory: pytest.TempPathFactory) -> list[SplitRef]:
    """The same rows in different files.

    They have some megabytes, so that they are read in several batches and written in several pages.
    """
    rows = make_odd_rows(2600, words=500)
    return [
        raw_split(tmp_path_factory.mktemp("raw"), rows, shards, group)
        for shards, group in ((1, 1000), (1, 17), (3, 130), (5, 1000))
    ]


@pytest.mark.parametrize("contract", [ContractSection(), KEEP_ALL], ids=["drop", "keep"])
@pytest.mark.parametrize("section", [head(70), hashed(70), hashed(8)], ids=["head", "hash", "small hash"])
def test_bytes_do_not_depend_on_shards_and_row_groups(
    tmp_path: Path, shardings: list[SplitRef], section: SampleSection, contract: ContractSection
) -> None:
    found = []
    for number, ref in enumerate(shardings):
        folder = tmp_path / str(number)
        prepare(ref, section, folder, validation=True, contract=contract)
        export_jsonl(ref, section, folder / "bare.jsonl")
        found.append(prepared_bytes(folder))
    assert len(found[0]) == (7 if contract != KEEP_ALL else 6)
    for other in found[1:]:
        assert sorted(other) == sorted(found[0])
        assert [name for name in other if other[name] != found[0][name]] == []


@pytest.mark.slow
def test_bytes_are_the_same_on_any_number_of_threads(tmp_path: Path) -> None:
    ref = raw_split(tmp_path, make_odd_rows(3000, words=300), shards=3, group=100)
    program = (
        "import sys; from pathlib import Path; from phi_assets.dataset.samples.export import export_jsonl;"
        "from phi_assets.dataset.samples.prepare import prepare_split; import polars;"
        "from phi_assets.config.dataset import ContractSection, SampleSection; from phi_assets.refs import SplitRef;"
        "assert polars.thread_pool_size() == int(sys.argv[3]);"
        "ref, folder = SplitRef.model_validate_json(sys.argv[1]), Path(sys.argv[2]);\n"
        "for mode in ('head', 'hash'):\n"
        " section = SampleSection(mode=mode, percent=40)\n"
        " prepare_split(ref, section, ContractSection(), folder / mode, print, validation=True)\n"
        " export_jsonl(ref, section, folder / mode / 'bare.jsonl')\n"
    )
    for threads in ("1", "3"):
        subprocess.run(
            [sys.executable, "-c", program, ref.model_dump_json(), str(tmp_path / threads), threads],
            env=os.environ | {"POLARS_MAX_THREADS": threads},
            check=True,
        )
    for mode in ("head", "hash"):
        one, three = (prepared_bytes(tmp_path / threads / mode) for threads in ("1", "3"))
        assert len(one) == 7
        assert one == three


@pytest.mark.parametrize("validation", [False, True], ids=["train", "train and validation"])
@pytest.mark.parametrize("section", [head(40), hashed(40), head(100), hashed(100)], ids=str)
def test_every_row_is_kept_quarantined_or_not_sampled(tmp_path: Path, section: SampleSection, validation: bool) -> None:
    rows = make_odd_rows(700)
    refs = prepare(raw_split(tmp_path, rows, 2, 90), section, tmp_path / "out", validation=validation)
    report = read_report(Path(refs[0].report))
    quarantined = pq.read_table(refs[0].quarantine).to_pylist()
    kept = [row for ref in refs for row in rows_of(ref)]
    assert report.rows_total == 700 == report.rows_not_sampled + report.rows_quarantined + len(kept)
    assert report.rows_quarantined == len(quarantined) > 20
    assert sum(profile.rows for profile in report.samples.values()) == len(kept)
    sampled = exported(raw_split(tmp_path, rows, 2, 90), section, tmp_path)
    assert len(sampled) == len(kept) + len(quarantined)
    # Each as it was, and none twice.
    left_out = [{name: rows[row["row"]][name] for name in ("prompt", "prompt_id", "messages")} for row in quarantined]
    assert sorted(map(str, kept + without_null_messages(left_out))) == sorted(map(str, sampled))
    assert without_null_messages(left_out) == [
        {name: row[name] for name in ("prompt", "prompt_id", "messages")} for row in quarantined
    ]


def without_null_messages(rows: Sequence[Row]) -> list[Row]:
    """As rows are read: a message that is null has two fields that are."""
    nothing = {"content": None, "role": None}
    return [
        row | {"messages": row["messages"] and [nothing if message is None else message for message in row["messages"]]}
        for row in rows
    ]


def test_a_sample_that_is_there_is_kept(tmp_path: Path) -> None:
    ref = raw_split(tmp_path, make_odd_rows(100))
    first = prepare(ref, head(50), tmp_path / "out", validation=True)
    stamps = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("[!.]*")}
    assert len(stamps) == 7
    said: list[str] = []
    again = prepare_split(ref, head(50), ContractSection(), tmp_path / "out", said.append, validation=True)
    assert again == first
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("[!.]*")} == stamps
    assert len(said) == 1
    assert "there already, unchanged" in said[0]


@pytest.mark.parametrize(
    "name",
    [
        "train_sft.jsonl",
        "train_sft.parquet",
        "train_sft.quarantine.parquet",
        "train_sft.report.json",
        "train_sft.sample.json",
        "validation_sft.jsonl",
        "validation_sft.parquet",
    ],
)
def test_a_damaged_or_missing_file_is_made_again(tmp_path: Path, name: str) -> None:
    ref = raw_split(tmp_path, make_odd_rows(100))
    first = prepare(ref, head(50), tmp_path / "out", validation=True)
    path = tmp_path / "out" / name
    good = path.read_bytes()
    path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    assert prepare(ref, head(50), tmp_path / "out", validation=True) == first
    assert path.read_bytes() == good
    path.unlink()
    assert prepare(ref, head(50), tmp_path / "out", validation=True) == first
    assert path.read_bytes() == good


def test_another_choice_or_other_rows_replace_it(tmp_path: Path) -> None:
    ref = raw_split(tmp_path / "a", make_odd_rows(100))
    choices: list[tuple[SplitRef, SampleSection, ContractSection, bool]] = [
        (ref, head(50), ContractSection(), False),
        (ref, head(40), ContractSection(), False),
        (ref, hashed(40), ContractSection(), False),
        (ref, hashed(40, seed=1), ContractSection(), False),
        (ref, hashed(40), KEEP_ALL, False),
        (ref, head(50), ContractSection(), True),
        (raw_split(tmp_path / "b", make_rows(100, seed=9)), head(40), ContractSection(), False),
    ]
    hashes = [
        prepare(raw, section, tmp_path / "out", contract=contract, validation=validation)[0].sha256
        for raw, section, contract, validation in choices
    ]
    assert len(set(hashes)) == len(choices)
    assert prepare(ref, head(50), tmp_path / "out")[0].sha256 == hashes[0]


def test_an_empty_sample_is_refused(tmp_path: Path) -> None:
    ref = raw_split(tmp_path, make_rows(10))
    with pytest.raises(
        DatasetError, match=r"1 % \(head\) of the 10 rows of 'train_sft' are none: raise sample\.percent"
    ):
        prepare(ref, head(1), tmp_path / "out")
    with pytest.raises(DatasetError, match=r"0\.001 % \(hash\) of the 10 rows of 'train_sft' are none"):
        prepare(ref, hashed(0.001), tmp_path / "out")
    assert not list((tmp_path / "out").glob("train_sft*"))


def test_columns_may_come_in_any_order_and_kind(tmp_path: Path) -> None:
    rows = make_rows(20)
    message = pa.struct([("role", pa.large_string()), ("name", pa.string()), ("content", pa.large_string())])
    odd = pa.schema(
        [
            ("messages", pa.large_list(message)),
            ("score", pa.float64()),
            ("prompt_id", pa.large_string()),
            ("prompt", pa.string()),
        ]
    )
    first, second = write_shards(tmp_path, "train_sft", rows, shards=2)
    pq.write_table(pa.Table.from_pylist(rows[10:], schema=odd), second)
    ref = fetch_split(DatasetSection(source="local", path=tmp_path), "train_sft", tmp_path, quiet)
    assert ref.files == (DataFile.at(first), DataFile.at(second))
    (sample,) = prepare(ref, head(100), tmp_path / "out")
    assert rows_of(sample) == rows
    assert pq.read_table(sample.parquet).to_pylist() == rows


def test_half_of_a_surrogate_pair_is_quarantined_with_its_reason(tmp_path: Path) -> None:
    """From a JSON source, which alone can hold one: no output could."""
    rows: list[Any] = make_rows(12)
    lines = [json.dumps(row) for row in rows]
    lines[4] = json.dumps({**rows[4], "messages": [{"role": "user", "content": "half \ud83d of it"}]})
    (tmp_path / "train_sft.jsonl").write_text("\n".join(lines), encoding="ascii")
    ref = fetch_split(DatasetSection(source="local", path=tmp_path), "train_sft", tmp_path / "data", quiet)
    for section in (ContractSection(), ContractSection(policies=Policies.model_validate({"schema": "drop"}))):
        (sample,) = prepare(ref, head(100), tmp_path / "out", contract=section)
        assert rows_of(sample) == [row for number, row in enumerate(rows) if number != 4]
        (left_out,) = pq.read_table(sample.quarantine).to_pylist()
        assert left_out["problem"] == "messages[0].content has half of a surrogate pair, which is no character"
        assert (left_out["row"], left_out["rules"], left_out["messages"]) == (4, ["schema"], None)
        assert "half \\ud83d of it" in left_out["prompt"]
    assert sample.violations["schema"] == sample.rows_quarantined == 1
