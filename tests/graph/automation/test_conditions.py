"""What `phi_automation` would start: exactly what has new inputs, one level of the graph at a time."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.declarative_automation import automation_condition_tester
from dagster._core.events import StepMaterializationData

from phi_assets.config.dataset import SPLITS
from phi_assets.config.recipe_files import load_recipe
from phi_assets.config.settings import load_settings
from phi_assets.definitions import build_definitions
from phi_assets.graph.automation.conditions import DETACHED_TAG, WAITING
from tests.graph_runs import keys_of, write_recipe

SCORING = ["base_answers", "scoring_result"]
MODEL_CHAIN = ["finetune_job", "registered_model", "online_deployment", "live_traffic", *SCORING]

TRAINING_DATA = {"sampled_train_sft", "sampled_validation_sft"}
"""They come from one step."""
SAMPLED = {f"sampled_{split}" for split in SPLITS} | TRAINING_DATA

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `include_sources`")


@dataclass
class Automation:
    """The real graph's conditions over an instance in memory, whose materializations are reported, not made."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    cursor: Any = None
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def assets(self) -> list[str]:
        return list(self.keys)

    @cached_property
    def keys(self) -> dict[str, dg.AssetKey]:
        return keys_of(self.definitions)

    def materialize(
        self,
        assets: Iterable[str],
        version: str | None = None,
        checks: bool | None = True,
        run: dg.DagsterRun | None = None,
    ) -> None:
        """Report a materialization with a data version, the one of the last time unless given, and its checks."""
        for asset in assets:
            self.versions[asset] = version or self.versions.get(asset, "1")
            tags = {
                "dagster/data_version": self.versions[asset],
                "dagster/data_version_is_user_provided": "true",
            }
            materialization = dg.AssetMaterialization(self.keys[asset], tags=tags)
            if run is None:
                self.instance.report_runless_asset_event(materialization)
            else:
                self._report(dg.DagsterEventType.ASSET_MATERIALIZATION, StepMaterializationData(materialization), run)
            if checks is not None:
                self.check(asset, passed=checks, run=run)

    def check(self, asset: str, *, passed: bool, run: dg.DagsterRun | None = None) -> None:
        """Report a result of every check of the asset.

        It counts for the newest materialization if both are of one run; of two, their times decide, to the millisecond.
        """
        for check in self.definitions.resolve_asset_graph().asset_check_keys:
            if check.asset_key == self.keys[asset]:
                evaluation = dg.AssetCheckEvaluation(asset_key=check.asset_key, check_name=check.name, passed=passed)
                if run is None:
                    self.instance.report_runless_asset_event(evaluation)
                else:
                    self._report(dg.DagsterEventType.ASSET_CHECK_EVALUATION, evaluation, run)

    def _report(self, kind: dg.DagsterEventType, data: Any, run: dg.DagsterRun) -> None:
        event = dg.DagsterEvent(kind.value, run.job_name, event_specific_data=data)
        self.instance.report_dagster_event(event, run.run_id)

    def tick(self) -> set[str]:
        """The assets that are requested now."""
        result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        return {asset for asset in self.assets if result.get_num_requested(self.keys[asset])}

    def flow(self, version: str) -> list[set[str]]:
        """Everything that is requested, level by level, where each asset comes out with this data version."""
        levels = []
        while requested := self.tick():
            levels.append(requested)
            self.materialize(requested, version)
        return levels


@cache
def definitions(recipe: str = "quickstart") -> dg.Definitions:
    edited = load_recipe(recipe).model_copy(update={"name": "quickstart"})
    return build_definitions(load_settings({}), edited)


@pytest.fixture(scope="module")
def switched_on(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Automation]:
    """Everything had been materialized before; the folder is for others to copy."""
    folder = tmp_path_factory.mktemp("switched-on")
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        found = Automation(definitions(), instance)
        found.materialize(found.assets)
        assert found.tick() == set()
    return folder, found


@pytest.fixture
def automation(switched_on: tuple[Path, Automation], tmp_path: Path) -> Iterator[Automation]:
    """Switched on after everything had been materialized."""
    folder, found = switched_on
    copied = shutil.copytree(folder, tmp_path / "dagster")
    with dg.DagsterInstance.local_temp(str(copied)) as instance:
        yield replace(found, instance=instance, versions=dict(found.versions))


@pytest.fixture(autouse=True)
def kept_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick has the last one's cursor as it is; that it can be written and read is shown by the daemon's tests."""
    monkeypatch.setattr(automation_condition_tester, "serialize_value", lambda cursor: cursor)
    monkeypatch.setattr(automation_condition_tester, "deserialize_value", lambda cursor, _: cursor)


def test_nothing_starts_on_a_fresh_install() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        automation = Automation(definitions(), instance)
        assert [automation.tick() for _ in range(3)] == [set()] * 3


def test_unchanged_data_versions_start_nothing(automation: Automation) -> None:
    automation.materialize(automation.assets)
    assert automation.tick() == set()
    automation.materialize(["source"])
    automation.materialize(["raw_train_sft", "foundation_model"])
    assert automation.tick() == set()


def test_a_new_version_of_one_split_goes_its_way_and_no_other(automation: Automation) -> None:
    automation.materialize(["raw_train_sft"], "2")
    assert automation.flow("2") == [TRAINING_DATA, *({asset} for asset in MODEL_CHAIN)]


def test_new_test_data_is_compared_with_the_training_data_before_anything_is_trained(automation: Automation) -> None:
    automation.materialize(["raw_test_sft"], "2")
    assert automation.tick() == {"sampled_test_sft"}
    automation.materialize(["sampled_test_sft"], "2")
    assert automation.tick() == TRAINING_DATA
    # No row of it has leaked: they are as before, and the job has the test data as a reason of its own.
    automation.materialize(TRAINING_DATA)
    assert automation.tick() == {"finetune_job"}


def test_a_run_that_comes_out_unchanged_ends_the_flow(automation: Automation) -> None:
    automation.materialize(["raw_train_sft"], "2")
    assert automation.tick() == TRAINING_DATA
    automation.materialize(TRAINING_DATA, "2")
    assert automation.tick() == {"finetune_job"}
    automation.materialize(["finetune_job"])
    assert automation.tick() == set()


def test_what_arrives_while_the_job_runs_is_not_lost(automation: Automation) -> None:
    automation.materialize(["sampled_train_sft"], "2")
    assert automation.tick() == {"finetune_job"}
    run = automation.instance.create_run_for_job(
        job_def=automation.definitions.resolve_job_def("quickstart__finetune"),
        asset_selection=frozenset({automation.keys["finetune_job"]}),
        status=dg.DagsterRunStatus.STARTED,
    )
    assert automation.tick() == set()
    automation.materialize(["sampled_train_sft"], "3")
    assert automation.tick() == set()
    automation.materialize(["finetune_job"], "2")
    automation.instance.report_run_canceled(run)
    requested = [automation.tick() for _ in range(3)]
    assert sum("finetune_job" in assets for assets in requested) == 1


def test_a_job_that_was_left_to_itself_is_on_its_way_until_it_has_been_taken_up(automation: Automation) -> None:
    automation.materialize(["source"], "2")
    while "finetune_job" not in (requested := automation.tick()):
        automation.materialize(requested, "2")
    run = automation.instance.create_run_for_job(
        job_def=automation.definitions.resolve_job_def("quickstart__finetune"),
        asset_selection=frozenset({automation.keys["finetune_job"]}),
        status=dg.DagsterRunStatus.STARTED,
    )
    automation.instance.add_run_tags(run.run_id, {DETACHED_TAG: WAITING})
    automation.instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name), run.run_id
    )
    # The test data are new as well; they are answered once, by the model to come.
    assert [automation.tick() for _ in range(2)] == [set()] * 2
    automation.materialize(["sampled_train_sft"], "3")
    assert automation.tick() == set()
    automation.materialize(["finetune_job"], "2")
    automation.instance.add_run_tags(run.run_id, {DETACHED_TAG: "over"})
    # What arrived meanwhile is the job's next reason.
    assert automation.flow("3") == [{asset} for asset in MODEL_CHAIN]


def test_test_gen_never_reaches_the_job(automation: Automation) -> None:
    automation.materialize(["raw_test_gen"], "2")
    levels = automation.flow("2")
    assert levels[0] == {"sampled_test_gen"}
    # The live model answers the new questions; before it goes live again, it need not.
    assert set().union(*levels[1:]) == {"sampled_train_gen", "live_traffic", *SCORING}
    assert sum(map(len, levels)) == 5


def test_a_new_revision_makes_every_asset_once(automation: Automation) -> None:
    automation.materialize(["source"], "2")
    levels = automation.flow("2")
    assert levels == [
        {f"raw_{split}" for split in SPLITS},
        {"sampled_test_sft", "sampled_test_gen"},
        {*TRAINING_DATA, "sampled_train_gen"},
        *({asset} for asset in MODEL_CHAIN),
    ]


def test_a_new_model_waits_for_its_cluster_and_makes_every_asset_once(automation: Automation) -> None:
    automation.materialize(["foundation_model"], "2")
    assert automation.tick() == {"finetune_compute"}
    # The cluster is as before: the job has the model as a reason of its own.
    automation.materialize(["finetune_compute"])
    assert automation.flow("2") == [{asset} for asset in MODEL_CHAIN]


def test_scoring_goes_on_with_the_old_model_where_the_new_one_fails(automation: Automation) -> None:
    automation.materialize(["source"], "2")
    while "finetune_job" not in (requested := automation.tick()):
        automation.materialize(requested, "2")
    # Its run has failed: nothing was materialized, and nothing is on its way any more.
    assert automation.flow("2") == [{asset} for asset in ("live_traffic", *SCORING)]


def test_scoring_waits_for_the_checks_that_a_new_model_has_yet_to_pass(automation: Automation) -> None:
    run = automation.instance.create_run_for_job(
        job_def=automation.definitions.resolve_job_def("quickstart__finetune"),
        asset_selection=frozenset({automation.keys["registered_model"]}),
        status=dg.DagsterRunStatus.STARTED,
    )
    automation.materialize(["registered_model"], "2", checks=None, run=run)
    automation.materialize(["sampled_test_gen"], "2")
    assert automation.tick() == {"sampled_train_gen"}
    automation.materialize(["sampled_train_gen"], "2")
    assert automation.tick() == set()
    automation.check("registered_model", passed=True, run=run)
    automation.instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name), run.run_id
    )
    assert automation.flow("2") == [{asset} for asset in MODEL_CHAIN[2:]]


def test_an_edited_recipe_starts_exactly_what_it_touches(automation: Automation, tmp_path: Path) -> None:
    def edited(name: str, changes: dict[str, dict[str, Any]]) -> set[str]:
        automation.definitions = definitions(str(write_recipe(tmp_path / f"{name}.yaml", changes)))
        requested: set[str] = set()
        while now := automation.tick():
            assert not requested & now
            automation.materialize(now)
            requested |= now
        return requested

    assert edited("rate", {"parameters": {"learning_rate": 1e-3}}) == {"preflight", "finetune_job"}
    both: dict[str, dict[str, Any]] = {"parameters": {"learning_rate": 1e-3}}
    assert edited("scoring", {**both, "scoring": {"samples": 3}}) == set(SCORING)
    both["scoring"] = {"samples": 3}
    assert edited("model", {**both, "model": {"version": "13"}}) == {"preflight", "foundation_model"}
    both["model"] = {"version": "13"}
    assert edited("percent", {**both, "sample": {"percent": 20}}) == {"preflight", *SAMPLED}


def test_an_endpoint_is_never_started_by_itself(automation: Automation, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "lease.yaml", {"serving": {"lease_hours": 1, "endpoint": "another-name"}})
    automation.definitions = definitions(str(recipe))
    assert automation.flow("1") == [{"preflight"}]


def test_an_edited_recipe_is_looked_at_before_anything_is_started_for_it(
    automation: Automation, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path / "rate.yaml", {"parameters": {"learning_rate": 1e-3}})
    automation.definitions = definitions(str(recipe))
    assert automation.tick() == {"preflight"}
    automation.materialize(["preflight"], checks=False)
    assert automation.tick() == set()
    automation.check("preflight", passed=True)
    assert automation.tick() == {"finetune_job"}


def test_an_input_that_is_missing_or_unchecked_starts_nothing(automation: Automation) -> None:
    automation.materialize(["raw_train_sft"], "2")
    assert automation.tick() == TRAINING_DATA
    automation.materialize(TRAINING_DATA, "2", checks=False)
    assert automation.tick() == set()
    automation.check("sampled_train_sft", passed=True)
    assert automation.tick() == set()
    automation.check("sampled_validation_sft", passed=True)
    assert automation.tick() == {"finetune_job"}


def test_a_check_that_has_never_run_starts_nothing() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        automation = Automation(definitions(), instance)
        automation.materialize(automation.assets, checks=None)
        automation.tick()
        automation.materialize(["sampled_train_sft"], "2", checks=None)
        assert automation.tick() == set()


def test_a_missing_input_starts_nothing() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        automation = Automation(definitions(), instance)
        automation.materialize({*automation.assets} - {"finetune_compute"})
        automation.tick()
        automation.materialize(["sampled_train_sft"], "2")
        assert automation.tick() == set()
