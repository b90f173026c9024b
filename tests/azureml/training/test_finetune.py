"""One fine-tune of a recipe: what it depends on, what it was given, and what it left."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from phi_assets.azureml.compute.clusters import ensure_compute
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.azureml.storage.blob_place import blob_place
from phi_assets.azureml.training.finetune import FinetuneResult, ensure_finetune_job
from phi_assets.config.dataset import DatasetSection
from phi_assets.config.recipe import ComponentSection, FinetuneSection, Recipe
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.refs import DataFile, SampleRef
from tests.azureml import toys as toy
from tests.emulator_requests import Requests

FILES = ["train_sft.jsonl", "validation_sft.jsonl", "test_sft.jsonl"]


def fine_tune(
    toys: Workspace,
    folder: Path,
    *,
    train: str = "train",
    validation: str = "validation",
    component: ComponentSection = toy.COMPONENT,
    dataset: str = "ultrachat",
    output: Log | None = None,
    log: Log = silent,
    keep: Callable[[SampleRef], SampleRef] = lambda sample: sample,
    **parameters: Any,
) -> FinetuneResult:
    section = {"parameters": {"seed": 7, **parameters}, "defaults": "recipe_wins", "experiment": "toys"}
    recipe = Recipe(
        name="toy",
        model=toy.MODEL,
        component=component,
        finetune=FinetuneSection.model_validate(section),
        dataset=DatasetSection(name=dataset),
    )
    model = get_foundation_model(toys, recipe.model)
    return ensure_finetune_job(
        toys,
        recipe,
        model=model,
        compute=ensure_compute(toys, toy.COMPUTE, model),
        train=keep(toy.make_sample(folder, "train_sft", f"{train} {folder}")),
        validation=keep(toy.make_sample(folder, "validation_sft", f"{validation} {folder}")),
        test=keep(toy.make_sample(folder, "test_sft", f"test {folder}")),
        output=output,
        log=log,
    )


def test_a_new_job_names_its_data_and_a_reused_one_has_none(toys: Workspace, tmp_path: Path) -> None:
    first = fine_tune(toys, tmp_path)
    assert [(data.name, data.action) for data in first.data] == [
        ("ultrachat-train-sft", "created"),
        ("ultrachat-validation-sft", "created"),
        ("ultrachat-test-sft", "created"),
    ]
    assert all(data.reason for data in first.data)
    again = fine_tune(toys, tmp_path)
    assert (again.job.action, again.data) == ("reused", ())
    assert again.inputs == first.inputs


def test_inputs_are_labelled_for_people(toys: Workspace, tmp_path: Path) -> None:
    inputs = fine_tune(toys, tmp_path).inputs
    assert inputs["component"] == "toy_pipeline:1"
    assert inputs["foundation model"] == "toy-model:2"
    assert inputs["gpus"] == "1"
    assert inputs["seed"] == "7"
    assert inputs["prefix"] == "default: "
    assert inputs["rate"] == "0.5"
    data = [inputs[f"{use} data"] for use in ("train", "validation", "test")]
    assert len({*data}) == 3
    assert {len(value) for value in [*data, inputs["model content"]]} == {12}
    assert all(isinstance(value, str) for value in inputs.values())


def test_the_input_that_changed_is_the_only_one_that_differs(toys: Workspace, tmp_path: Path) -> None:
    before = fine_tune(toys, tmp_path)
    for use in ("train", "validation"):
        changes: dict[str, Any] = {use: "bye"}
        after = fine_tune(toys, tmp_path, **changes)
        assert after.job.action == "submitted"
        assert {key for key in after.inputs if after.inputs[key] != before.inputs[key]} == {f"{use} data"}


def test_only_what_has_changed_is_uploaded(toys: Workspace, tmp_path: Path, emulator: Connection) -> None:
    def uploaded(**changes: Any) -> tuple[str, dict[str, int]]:
        with Requests(emulator) as requests:
            result = fine_tune(toys, tmp_path, **changes)
        return result.job.action, requests.uploaded

    assert uploaded() == ("submitted", {name: (tmp_path / name).stat().st_size for name in FILES})
    assert uploaded() == ("reused", {})
    # Another job on the same three data assets.
    assert uploaded(rate=0.25) == ("submitted", {})
    changed = uploaded(validation="another validation")
    assert changed == ("submitted", {"validation_sft.jsonl": (tmp_path / "validation_sft.jsonl").stat().st_size})
    # The content is there already, under another name.
    assert uploaded(dataset="renamed", rate=0.75) == ("submitted", {})


def test_what_lies_in_a_datastore_is_registered_in_place(toys: Workspace, tmp_path: Path, emulator: Connection) -> None:
    url = "azureml://datastores/workspaceblobstore/paths/phi-data"
    place = blob_place(url, lambda: toys.credential, lambda: toys)
    storage = DataStorage(url, tmp_path, lambda _: place)
    kept: dict[str, SampleRef] = {}

    def keep(sample: SampleRef) -> SampleRef:
        kept[sample.split] = storage.keep(sample.model_copy(update={"parquet": DataFile()}))
        return kept[sample.split]

    lines: list[str] = []
    with Requests(emulator) as requests:
        fine_tune(toys, tmp_path, output=lines.append, keep=keep)
    # Each was sent once, when it was kept, and nothing was sent or read for the data assets by us.
    assert requests.uploaded == {name: (tmp_path / name).stat().st_size for name in FILES}
    blobs = [entry for entry in requests.entries if entry.plane == "blob" and "jsonl" in entry.path]
    assert sorted(entry.method for entry in blobs) == ["HEAD"] * 9 + ["PUT"] * 3
    for split, sample in kept.items():
        asset: Any = toys.ml.data.get(f"ultrachat-{split.replace('_', '-')}", sample.sha256[:12])
        assert asset.path.endswith(f"/datastores/workspaceblobstore/paths/phi-data/{sample.jsonl.name}")
    # The job has read what lies there.
    content = (tmp_path / "validation_sft.jsonl").read_text().strip()
    assert any(f"evaluating on validation_sft.jsonl: {content}" in line for line in lines)


def test_data_assets_are_named_after_the_recipes_data_set(toys: Workspace, tmp_path: Path) -> None:
    first = fine_tune(toys, tmp_path, dataset="mine")
    assert [data.name for data in first.data] == ["mine-train-sft", "mine-validation-sft", "mine-test-sft"]
    # The name is no reason for another job.
    other = fine_tune(toys, tmp_path, dataset="yours")
    assert (other.job.action, other.job.name) == ("reused", first.job.name)


def test_the_step_evaluates_on_the_validation_data(toys: Workspace, tmp_path: Path) -> None:
    lines: list[str] = []
    log: list[str] = []
    fine_tune(toys, tmp_path, output=lines.append, log=log.append)
    content = (tmp_path / "validation_sft.jsonl").read_text().strip()
    assert any(f"evaluating on validation_sft.jsonl: {content}" in line for line in lines)
    assert not any("Warning" in line for line in log)


def test_a_component_that_takes_no_validation_data_is_given_none_and_the_log_says_so(
    toys: Workspace, tmp_path: Path
) -> None:
    lines: list[str] = []
    log: list[str] = []
    result = fine_tune(toys, tmp_path, component=toy.WITHOUT_VALIDATION, output=lines.append, log=log.append)
    assert [data.name for data in result.data] == ["ultrachat-train-sft", "ultrachat-test-sft"]
    assert any(
        line.startswith("Warning: component toy_pipeline_without_validation:1 has no input validation_file_path")
        for line in log
    )
    assert lines
    assert not any("evaluating on" in line for line in lines)
    other = fine_tune(toys, tmp_path, component=toy.WITHOUT_VALIDATION, validation="another")
    assert (other.job.action, other.job.name) == ("reused", result.job.name)


def test_a_curve_or_a_log_that_cannot_be_read_is_said_and_nothing_is_lost(
    toys: Workspace, tmp_path: Path, control: Control
) -> None:
    whole = fine_tune(toys, tmp_path).job
    assert (whole.metrics_note, whole.loss_problems) == ("", ())
    control.add_fault(plane="mlflow", route="*/metrics/get-history", action="status", status=404)
    curveless = fine_tune(toys, tmp_path).job
    assert curveless.metrics == {"loss": 1.0}
    assert f"The loss curve of job {whole.name} cannot be read. https://" in curveless.metrics_note
    control.clear_faults()
    control.add_fault(plane="history", route="*/details", action="status", status=403)
    logless = fine_tune(toys, tmp_path).job
    assert logless.metrics == whole.metrics
    assert f"The logs of job {whole.name} cannot be searched" in logless.metrics_note


def test_the_loss_is_a_curve(toys: Workspace, tmp_path: Path) -> None:
    curve = fine_tune(toys, tmp_path).curves["loss"]
    assert [(point.step, point.value) for point in curve] == [(0, 3.0), (1, 2.0), (2, 1.0)]
