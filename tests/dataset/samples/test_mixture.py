"""Several sources as one sample: how many rows of each, which ones, and where they went."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_assets.config.dataset import SPLITS, ContractSection, DatasetSection, SampleSection
from phi_assets.config.recipe import Recipe
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.jsonl import read_jsonl
from phi_assets.dataset.reports.report import SourceReport, read_report
from phi_assets.dataset.samples.first_look import DataLook, look_at_data, look_at_mixture, rows_by_source
from phi_assets.dataset.samples.mixture import Mixture, identity_of, mixed_rows
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.samples.validate import validate_recipe
from phi_assets.dataset.samples.verify import examine, file_problems
from phi_assets.dataset.sources.raw_splits import fetch_split
from phi_assets.fingerprint import fingerprint
from phi_assets.refs import SampleRef
from tests.dataset.shards import Row, make_rows, quiet, write_shards

ALL = SampleSection(percent=100)


class World:
    """Sources `a`, `b`, ... of so many rows each, in folders of their own."""

    def __init__(self, folder: Path, **rows: list[Row]) -> None:
        self.folder = folder
        self.rows = rows
        for name, content in rows.items():
            write_shards(folder / name, "train_sft", content, shards=2, group=7)
            write_shards(folder / name, "test_sft", make_rows(6, seed=100 + ord(name)))

    def section(self, members: dict[str, Any] | None = None, **mixing: Any) -> DatasetSection:
        """A mixture of all of them, with these choices."""
        chosen = {
            name: {"source": "local", "path": self.folder / name, **(members or {}).get(name, {})} for name in self.rows
        }
        return DatasetSection.model_validate({"name": "mix", "mixture": chosen, **mixing})

    def mixture(self, section: DatasetSection, split: str = "train_sft") -> Mixture:
        data = self.folder / "data"
        return Mixture(section, {n: fetch_split(each, split, data, quiet) for n, each in section.sources().items()})

    def prepare(
        self, section: DatasetSection, sample: SampleSection = ALL, split: str = "train_sft", **options: Any
    ) -> tuple[SampleRef, ...]:
        mixture = self.mixture(section, split)
        contract = options.pop("contract", ContractSection())
        out = self.folder / fingerprint([section.model_dump(mode="json"), split, str(sample), str(options)])[:8]
        return prepare_split(mixture, sample, contract, out, quiet, **options)


def world(folder: Path, **rows: int) -> World:
    return World(folder, **{name: make_rows(count, seed=ord(name)) for name, count in rows.items()})


def lines(ref: SampleRef) -> list[Row]:
    return list(read_jsonl(Path(ref.jsonl)))


def sources(ref: SampleRef) -> list[str]:
    return pq.read_table(ref.parquet)["source"].to_pylist()


def reports(ref: SampleRef) -> dict[str, SourceReport]:
    return {each.name: each for each in read_report(Path(ref.report)).sources}


def test_without_a_word_all_rows_of_every_source_follow_each_other(tmp_path: Path) -> None:
    made = world(tmp_path, a=10, b=30)
    (sample,) = made.prepare(made.section())
    assert lines(sample) == [*made.rows["a"], *made.rows["b"]]
    assert sources(sample) == ["a"] * 10 + ["b"] * 30
    # What a model learns from has no such column.
    assert all(set(row) == {"prompt", "prompt_id", "messages"} for row in lines(sample))
    assert file_problems(sample) == []
    half = made.prepare(made.section(), SampleSection(percent=50))[0]
    assert lines(half) == [*made.rows["a"][:5], *made.rows["b"][:15]]


def test_the_order_of_the_recipe_is_that_of_the_rows(tmp_path: Path) -> None:
    made = world(tmp_path, b=4, a=5)
    (sample,) = made.prepare(made.section())
    assert sources(sample) == ["b"] * 4 + ["a"] * 5


def test_numbers_of_rows_are_exact_and_choose_among_all(tmp_path: Path) -> None:
    made = world(tmp_path, a=10, b=30)
    section = made.section({"a": {"rows": 9}, "b": {"rows": 11}})
    # The sample's percentage is for those that say no number.
    for percent in (5, 100):
        (sample,) = made.prepare(section, SampleSection(percent=percent))
        assert lines(sample) == [*made.rows["a"][:9], *made.rows["b"][:11]]
    (sample,) = made.prepare(made.section({"a": {"rows": 3}}), SampleSection(percent=50))
    assert lines(sample) == [*made.rows["a"][:3], *made.rows["b"][:15]]
    assert {name: each.rows_asked for name, each in reports(sample).items()} == {"a": 3, "b": 15}


def test_a_choice_by_hash_is_seeded_and_nested(tmp_path: Path) -> None:
    made = world(tmp_path, a=40, b=40)

    def ids(rows: int, seed: int = 42) -> set[str]:
        sample = SampleSection(mode="hash", percent=100, seed=seed)
        (ref,) = made.prepare(made.section({"a": {"rows": rows}, "b": {"rows": rows}}), sample)
        assert Counter(sources(ref)) == {"a": rows, "b": rows}
        return {row["prompt_id"] for row in lines(ref)}

    assert ids(5) < ids(20) < ids(39)
    assert ids(20) != ids(20, seed=1)
    assert ids(20) != {row["prompt_id"] for name in "ab" for row in made.rows[name][:20]}


@pytest.mark.parametrize(
    ("weights", "mixing", "expected"),
    [
        ((1, 1), {}, {"a": 10, "b": 10}),
        ((1, 3), {}, {"a": 10, "b": 30}),
        ((2, 1), {}, {"a": 10, "b": 5}),
        ((0.7, 0.3), {"total_rows": 10}, {"a": 7, "b": 3}),
        ((1, 2), {"total_rows": 10}, {"a": 3, "b": 7}),
        ((1, 1), {"oversample": True}, {"a": 30, "b": 30}),
        ((1, 1), {"oversample": True, "total_rows": 50}, {"a": 25, "b": 25}),
    ],
)
def test_weights_are_kept(
    tmp_path: Path, weights: tuple[float, float], mixing: dict[str, Any], expected: dict[str, int]
) -> None:
    made = world(tmp_path, a=10, b=30)
    section = made.section({"a": {"weight": weights[0]}, "b": {"weight": weights[1]}}, **mixing)
    (sample,) = made.prepare(section)
    assert Counter(sources(sample)) == expected
    assert {name: each.rows_asked for name, each in reports(sample).items()} == expected


@pytest.mark.parametrize(
    ("members", "mixing", "said"),
    [
        ({"a": {"rows": 11}}, {}, "a has 10 rows to train on, 11 are wanted: ask for fewer in dataset.mixture, or set"),
        (
            {"a": {"weight": 1}, "b": {"weight": 1}},
            {"total_rows": 61},
            "a has 10 rows .*; b has 30 rows to train on, 30",
        ),
        ({"a": {"weight": 1}, "b": {"weight": 1000}}, {}, "No row of a would be in the mixture"),
        ({"a": {"weight": 1}, "b": {"weight": 1000}}, {"total_rows": 9}, "No row of a would be in the mixture"),
    ],
)
def test_too_few_rows_are_an_error_unless_they_may_be_repeated(
    tmp_path: Path, members: dict[str, Any], mixing: dict[str, Any], said: str
) -> None:
    made = world(tmp_path, a=10, b=30)
    with pytest.raises(DatasetError, match=said.replace("b has 30 rows to train on, 30", "a has 10|a has 10")):
        made.prepare(made.section(members, **mixing))


def test_a_source_that_adds_nothing_is_an_error_however_rows_may_be_repeated(tmp_path: Path) -> None:
    made = world(tmp_path, a=10, b=300)
    section = made.section({"a": {"weight": 1}, "b": {"weight": 1}}, oversample=True)
    with pytest.raises(DatasetError, match=r"a would add no row to train on: raise sample\.percent"):
        made.prepare(section, SampleSection(percent=1))


def test_rows_are_repeated_evenly_and_only_to_train_on(tmp_path: Path) -> None:
    made = world(tmp_path, a=20, b=60)
    section = made.section({"a": {"rows": 50}}, oversample=True)
    train, validation = made.prepare(section, SampleSection(percent=100, validation_percent=20), validation=True)
    kept = Counter(row["prompt_id"] for row in lines(train))
    first = {row["prompt_id"] for row in made.rows["a"][:10]}
    ours = {row["prompt_id"] for row in made.rows["a"]}
    assert all(kept[each] == (1 if each not in ours else 3 if each in first else 2) for each in kept)
    assert {row["prompt_id"] for row in lines(validation)}.isdisjoint(kept)
    assert len(kept) + validation.rows == 80
    assert len(lines(validation)) == len({row["prompt_id"] for row in lines(validation)})
    report = read_report(Path(train.report))
    assert report.rows_repeated == train.rows - len(kept)
    # What looks at the file again knows them from rows that are there twice by mistake.
    for repeated, found in ((report.rows_repeated, 0), (0, report.rows_repeated), (3, report.rows_repeated)):
        broken = examine(Path(train.parquet), repeated=repeated).broken
        assert len(broken["duplicate_id"]) == len(broken["duplicate_conversation"]) == found


def test_what_a_source_has_of_an_earlier_one_is_lost_and_counted(tmp_path: Path) -> None:
    a, b = make_rows(12, seed=1), make_rows(12, seed=2)
    b[3], b[5], b[7]["messages"][1]["content"] = a[2], a[4], " "
    made = World(tmp_path, a=a, b=b)
    (sample,) = made.prepare(made.section())
    assert sources(sample) == ["a"] * 12 + ["b"] * 9
    assert reports(sample)["a"].model_dump() == {
        "name": "a",
        "rows_total": 12,
        "rows_asked": 12,
        "rows_quarantined": 0,
        "lost": {},
        "rows": {"train_sft": 12},
    }
    assert reports(sample)["b"].lost == {"empty_content": 1, "duplicate_id": 2, "duplicate_conversation": 2}
    assert (reports(sample)["b"].rows_quarantined, reports(sample)["b"].rows) == (3, {"train_sft": 9})
    quarantine = pq.read_table(sample.quarantine).to_pylist()
    assert [(row["source"], row["row"]) for row in quarantine] == [("b", 3), ("b", 5), ("b", 7)]
    violations = {each.rule: each for each in read_report(Path(sample.report)).violations}
    assert [(each.source, each.row) for each in violations["duplicate_id"].examples] == [("b", 3), ("b", 5)]


def test_near_duplicates_are_named_with_their_source(tmp_path: Path) -> None:
    text = " ".join(f"word{number}" for number in range(90))
    a, b = make_rows(12, seed=1), make_rows(12, seed=2)
    for rows, row, said in ((a, 3, text), (b, 5, f"{text} and more")):
        rows[row]["messages"] = [{"content": "What?", "role": "user"}, {"content": said, "role": "assistant"}]
        rows[row]["prompt"] = "What?"
    made = World(tmp_path, a=a, b=b)
    (sample,) = made.prepare(made.section(), contract=ContractSection(near_duplicate_threshold=0.8))
    (row,) = pq.read_table(sample.quarantine).to_pylist()
    assert (row["source"], row["row"]) == ("b", 5)
    assert row["problem"].endswith("% like row 3 of a")


def test_to_test_with_are_all_rows_of_every_source(tmp_path: Path) -> None:
    made = world(tmp_path, a=10, b=30)
    section = made.section({"a": {"rows": 2}, "b": {"rows": 3}})
    (test,) = made.prepare(section, split="test_sft")
    assert Counter(sources(test)) == {"a": 6, "b": 6}
    # And how they are mixed is no matter of it.
    other = made.section({"a": {"weight": 2}, "b": {"weight": 3}})
    splits = ("test_sft", "train_sft")
    same = [identity(made, section, split) == identity(made, other, split) for split in splits]
    assert same == [True, False]


def identity(made: World, section: DatasetSection, split: str) -> str:
    mixture = made.mixture(section, split)
    return fingerprint(identity_of(mixture, ALL, ContractSection(), validation=False, against=None))


def test_the_order_of_sources_makes_another_sample(tmp_path: Path) -> None:
    made, turned = world(tmp_path, a=10, b=10), world(tmp_path, b=10, a=10)
    recipes = [Recipe(name="x", dataset=each.section()) for each in (made, turned)]
    assert identity(made, made.section(), "train_sft") != identity(turned, turned.section(), "train_sft")
    assert recipes[0].code_version("dataset") != recipes[1].code_version("dataset")


def test_sources_of_one_split_each_are_cut_before_rows_are_counted(tmp_path: Path) -> None:
    made = world(tmp_path, a=60, b=60)
    for name in made.rows:
        for file in (tmp_path / name / "data").glob("*"):
            if file.name.startswith("test"):
                file.unlink()
            else:
                file.rename(file.with_name(file.name.replace("train_sft", "chats")))
    section = made.section({"a": {"rows": 40}, "b": {"rows": 20}})
    cut = SampleSection(percent=100, test_percent=20)
    (test,) = made.prepare(section, cut, split="test_sft")
    (train,) = made.prepare(section, cut, against=test)
    assert Counter(sources(train)) == {"a": 40, "b": 20}
    assert train.rows_quarantined == 0
    assert {row["prompt_id"] for row in lines(test)}.isdisjoint({row["prompt_id"] for row in lines(train)})


def test_each_source_has_a_format_of_its_own(tmp_path: Path) -> None:
    for name, line in (
        (
            "chats",
            '{"conversations": [{"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "A lamp."}]}',
        ),
        ("orders", '{"ask": "Do it.", "output": "Done."}'),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train_sft.jsonl").write_text(f"{line}\n")
    members = {
        "chats": {"source": "local", "path": tmp_path / "chats"},
        "orders": {"source": "local", "path": tmp_path / "orders", "columns": {"instruction": "ask"}},
    }
    section = DatasetSection.model_validate({"mixture": members})
    made = world(tmp_path)
    raw = {
        name: fetch_split(each, "train_sft", tmp_path, quiet).model_copy(update={"part": "all"})
        for name, each in section.sources().items()
    }
    (sample,) = prepare_split(Mixture(section, raw), ALL, ContractSection(), made.folder / "out", quiet)
    assert [row["prompt"] for row in lines(sample)] == ["What is it?", "Do it."]


def test_rows_none_of_which_can_be_used_are_named_with_their_file(tmp_path: Path) -> None:
    rows = make_rows(4, seed=1)
    for row in rows:
        row["messages"] = row["messages"][1:]
    made = World(tmp_path, a=rows[:1], b=rows[1:])
    with pytest.raises(
        DatasetError, match=r"None of the 4 sampled rows .* row 1 of train_sft-00001-of-00002\.parquet is"
    ):
        made.prepare(made.section())


def test_a_recipe_with_a_mixture_is_validated_as_a_whole(tmp_path: Path) -> None:
    made = world(tmp_path, a=20, b=30)
    said: list[str] = []
    recipe = Recipe(name="x", dataset=made.section({"a": {"rows": 15}}), sample=ALL)
    with_gen(made)
    assert validate_recipe(recipe, tmp_path / "out", said.append) == []
    assert "train_sft: 45 of 50 rows sampled" in " ".join(said)
    few = recipe.model_copy(update={"dataset": made.section({"a": {"rows": 21}})})
    (problem,) = validate_recipe(few, tmp_path / "out", said.append)
    assert "a has 20 rows to train on, 21 are wanted" in problem


def look(made: World, section: DatasetSection, percent: float = 50) -> tuple[Recipe, DataLook]:
    sample = SampleSection(percent=percent, validation_percent=10)
    recipe = Recipe(name="x", dataset=section, sample=sample)
    looks = {n: look_at_data(recipe, each, made.folder / "data", quiet) for n, each in section.sources().items()}
    return recipe, look_at_mixture(recipe, looks)


def with_gen(made: World) -> World:
    for name in made.rows:
        for split in ("train_gen", "test_gen"):
            write_shards(made.folder / name, split, make_rows(20, seed=1000 * len(split) + ord(name)))
    return made


def test_how_much_there_is_to_train_on_is_known_beforehand(tmp_path: Path) -> None:
    made = with_gen(world(tmp_path, a=20, b=40))

    def rows(*members: dict[str, Any], **mixing: Any) -> dict[str, int] | None:
        recipe, found = look(made, made.section(dict(zip("ab", members, strict=False)), **mixing))
        assert found.problems == []
        return rows_by_source(recipe, found)

    assert rows() == {"a": 9, "b": 18}
    assert rows({"rows": 20}, {"rows": 30}) == {"a": 18, "b": 27}
    assert rows({"weight": 1}, {"weight": 1}) == {"a": 9, "b": 9}
    assert rows({"weight": 1}, {"weight": 2}, total_rows=30) == {"a": 9, "b": 18}
    assert rows({"weight": 1}, {"weight": 1}, total_rows=80, oversample=True) == {"a": 36, "b": 36}


def test_what_stands_in_the_way_is_known_beforehand_and_named_with_its_source(tmp_path: Path) -> None:
    made = with_gen(world(tmp_path, a=20, b=40))
    _, found = look(made, made.section({"a": {"rows": 21}}))
    assert found.problems == [
        "a has 20 rows to train on, 21 are wanted: ask for fewer in dataset.mixture, or set dataset.oversample to true "
        "to repeat rows"
    ]
    for file in (tmp_path / "b" / "data").glob("*"):
        file.unlink()
    _, found = look(made, made.section())
    (problem,) = found.problems
    assert problem.startswith(f"b: {tmp_path / 'b'} holds no data")
    assert {each.name for each in found.splits} == {f"a/{split}" for split in SPLITS}


MEMBERS = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]), st.tuples(st.floats(0.1, 10), st.integers(1, 5000)), min_size=1
)


@given(MEMBERS, st.one_of(st.none(), st.integers(1, 20_000)), st.booleans())
def test_weights_give_the_proportions_that_they_say(
    members: dict[str, tuple[float, int]], total: int | None, oversample: bool
) -> None:
    chosen = {name: {"source": "bundled", "weight": weight} for name, (weight, _) in members.items()}
    section = DatasetSection.model_validate({"mixture": chosen, "total_rows": total, "oversample": oversample})
    there = {name: rows for name, (_, rows) in members.items()}
    try:
        wanted = mixed_rows(section, there)
    except DatasetError:
        # Too few to share out so many, or so few that a source has none.
        measure = max if oversample else min
        scale = measure(rows / weight for weight, rows in members.values())
        assert total or scale * min(weight for weight, _ in members.values()) < 1
        return
    share = sum(wanted.values()) / sum(weight for weight, _ in members.values())
    for name, (weight, rows) in members.items():
        assert abs(wanted[name] - share * weight) <= len(members)
        assert oversample or wanted[name] <= rows
    if total:
        assert sum(wanted.values()) == total
    else:
        # Nothing is left to take or, with repetitions, nothing is left out.
        assert any(wanted[name] == there[name] for name in there)
        assert not oversample or all(wanted[name] >= there[name] for name in there)
