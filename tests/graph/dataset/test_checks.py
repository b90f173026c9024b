"""A good sample passes every check; one that is broken in one way fails that check, and nothing is made from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from phi_assets.config.dataset import SAMPLED_SPLITS, SPLITS
from phi_assets.config.recipe_files import load_recipe
from phi_assets.config.settings import load_settings
from phi_assets.dataset.reports.report import read_report
from phi_assets.dataset.samples.findings import AGAINST, TRAINED, findings_name, keys_name, look, save_keys
from phi_assets.graph.dataset.checks import sample_checks
from phi_assets.graph.dataset.metadata import sample_metadata
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.resources.refs_io import RefIOManager
from phi_assets.refs import DataFile, Ref, SampleRef
from tests.dataset.prepared import USUAL_RULES, chat_rows, make_violations, write_sample
from tests.dataset.shards import write_shards
from tests.graph_runs import Graph, failure_message, write_recipe

DEPENDENCIES = {
    "test_sft": (),
    "test_gen": (),
    "train_sft": ("test_sft",),
    "validation_sft": ("test_sft",),
    "train_gen": ("test_gen",),
}
"""As in the real graph, where `train_sft` and `validation_sft` come from one step."""

USERS = {"finetune": ("train_sft", "validation_sft", "test_sft"), "reward": ("train_gen",), "scoring": ("test_gen",)}
"""Assets that are made from samples."""

CHECKS = {"schema", "minimum_rows", "contract", "truncated_share", "no_warnings"}


class Done(Ref):
    """Something that was made from samples."""


@dataclass
class Run:
    """What came of a run."""

    success: bool
    passed: set[str] = field(default_factory=set)
    """Checks as `train_sft/schema`."""
    descriptions: dict[str, str | None] = field(default_factory=dict)
    failed: dict[str, dg.AssetCheckEvaluation] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    """Materialized assets, samples by their splits."""


@dataclass
class World:
    """Five samples on disk, a recipe, and a graph of toys around the real checks."""

    folder: Path
    samples: dict[str, SampleRef]
    recipe: Path
    pictures: bool = False
    """Whether the samples have all their metadata; drawing them takes longer than everything else."""

    @property
    def lineage(self) -> Lineage:
        """Where the samples stand; the recipe may be another one every time."""
        return Lineage.of(load_recipe(str(self.recipe)), load_settings({}), prefix=["mine"])

    def key(self, split: str) -> dg.AssetKey:
        """Of the sample of this split."""
        return self.lineage.key(f"sampled_{split}")

    def assets(self) -> list[dg.AssetsDefinition]:
        """Assets that hand out the samples, and some that use them."""

        def sampled(split: str) -> dg.AssetsDefinition:
            @dg.asset(key=self.key(split), deps=[self.key(other) for other in DEPENDENCIES[split]])
            def asset() -> dg.MaterializeResult[Any]:
                ref = self.samples[split]
                files = {"parquet": ref.parquet, **({"keys": ref.keys} if ref.keys else {})}
                paths = {name: dg.MetadataValue.path(str(file)) for name, file in files.items()}
                metadata = sample_metadata(ref, dg.AssetKey("raw")) if self.pictures else paths
                return dg.MaterializeResult(value=ref, metadata=metadata)

            return asset

        def user(name: str) -> dg.AssetsDefinition:
            @dg.asset(name=name, deps=[self.key(split) for split in USERS[name]])
            def asset() -> Done:
                return Done()

            return asset

        return [*map(sampled, DEPENDENCIES), *map(user, USERS)]

    def run(self, instance: dg.DagsterInstance | None = None, selection: Any = None) -> Run:
        """Materialize everything that is selected, with its checks."""
        result = dg.materialize(
            [*self.assets(), *sample_checks(self.lineage)],
            selection=selection,
            instance=instance,
            raise_on_error=False,
            resources={"io_manager": RefIOManager(base=str(self.folder / "refs"))},
        )
        run = Run(result.success)
        for evaluation in result.get_asset_check_evaluations():
            name = f"{evaluation.asset_key.path[-1].removeprefix('sampled_')}/{evaluation.check_name}"
            run.descriptions[name] = evaluation.description
            if evaluation.passed:
                run.passed.add(name)
            else:
                run.failed[name] = evaluation
        for event in result.get_asset_materialization_events():
            assert event.asset_key is not None
            run.made.add(event.asset_key.path[-1].removeprefix("sampled_"))
        return run

    def rewrite(self, split: str, rows: list[dict[str, Any]], **left_out: int) -> None:
        """The sample holds these rows, in all its files."""
        self.samples[split] = write_sample(self.folder / "samples", split, rows, **left_out)

    def looked_at(self) -> None:
        """What looking at the samples shows lies beside them, as a job leaves it that has made them."""
        contract, folder = load_recipe(str(self.recipe)).contract, self.folder / "verified"
        folder.mkdir(exist_ok=True)
        before = dict(self.samples)
        for split, ref in before.items():
            found = look(ref, contract, [before[other] for other in AGAINST.get(split, ())])
            (folder / findings_name(split)).write_text(found.model_dump_json(), encoding="utf-8")
            more = {"findings": DataFile.at(folder / findings_name(split))}
            if split in ("test_gen", *TRAINED):
                save_keys(Path(ref.parquet), folder / keys_name(split))
                more["keys"] = DataFile.at(folder / keys_name(split))
            self.samples[split] = ref.model_copy(update=more)

    def with_contract(self, **contract: Any) -> None:
        """The recipe has another contract."""
        self.recipe = write_recipe(
            self.recipe.with_name(f"{len(contract)}-{id(contract)}.yaml"), {"contract": contract}
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    samples = {split: write_sample(tmp_path / "samples", split, chat_rows(12, split)) for split in SAMPLED_SPLITS}
    return World(tmp_path, samples, write_recipe(tmp_path / "recipe.yaml", {}))


def text(evaluation: dg.AssetCheckEvaluation) -> str:
    """What a person reads."""
    assert evaluation.description
    return evaluation.description


def number(evaluation: dg.AssetCheckEvaluation, name: str) -> Any:
    """A number that the check recorded."""
    return evaluation.metadata[name].value


ALL_CHECKS = (
    {f"{split}/{check}" for split in SAMPLED_SPLITS for check in CHECKS}
    | {f"{split}/leakage" for split in ("train_sft", "validation_sft", "train_gen")}
    | {"test_gen/prompts_unseen"}
)


def test_good_samples_pass_every_check_and_are_used(world: World) -> None:
    run = world.run()
    assert run.success
    assert (run.passed, run.failed) == (ALL_CHECKS, {})
    assert run.made == {*SAMPLED_SPLITS, *USERS}


def test_what_blocks_and_what_does_not(world: World) -> None:
    *of_samples, prompts_unseen = sample_checks(world.lineage)
    specs = [spec for checks in of_samples for spec in checks.check_specs]
    assert {spec.name for spec in specs if not spec.blocking} == {"no_warnings"}
    assert {spec.name for spec in specs if spec.blocking} == {*CHECKS, "leakage"} - {"no_warnings"}
    assert not next(iter(prompts_unseen.check_specs)).blocking
    assert all(spec.description for spec in specs)


def test_one_step_checks_one_sample(world: World) -> None:
    assert sorted(check.node_def.name for check in sample_checks(world.lineage)) == sorted(
        [*(f"mine__sampled_{split}_checks" for split in SAMPLED_SPLITS), "mine__sampled_test_gen_prompts_unseen"]
    )


def lose_rows(world: World) -> None:
    path = Path(world.samples["train_sft"].parquet)
    pl.read_parquet(path).head(11).write_parquet(path)


def lose_lines(world: World) -> None:
    path = Path(world.samples["train_sft"].jsonl)
    path.write_bytes(path.read_bytes()[:-3])


def lose_file(world: World) -> None:
    Path(world.samples["train_sft"].parquet).unlink()


def too_few_rows(world: World) -> None:
    world.rewrite("train_sft", chat_rows(9, "train_sft"))


def wrong_roles(world: World) -> None:
    rows = chat_rows(12, "train_sft")
    rows[3]["messages"] = rows[3]["messages"][1:]
    rows[7]["messages"] = rows[7]["messages"][:1]
    world.rewrite("train_sft", rows)


def much_quarantined(world: World) -> None:
    world.rewrite("train_sft", chat_rows(12, "train_sft"), quarantined=4)


def vanished(world: World) -> None:
    ref = world.samples["train_sft"]
    report = read_report(Path(ref.report)).model_copy(update={"rows_total": 999})
    Path(ref.report).write_text(report.model_dump_json(), encoding="utf-8")


def same_ids(world: World) -> None:
    rows = chat_rows(12, "train_sft")
    rows[5]["prompt_id"] = chat_rows(12, "test_sft")[2]["prompt_id"]
    world.rewrite("train_sft", rows)


def same_question(world: World) -> None:
    rows = chat_rows(12, "train_sft")
    rows[5]["prompt"] = rows[5]["messages"][0]["content"] = " QUESTION 0 of, test-sft 2"
    world.rewrite("train_sft", rows)


def same_as_validation(world: World) -> None:
    world.rewrite("train_sft", [*chat_rows(12, "train_sft"), *chat_rows(1, "validation_sft")])


def long_conversations(world: World) -> None:
    rows = chat_rows(12, "train_sft")
    for row in rows[:3]:
        row["messages"][1]["content"] = "word " * 80
    world.rewrite("train_sft", rows)


DAMAGE: list[tuple[Callable[[World], None], str, list[str]]] = [
    (lose_rows, "schema", ["train_sft.parquet has 11 rows, expected 12", "Materialize sampled_train_sft again"]),
    (lose_lines, "schema", ["train_sft.jsonl has", "11 complete lines, expected 12"]),
    (lose_file, "schema", ["train_sft.parquet is not readable Parquet"]),
    (too_few_rows, "minimum_rows", ["has 9 of the 109 rows", "at least 10", "Raise sample.percent"]),
    (wrong_roles, "contract", ["break rules that forbid it: roles 1, ending 1.", "materialize it again"]),
    (much_quarantined, "contract", ["4 sampled rows, 25.00 %", "(roles 4)", "max_quarantined_percent (10)"]),
    (vanished, "contract", ["Of 899 sampled rows 0 are in quarantine and 12 were kept"]),
    (same_ids, "leakage", ["1 rows of sampled_train_sft are in sampled_test_sft", "1 by prompt_id, 0 by"]),
    (same_question, "leakage", ["are in sampled_test_sft", "0 by prompt_id, 1 by their question"]),
    (same_as_validation, "leakage", ["are in sampled_validation_sft", "materialize sampled_train_sft again"]),
    (long_conversations, "truncated_share", ["3 of 12 conversations, 25.00 %", "64 tokens (words)", "(20)"]),
]


@pytest.mark.parametrize(("damage", "check", "words"), DAMAGE, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_sample_fails_its_check_and_nothing_is_made_from_it(
    world: World, damage: Callable[[World], None], check: str, words: list[str]
) -> None:
    damage(world)
    run = world.run()
    assert not run.success
    errors = {name: found for name, found in run.failed.items() if found.severity == dg.AssetCheckSeverity.ERROR}
    assert set(errors) == {f"train_sft/{check}"}
    for word in words:
        assert word in text(errors[f"train_sft/{check}"])
    # What does not need it is made as ever.
    assert run.made == {*SAMPLED_SPLITS, "reward", "scoring"}
    assert {name for name in run.passed if not name.startswith("train_sft/")} >= {
        name for name in ALL_CHECKS if not name.startswith("train_sft/") and name != "test_gen/prompts_unseen"
    }


def test_a_sample_that_cannot_be_read_gets_no_other_verdict(world: World) -> None:
    lose_file(world)
    run = world.run()
    assert {name for name in (*run.passed, *run.failed) if name.startswith("train_sft/")} == {"train_sft/schema"}


def test_a_damaged_json_lines_file_leaves_the_rows_to_be_judged(world: World) -> None:
    lose_lines(world)
    run = world.run()
    assert {name for name in run.passed if name.startswith("train_sft/")} == {
        f"train_sft/{check}" for check in (CHECKS | {"leakage"}) - {"schema"}
    }


def test_checks_record_numbers_and_examples(world: World) -> None:
    wrong_roles(world)
    found = world.run().failed["train_sft/contract"]
    assert number(found, "rows_that_break_rules") == 2
    assert number(found, "quarantined_percent") == 0
    table = found.metadata["examples"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data for record in table.records] == [
        {"row": str(row), "prompt_id": prompt["prompt_id"], "prompt": prompt["prompt"]}
        for row, prompt in ((3, chat_rows(12, "train_sft")[3]), (7, chat_rows(12, "train_sft")[7]))
    ]


def test_validation_is_checked_against_test_and_gen_against_gen(world: World) -> None:
    world.rewrite("validation_sft", [*chat_rows(11, "validation_sft"), *chat_rows(1, "test_sft")])
    world.rewrite("train_gen", [*chat_rows(11, "train_gen"), *chat_rows(1, "test_gen")])
    run = world.run()
    assert set(run.failed) == {"validation_sft/leakage", "train_gen/leakage"}
    assert number(run.failed["train_gen/leakage"], "test_gen/ids") == 1
    assert not {"finetune", "reward"} & run.made


def test_a_small_sample_to_measure_with_is_a_warning(world: World) -> None:
    small = [split for split in SAMPLED_SPLITS if split != "train_sft"]
    for split in small:
        world.rewrite(split, chat_rows(2, split))
    run = world.run()
    assert run.success
    assert set(run.failed) == {f"{split}/no_warnings" for split in small}
    for warning in run.failed.values():
        assert warning.severity == dg.AssetCheckSeverity.WARN
        assert "has 2 rows, fewer than contract.minimum_rows (10)" in text(warning)


@pytest.mark.parametrize("splits", [("test_sft", "test_gen"), ("validation_sft", "train_gen")])
def test_an_empty_sample_is_an_error(world: World, splits: tuple[str, ...]) -> None:
    for split in splits:
        world.rewrite(split, [])
    run = world.run()
    assert not run.success
    too_small = {name for name in run.failed if name.endswith("/minimum_rows")}
    assert too_small == {f"{split}/minimum_rows" for split in splits}
    assert not {name for name, samples in USERS.items() if {*splits} & {*samples}} & run.made


def test_what_the_recipe_warns_about_is_a_warning(world: World) -> None:
    rows = chat_rows(12, "train_sft")
    rows[0]["prompt"] = "Something else"
    rows[1]["messages"][1]["content"] = "word " * 80
    rows[2]["prompt_id"] = chat_rows(12, "test_sft")[2]["prompt_id"]
    rows[3]["messages"] = rows[3]["messages"][:-1]
    world.rewrite("train_sft", rows)
    world.with_contract(policies={"leaked_id": "warn", "ending": "warn"})
    run = world.run()
    assert run.success
    assert set(run.failed) == {"train_sft/no_warnings"}
    warning = run.failed["train_sft/no_warnings"]
    assert warning.severity == dg.AssetCheckSeverity.WARN
    assert "whose policy is warn: ending 1, prompt_mismatch 1, leaked_id 1, too_long 1." in text(warning)
    assert number(warning, "rows_with_warnings") == 4
    assert run.descriptions["train_sft/leakage"] == (
        "1 of 12 rows are in sampled_test_sft and sampled_validation_sft as well, which contract.policies allow."
    )
    assert "finetune" in run.made


def test_what_is_nearly_in_the_test_sample_or_in_a_named_file_fails_leakage(world: World) -> None:
    answer = "First wash it, then cut it into cubes of equal size, and let it boil until it is soft enough for a spoon."
    answer += " Then put salt on it, and some of the butter that was left over, stir, and serve it while it is hot."
    theirs, mine = chat_rows(12, "test_sft"), chat_rows(12, "train_sft")
    theirs[4]["messages"][-1]["content"] = mine[2]["messages"][-1]["content"] = answer
    theirs[4]["messages"][1]["content"] = mine[2]["messages"][1]["content"] = (
        "Which one do you mean, the red or the blue?"
    )
    mine[5]["messages"][2]["content"] = "Which of the seven brothers went on to become a miller in Mali?"
    file = world.folder / "benchmark.csv"
    file.write_text("question\nWhich of the seven brothers went on to become a miller in Mali?\n")
    world.rewrite("train_sft", mine)
    world.rewrite("test_sft", theirs)
    world.with_contract(
        near_duplicate_threshold=0.6,
        decontaminate=[str(file)],
        policies={"near_duplicate": "warn", "contaminated": "warn"},
    )
    run = world.run()
    assert [name for name, found in run.failed.items() if found.severity == dg.AssetCheckSeverity.ERROR] == [
        "train_sft/leakage"
    ]
    found = run.failed["train_sft/leakage"]
    assert "1 rows of sampled_train_sft break the rule leaked_near_duplicate" in text(found)
    assert (number(found, "leaked_near_duplicate"), number(found, "contaminated")) == (1, 1)
    assert "contaminated 1" in text(run.failed["train_sft/no_warnings"])


def test_a_stricter_recipe_forbids_what_was_written_under_a_milder_one(world: World) -> None:
    rows = chat_rows(12, "train_sft")
    rows[1]["messages"][1]["content"] = "word " * 80
    world.rewrite("train_sft", rows)
    assert set(world.run().failed) == {"train_sft/no_warnings"}
    world.with_contract(policies={"too_long": "drop"})
    run = world.run()
    assert set(run.failed) == {"train_sft/contract"}
    assert "break rules that forbid it: too_long 1." in text(run.failed["train_sft/contract"])


LIMITS: list[tuple[Callable[[World], None], Mapping[str, Any]]] = [
    (too_few_rows, {"minimum_rows": 9}),
    (much_quarantined, {"max_quarantined_percent": 25}),
    (long_conversations, {"max_truncated_percent": 25}),
]


@pytest.mark.parametrize(("damage", "limits"), LIMITS, ids=lambda value: getattr(value, "__name__", None))
def test_the_recipe_sets_the_limits(world: World, damage: Callable[[World], None], limits: Mapping[str, Any]) -> None:
    damage(world)
    world.with_contract(**limits)
    run = world.run()
    assert run.success
    assert set(run.failed) <= {"train_sft/no_warnings"}


def test_what_train_left_out_is_not_held_against_validation(world: World) -> None:
    world.rewrite("validation_sft", chat_rows(12, "validation_sft"), quarantined=90)
    assert world.run().success


def test_prompts_that_were_trained_on_are_a_warning(world: World) -> None:
    world.pictures = True
    world.rewrite("test_gen", [*chat_rows(12, "test_gen"), *chat_rows(2, "train_sft"), *chat_rows(1, "validation_sft")])
    run = world.run()
    assert run.success
    assert set(run.failed) == {"test_gen/prompts_unseen"}
    warning = run.failed["test_gen/prompts_unseen"]
    assert warning.severity == dg.AssetCheckSeverity.WARN
    assert "3 of 15 prompts are in sampled_train_sft and sampled_validation_sft" in text(warning)
    assert (number(warning, "train_sft/rows"), number(warning, "validation_sft/rows")) == (2, 1)


def test_prompts_can_be_sampled_before_anything_to_train_on(world: World) -> None:
    selection = dg.AssetSelection.assets(world.key("test_gen"))
    with dg.DagsterInstance.ephemeral() as instance:
        run = world.run(instance, selection)
        assert run.success
        assert run.passed == {f"test_gen/{check}" for check in {*CHECKS, "prompts_unseen"}}
        assert world.run(instance).success
        # Later, and in a run of its own, they are compared with what was sampled meanwhile.
        world.rewrite("test_gen", [*chat_rows(12, "test_gen"), *chat_rows(1, "train_sft")])
        assert set(world.run(instance, selection).failed) == {"test_gen/prompts_unseen"}
        Path(world.samples["train_sft"].parquet).unlink()
        assert world.run(instance, selection).failed == {}


def test_a_single_check_can_be_run(world: World) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert world.run(instance).success
        wrong_roles(world)
        world.run(instance, dg.AssetSelection.assets(world.key("train_sft")).without_checks())
        key = dg.AssetCheckKey(world.key("train_sft"), "contract")
        run = world.run(instance, dg.AssetSelection.checks(key))
        assert (run.passed, set(run.failed), run.made) == (set(), {"train_sft/contract"}, set())


@pytest.mark.filterwarnings("ignore:Parameter `include_sources`")
def test_warnings_do_not_stop_automation_and_errors_do(world: World) -> None:
    """`all_deps_blocking_checks_passed` takes a failed check for failed, whatever its severity."""

    def requested(instance: dg.DagsterInstance) -> int:
        condition = dg.AutomationCondition.all_deps_blocking_checks_passed()
        user = dg.AssetSpec("automatic", deps=[world.key("train_sft")], automation_condition=condition)

        @dg.multi_asset(specs=[user])
        def automatic() -> None: ...

        definitions = dg.Definitions([*world.assets(), automatic], asset_checks=sample_checks(world.lineage))
        return dg.evaluate_automation_conditions(definitions, instance).total_requested

    with dg.DagsterInstance.ephemeral() as instance:
        rows = chat_rows(12, "train_sft")
        rows[0]["prompt"] = "Something else"
        world.rewrite("train_sft", rows)
        assert set(world.run(instance).failed) == {"train_sft/no_warnings"}
        assert requested(instance) == 1
        wrong_roles(world)
        assert "train_sft/contract" in world.run(instance).failed
        assert requested(instance) == 0


def scramble(world: World) -> None:
    """Whoever reads rows of the samples fails."""
    for ref in world.samples.values():
        for path in (Path(ref.parquet), Path(ref.jsonl)):
            path.write_bytes(bytes(path.stat().st_size))


def verdicts(run: Run) -> tuple[Any, ...]:
    """Everything that the checks have said."""
    return run.passed, run.descriptions, {name: found.metadata for name, found in run.failed.items()}


def bad_rows(world: World) -> None:
    wrong_roles(world)
    world.rewrite("train_gen", [*chat_rows(11, "train_gen"), *chat_rows(1, "test_gen")])


def seen_prompts(world: World) -> None:
    world.rewrite("test_gen", [*chat_rows(12, "test_gen"), *chat_rows(2, "train_sft")])


@pytest.mark.parametrize(
    ("damage", "found"),
    [(bad_rows, {"train_sft/contract", "train_gen/leakage"}), (seen_prompts, {"test_gen/prompts_unseen"})],
)
def test_what_was_seen_beside_the_data_gives_the_same_verdicts(
    world: World, damage: Callable[[World], None], found: set[str]
) -> None:
    damage(world)
    before = world.run()
    assert found <= set(before.failed)
    world.looked_at()
    assert verdicts(world.run()) == verdicts(before)


def test_where_rows_were_looked_at_beside_the_data_they_are_not_read(world: World) -> None:
    before = world.run()
    world.looked_at()
    for ref in world.samples.values():
        for path in (Path(ref.parquet), Path(ref.jsonl)):
            path.write_bytes(bytes(path.stat().st_size))
    assert verdicts(world.run()) == verdicts(before)


def test_what_was_seen_under_another_contract_is_no_verdict(world: World) -> None:
    world.looked_at()
    rows = chat_rows(12, "train_sft")
    rows[1]["messages"][1]["content"] = "<|end|>"
    seen = {"findings": world.samples["train_sft"].findings}
    world.rewrite("train_sft", rows)
    world.samples["train_sft"] = world.samples["train_sft"].model_copy(update=seen)
    assert world.run().success
    world.with_contract(policies={"too_long": "drop"})
    assert "markup 1" in text(world.run().failed["train_sft/contract"])


def test_a_file_that_is_gone_although_it_was_looked_at_fails_its_schema(world: World) -> None:
    world.looked_at()
    Path(world.samples["train_gen"].parquet).unlink()
    Path(world.samples["validation_sft"].jsonl).unlink()
    run = world.run()
    errors = {name for name, found in run.failed.items() if found.severity == dg.AssetCheckSeverity.ERROR}
    assert errors == {"train_gen/schema", "validation_sft/schema"}
    assert "train_gen.parquet has gone, or has another size than was written" in text(run.failed["train_gen/schema"])
    assert {name for name in run.passed if name.startswith("train_gen/")} == set()
    assert "validation_sft/contract" in run.passed


def test_a_report_with_every_rule_broken_is_readable(world: World) -> None:
    ref = world.samples["train_sft"]
    rules = {violation.rule: 2 for violation in make_violations("train_sft", {})}
    report = read_report(Path(ref.report)).model_copy(
        update={
            "violations": make_violations("train_sft", rules, chat_rows(3)),
            "rows_quarantined": 22,
            "rows_total": 134,
        }
    )
    Path(ref.report).write_text(report.model_dump_json(), encoding="utf-8")
    found = world.run().failed["train_sft/contract"]
    assert "22 sampled rows, 64.71 %, are in quarantine (schema 2, no_messages 2, roles 2," in text(found)
    assert "prompt_mismatch" not in text(found)


def dirty_rows(name: str) -> list[dict[str, Any]]:
    """Rows of which each of the first seven breaks another rule."""
    rows = chat_rows(80, name)
    rows[0]["prompt_id"] = None
    rows[1]["messages"] = []
    rows[2]["messages"] = rows[2]["messages"][1:]
    rows[3]["messages"] = rows[3]["messages"][:-1]
    rows[4]["messages"][1]["content"] = " "
    rows[5]["prompt"] = "Something else"
    rows[6]["messages"][1]["content"] = "word " * 9_000
    rows[7]["messages"][1]["content"] += "<|end|>"
    return [*rows, {**rows[20], "messages": chat_rows(1, "twice")[0]["messages"]}, {**rows[21], "prompt_id": "again"}]


@pytest.mark.slow
def test_what_the_engine_makes_of_dirty_data_passes_and_is_shown(tmp_path: Path) -> None:
    """The real graph, from shards to checks."""
    for split in SPLITS:
        leaked = chat_rows(40, f"test{split.removeprefix('train')}")[30:32] if split.startswith("train") else []
        write_shards(tmp_path / "source", split, [*dirty_rows(split), *leaked], shards=2, group=16)
    changes = {
        "dataset": {"source": "local", "path": str(tmp_path / "source")},
        "sample": {"percent": 100, "validation_percent": 20},
        "contract": {"context_tokens": 4096, "max_quarantined_percent": 50},
    }
    with dg.DagsterInstance.ephemeral() as instance:
        graph = Graph(tmp_path / "home", write_recipe(tmp_path / "recipe.yaml", changes), tmp_path / "refs", instance)
        result = graph.materialize(" or ".join(f"+sampled_{split}" for split in SAMPLED_SPLITS))
        assert result.success, failure_message(result)
        evaluations = result.get_asset_check_evaluations()
        outcomes = [(each.asset_key.path[-1].removeprefix("sampled_"), each) for each in evaluations]
        assert {split for split, _ in outcomes} == set(SAMPLED_SPLITS)
        failed = {f"{split}/{each.check_name}" for split, each in outcomes if not each.passed}
        # Where the two rows went that are only warned about is up to the seed.
        assert {f"{split}/no_warnings" for split in SPLITS if split != "train_sft"} <= failed
        assert failed <= {f"{split}/no_warnings" for split in SAMPLED_SPLITS}
        event = instance.get_latest_materialization_event(graph.key("sampled_train_sft"))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert {key.partition("/")[2]: metadata[key].value for key in metadata if key.startswith("violations/")} == {
        **dict.fromkeys(USUAL_RULES, 1),
        # Also where the first message has gone, and where another conversation has the id.
        "prompt_mismatch": 3,
        "leaked_id": 2,
        "leaked_text": 2,
    }
    shown = metadata["violations"]
    assert isinstance(shown, dg.MarkdownMetadataValue)
    assert shown.md_str
    headings = [line.partition(":")[0] for line in shown.md_str.splitlines() if line.startswith("### ")]
    assert headings == [f"### {rule}" for rule in USUAL_RULES]
