"""One thing changes after the other: exactly what depends on it acts, and no more than one job is submitted."""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from phi_assets.azureml.connection.client import Workspace
from phi_assets.config.dataset import SPLITS
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.azureml import toys as toy
from tests.dataset.shards import write_shards
from tests.e2e.harness.beside import EVERYWHERE, SAYS, assert_has_its_own, gate_of_second, write_second_recipe
from tests.e2e.harness.run_records import RunRecords
from tests.e2e.harness.toy_deployment import BESIDE
from tests.graph_runs import Graph, actions, failure_message
from tests.toy_graph import write_toy_recipe

pytestmark = pytest.mark.slow

TRAINING_DATA = {"sampled_train_sft", "sampled_validation_sft"}
MODEL_CHAIN = {"finetune_job", "registered_model", "online_deployment", "live_traffic", "scoring_result"}
SCORING = {"base_answers", "scoring_result"}
"""Both models are asked the same."""


ROWS = 60
"""Of a split: half of them are sampled."""


@dataclass
class World:
    """A data set, a recipe and a registry that the changes are made to one after the other, and the graph over them."""

    folder: Path
    emulator: Connection
    instance: dg.DagsterInstance
    recipe: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the last run had instead of the toy recipe's values."""
    versions: dict[str, str] = field(default_factory=dict)
    """Data versions as of the last run."""
    recipe_file: Path = Path()
    second: tuple[Path, ...] = ()
    """The file of the recipe that is at work beside it, if one is."""
    is_settled: bool = False
    """Whether nothing has changed since the last run."""
    seeds: Iterator[int] = field(default_factory=itertools.count)

    @property
    def registry(self) -> Path:
        return self.emulator.directory / "registry" / toy.REGISTRY

    def ask(self, split: str) -> None:
        """The split has rows with other questions than ever before."""
        write_shards(self.folder / "hub", split, make_rows(next(self.seeds)))

    def leak(self) -> None:
        """Two questions of the training split are asked in the test split, too."""
        # Of these rows, one is kept for validation and the other is not.
        leaked = make_rows(SPLITS.index("train_sft"))[2:4]
        write_shards(self.folder / "hub", "test_sft", [*leaked, *make_rows(next(self.seeds))[2:]])

    def tag_model(self) -> None:
        """The version of the toy model that the recipe has is another one than before."""
        write_model_tag(self.registry, self.recipe["model"]["version"], "in place")

    def run(self, changes: dict[str, dict[str, Any]]) -> dg.ExecuteInProcessResult:
        """Materialize all, with some of the last run's values replaced."""
        self.is_settled = False
        for section, values in changes.items():
            self.recipe[section] = self.recipe.get(section, {}) | values
        self.recipe_file = write_toy_recipe(self.new_folder() / "matrix.yaml", self.recipe)
        result = self.graph(self.recipe_file, *self.second).run()
        assert result.success, failure_message(result)
        self.versions = data_versions(result)
        self.is_settled = True
        return result

    def new_folder(self) -> Path:
        """For a recipe: its file's name is its own, and a recipe is read once per path."""
        folder = self.folder / f"recipe-{len(list(self.folder.glob('recipe-*')))}"
        folder.mkdir()
        return folder

    def graph(self, recipe: Path, *others: Path) -> Graph:
        """The recipe's, in a location with others."""
        return Graph(self.emulator.directory.parent, recipe, self.folder / "storage", self.instance, *others)

    @contextmanager
    def second_recipe(self) -> Iterator[None]:
        """Inside, a run of the second recipe waits for its job; afterwards it has ended well, with what is its own."""
        folder = self.new_folder()
        # The matrix calls its data as the bundled data is called.
        second = write_second_recipe(folder, dataset={"name": BESIDE})
        records = RunRecords()
        records.instance = self.instance
        with ThreadPoolExecutor(1) as executor:
            try:
                run = executor.submit(self.graph(second, self.recipe_file).run)
                run_id = records.until(
                    lambda: next((each.run_id for each in records.runs()), None), 60, "There is no run"
                )
                records.wait_for_message(run_id, "toy_step | ")
                self.second = (second,)
                yield
                assert not run.done()
            finally:
                gate_of_second(folder).touch()
                self.second = ()
        assert run.result().success, failure_message(run.result())
        assert_has_its_own(records, BESIDE, SAYS)

    def begin(self) -> None:
        """A first data set and recipe; nothing was run yet."""
        for split in SPLITS:
            self.ask(split)
        self.recipe = {
            "model": {"version": "1"},
            "dataset": {"source": "local", "path": str(self.folder / "hub")},
            "sample": {"percent": 50, "validation_percent": 20},
            "serving": {"endpoint": "change-matrix"},
            "compute": {"name": "change-matrix"},
        }


def make_rows(seed: int) -> list[dict[str, Any]]:
    """Conversations that break no rule, of questions that no other seed has; all of them are of the same length."""
    return [
        {
            "prompt": (question := f"What is {seed:02} times {number:02}?"),
            "prompt_id": f"{seed}/{number}",
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": f"{seed * number:04}"},
            ],
        }
        for number in range(ROWS)
    ]


def data_versions(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    return {
        materialization.asset_key.path[-1]: materialization.tags["dagster/data_version"]  # type: ignore[index]
        for event in result.get_asset_materialization_events()
        if (materialization := event.step_materialization_data.materialization)
    }


def write_component(registry: Path, version: str) -> None:
    """Another version of the toy pipeline, with the same content."""
    source = yaml.safe_load((registry / "components" / "toy_pipeline" / "1.yaml").read_text(encoding="utf-8"))
    target = registry / "components" / "toy_pipeline" / f"{version}.yaml"
    target.write_text(yaml.safe_dump(source | {"version": version}), encoding="utf-8")


def write_model_tag(registry: Path, version: str, value: str | None) -> None:
    """The toy model's version, edited in place as registries do."""
    path = registry / "models" / "toy-model" / f"{version}.yaml"
    model = yaml.safe_load(path.read_text(encoding="utf-8"))
    model["tags"] = {key: tag for key, tag in model["tags"].items() if key != "edited"} | (
        {"edited": value} if value else {}
    )
    path.write_text(yaml.safe_dump(model), encoding="utf-8")


@pytest.fixture(scope="module")
def world(emulator: Connection, toys: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("matrix")
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        world = World(folder, emulator, instance)
        world.begin()
        yield world
        for version in ("1", "2"):
            write_model_tag(world.registry, version, None)
        (world.registry / "components" / "toy_pipeline" / "2.yaml").unlink(missing_ok=True)


@dataclass(frozen=True)
class Change:
    """Something that a person or the world changes, and what must come of it."""

    acts: set[str]
    recipe: dict[str, dict[str, Any]] = field(default_factory=dict)
    edit: Callable[[World], None] | None = None
    says: dict[str, set[str]] = field(default_factory=dict)
    """Asset to how everything begins that its metadata says has changed."""
    beside: bool = False
    """A run of another recipe goes on beside it; `PHI_TEST_BESIDE=1` has one everywhere."""

    @property
    def jobs(self) -> int:
        return int("finetune_job" in self.acts)


CHANGES: dict[str, Change] = {
    # Each is made to what those before it have left behind, so that a change costs one run; chosen alone, it is made to
    # the first recipe.
    # What must not matter, all at once: if one of it did, something would act.
    "what is no part of any result": Change(
        set(),
        {
            "finetune": {
                "display_name": "another name",
                "tags": {"cost-centre": "42"},
                "experiment": "another",
                "timeout_hours": 3,
                "attempts": 5,
            },
            "dataset": {"name": "another-name"},
            "scoring": {"max_p95_seconds": 60},
        },
    ),
    # Machines, endpoint, deployment, questions, and data that nothing is made of: none of them depends on another, and
    # what acts says all that it does so for.
    "compute size, as many GPUs; endpoint lease; scoring prompts; train_gen rows": Change(
        {"finetune_compute", "online_endpoint", *SCORING, "source", "raw_train_gen", "sampled_train_gen"},
        {
            "compute": {"name": "other-size", "size": toy.AS_MANY_GPUS},
            "serving": {"lease_hours": 100},
            "scoring": {"seed": 7},
        },
        edit=lambda world: world.ask("train_gen"),
        says={
            "finetune_compute": {"name: ", f"size: {toy.SIZE} -> {toy.AS_MANY_GPUS}"},
            "online_endpoint": {"lease_hours: 24.0 -> 100.0"},
            "base_answers": {"seed: 42 -> 7"},
            "scoring_result": {"seed: 42 -> 7", "base model: "},
            "sampled_train_gen": {"raw data: "},
        },
    ),
    "compute nodes; instance count; scoring parameter": Change(
        {"finetune_compute", "online_deployment", *SCORING},
        {"compute": {"max_nodes": 2}, "serving": {"instance_count": 2}, "scoring": {"max_new_tokens": 81}},
        says={
            "finetune_compute": {"max_nodes: 20 -> 2"},
            "online_deployment": {"instance_count: 1 -> 2"},
            "base_answers": {"max_new_tokens: 80 -> 81"},
            "scoring_result": {"max_new_tokens: 80 -> 81", "base model: "},
        },
    ),
    "request timeout; test_gen rows": Change(
        {"online_deployment", "source", "raw_test_gen", "sampled_test_gen", *SCORING},
        {"serving": {"request_timeout_seconds": 31}},
        edit=lambda world: world.ask("test_gen"),
        says={
            "online_deployment": {"request_timeout_seconds: 30 -> 31"},
            "sampled_test_gen": {"raw data: "},
            "base_answers": {"test data: "},
            "scoring_result": {"test data: ", "base model: "},
        },
    ),
    # What makes another model.
    "test rows": Change(
        {"source", "raw_test_sft", "sampled_test_sft", *MODEL_CHAIN},
        edit=lambda world: world.ask("test_sft"),
        says={"finetune_job": {"test data: "}},
    ),
    # The rows are those of the first training data, with the first share of them for validation.
    "rows of the training data in the test data": Change(
        {"source", "raw_test_sft", "sampled_test_sft", *TRAINING_DATA, *MODEL_CHAIN},
        edit=World.leak,
        says={"finetune_job": {"train data: ", "validation data: ", "test data: "}},
    ),
    "train rows": Change(
        {"source", "raw_train_sft", *TRAINING_DATA, *MODEL_CHAIN},
        edit=lambda world: world.ask("train_sft"),
        says={"finetune_job": {"train data: ", "validation data: "}, "registered_model": {"job: phi3-ft-"}},
        beside=True,
    ),
    "share of the validation data": Change(
        {*TRAINING_DATA, *MODEL_CHAIN},
        {"sample": {"validation_percent": 40}},
        says={"finetune_job": {"train data: ", "validation data: "}},
    ),
    "model version": Change({"foundation_model", "base_answers", *MODEL_CHAIN}, {"model": {"version": "2"}}),
    "model content under the same version": Change(
        {"foundation_model", "base_answers", *MODEL_CHAIN},
        edit=World.tag_model,
        says={"foundation_model": {"model content: "}, "finetune_job": {"model content: "}},
    ),
    "component version": Change(
        MODEL_CHAIN,
        {"component": {"version": "2"}},
        edit=lambda world: write_component(world.registry, "2"),
        says={"finetune_job": {"component: "}},
    ),
    # That each of them makes another job is what tests of its identity say.
    "parameters of each kind": Change(
        MODEL_CHAIN,
        {"parameters": {"prefix": "other: ", "rate": 0.25, "seed": 43, "kind": "b", "switch": True}},
        says={"finetune_job": {"prefix: echo:  -> other: ", "rate: ", "seed: 42 -> 43", "kind: ", "switch: "}},
    ),
    "compute size, more GPUs": Change(
        {"finetune_compute", *MODEL_CHAIN},
        {"compute": {"name": "more-gpus", "size": toy.OTHER_SIZE}},
        says={"finetune_job": {"gpus: 1 -> 2"}},
    ),
    # At the end, as those before it are about the base model's answers, too.
    "no base model": Change(
        SCORING,
        {"scoring": {"compare_with_base": False}},
        says={
            "base_answers": {"compare_with_base: True -> False"},
            "scoring_result": {"compare_with_base: True -> False", "base model: "},
        },
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_exactly_what_depends_on_the_change_acts(name: str, world: World, control: Control) -> None:
    change = CHANGES[name]
    if not world.is_settled:
        world.run({})
    with world.second_recipe() if change.beside or EVERYWHERE else nullcontext():
        earlier = world.versions
        if change.edit is not None:
            change.edit(world)
        before = control.last_entry()
        result = world.run(change.recipe)
        acted = {asset for asset, action in actions(result).items() if action not in ("reused",)}
        versions = world.versions
        acted |= {asset for asset in versions if asset not in actions(result) and versions[asset] != earlier[asset]}
        assert acted == change.acts
        assert control.counts(since=before).get("PUT /jobs/{name}", 0) == change.jobs
        changed = changes(result)
        for asset, says in change.says.items():
            parts = changed[asset].split("; ")
            assert {next((part for part in says if each.startswith(part)), each) for each in parts} == says
        untouched = {asset for asset in versions if asset not in acted}
        assert {asset: versions[asset] for asset in untouched} == {asset: earlier[asset] for asset in untouched}


def changes(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """What each asset's metadata says has changed."""
    return {
        materialization.asset_key.path[-1]: materialization.metadata["changed"].value
        for event in result.get_asset_materialization_events()
        if (materialization := event.step_materialization_data.materialization)
    }
