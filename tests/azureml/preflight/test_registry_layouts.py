"""Today's registry, however it writes what it says of a model: four layouts, two names of the field, one meaning."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import yaml

from phi_assets.azureml.billing.prices import load_prices
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.models.foundation import foundation_model_ref
from phi_assets.azureml.models.metadata import RegistryModel, read_system_metadata
from phi_assets.azureml.models.registry import read_registry_model
from phi_assets.azureml.preflight.estimate import Training
from phi_assets.azureml.preflight.run import Preflight, run_preflight
from phi_assets.config.recipe import ModelSection
from phi_assets.config.recipe_files import load_recipe
from phi_assets.config.settings import load_settings
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.graph_runs import write_recipe

STYLES = [
    (layout, name) for layout in ("tags", "objects", "text", "absent") for name in ("systemMetadata", "system_metadata")
]
KNOWN = [style for style in STYLES if style[0] in ("objects", "text")]
AZURE = {
    "PHI_TARGET": "azure",
    "AZURE_SUBSCRIPTION_ID": "11111111-1111-4111-8111-111111111111",
    "AZURE_RESOURCE_GROUP": "group",
    "AZURE_ML_WORKSPACE": "workspace",
}


def registry_of(layout: str, name: str) -> str:
    return f"layout-{layout}-{name.replace('_', '-')}"


@pytest.fixture(scope="module")
def registries(emulator: Connection, workspace: Workspace) -> Iterator[Workspace]:
    """The models of azureml-2026 in each style, and one more registry that has only what is not alive."""
    folder = emulator.directory / "registry"
    files = []
    for layout, name in STYLES:
        content = {"include": ["azureml"], "models": ["azureml-2026"], "metadata": layout, "metadata_field": name}
        files.append(folder / registry_of(layout, name) / "registry.yaml")
        files[-1].parent.mkdir(parents=True)
        files[-1].write_text(yaml.safe_dump(content))
    yield workspace
    for file in files:
        file.unlink()
        file.parent.rmdir()


def look(ws: Workspace, folder: Path, style: tuple[str, str], base: str, today: date | None = None, **model: str):
    registry = registry_of(*style)
    changes = {"model": {"registry": registry, **model}, "component": {"registry": registry}}
    recipe = load_recipe(str(write_recipe(folder / "recipe.yaml", changes, base)))
    training = Training(rows=10_000, tokens_per_row=1_000)
    return run_preflight(ws, recipe, credential="cli", prices=load_prices(), training=training, today=today)


def codes(found: Preflight) -> dict[str, str]:
    return {finding.code: finding.level for finding in found.of("model")}


@pytest.mark.parametrize("style", KNOWN)
def test_the_default_recipe_of_azure_passes(registries: Workspace, tmp_path: Path, style: tuple[str, str]) -> None:
    found = look(registries, tmp_path, style, load_settings(AZURE).recipe)
    assert not found.findings, found.in_words
    assert str(found.facts["model"]).endswith("/models/Phi-4/versions/8")
    assert found.facts["component"] == "chat_completion_pipeline:0.0.82"


@pytest.mark.parametrize("style", STYLES)
def test_what_the_registry_says_is_found_and_what_it_does_not_say_is_unknown(
    registries: Workspace, tmp_path: Path, style: tuple[str, str]
) -> None:
    found = look(registries, tmp_path, style, "phi4_ultrachat")
    assert not found.errors
    if style[0] != "absent":
        assert not found.findings, found.in_words
        return
    [unknown] = found.findings
    assert (unknown.code, unknown.level) == ("model_facts_unknown", "warning")
    for part in ("which VM sizes may fine-tune it", "which may serve it", "fine-tuned for", "retired", "unknown, not"):
        assert part in unknown.cause


@pytest.mark.parametrize("style", [style for style in STYLES if style[0] != "absent"])
def test_the_allowed_sizes_are_read_in_each_layout(registries: Workspace, style: tuple[str, str]) -> None:
    registry = registry_of(*style)
    model = read_registry_model(registries, ModelSection(registry=registry, name="Phi-4"))
    assert model.finetune_sizes is not None
    assert "Standard_NC40ads_H100_v5" in model.finetune_sizes
    assert "Standard_NC6s_v3" not in model.finetune_sizes
    assert model.finetuning_tasks == ("chat-completion",)


@pytest.mark.parametrize("style", [style for style in STYLES if style[0] != "absent"])
def test_a_retired_model_is_found_in_each_layout_with_a_successor_that_is_alive(
    registries: Workspace, tmp_path: Path, style: tuple[str, str]
) -> None:
    """Phi-3-small is neither archived nor alive, so it is not named."""
    found = look(registries, tmp_path, style, "phi3_mini_ultrachat", version="15")
    assert codes(found)["model_retired"] == "error"
    assert "`model.name: Phi-4`, whose version 8 is alive" in found.in_words
    assert "Phi-3-small" not in found.in_words


def test_without_metadata_a_retired_model_is_not_called_alive(registries: Workspace, tmp_path: Path) -> None:
    found = look(registries, tmp_path, ("absent", "systemMetadata"), "phi3_mini_ultrachat", version="15")
    assert codes(found) == {"model_facts_unknown": "warning", "model_archived": "warning"}
    # Nothing in this registry is known to be alive, so nothing is named.
    assert "Choose another model" in found.in_words
    assert "alive in this registry" not in found.in_words


def test_what_was_alive_when_the_registry_said_so_depends_on_the_day(registries: Workspace, tmp_path: Path) -> None:
    style = ("text", "systemMetadata")
    found = look(registries, tmp_path, style, "phi3_mini_ultrachat", today=date(2025, 6, 10), version="15")
    assert codes(found)["model_legacy"] == "warning"
    # The newest generation of the family, although Phi-3-small was still alive on that day.
    assert "`model.name: Phi-4`" in found.in_words


def test_a_registry_that_does_not_list_its_models_names_none(
    registries: Workspace, tmp_path: Path, control: Control
) -> None:
    fault = control.add_fault(plane="registry", path="/models$", action="status", status=403)
    found = look(registries, tmp_path, ("objects", "systemMetadata"), "phi3_mini_ultrachat", version="15")
    assert control.fault(fault).applied
    assert codes(found) == {"model_retired": "error"}
    assert "Choose another model" in found.in_words


def test_the_same_content_has_one_hash_in_objects_and_text_under_both_names(registries: Workspace) -> None:
    """Else an update in place, which turns objects into text, would train the model again."""
    hashes = set()
    for style in KNOWN:
        section = ModelSection(registry=registry_of(*style), name="Phi-4", version="8")
        model = read_registry_model(registries, section)
        hashes.add(json.dumps(model.system_metadata, sort_keys=True))
        assert foundation_model_ref(model).defaults["deepspeed_stage"] == 3
    assert len(hashes) == 1


@pytest.mark.parametrize(
    "content",
    [
        {"systemMetadata": {"tasks": {"fineTuningTasks": ["chat-completion"]}}},
        {"system_metadata": {"tasks": '{"fineTuningTasks": ["chat-completion"]}', "license": "MIT"}},
        {"systemMetadata": {"tasks": "{'fineTuningTasks': ['chat-completion']}", "preview": True}},
        {"systemMetadata": '{"tasks": {"fineTuningTasks": "[\'chat-completion\']"}}'},
        {
            "systemMetadata": None,
            "properties": {"system_metadata": "{'tasks': {'fineTuningTasks': 'chat-completion'}}"},
        },
        {"tags": {"systemMetadata": '{"tasks": {"fineTuningTasks": ["chat-completion"]}}'}},
        {"properties": {"finetuning-tasks": "chat-completion"}},
    ],
)
def test_each_way_to_write_it_means_the_same(content: dict) -> None:
    model = described(content)
    assert model.finetuning_tasks == ("chat-completion",)


@pytest.mark.parametrize("text", ["soon", "{'finetuneRetirementDate': 'soon'}"])
def test_a_date_that_nobody_can_read_is_unknown(text: str) -> None:
    content = (
        {"systemMetadata": {"deprecation": text}} if text[0] == "{" else {"tags": {"finetuneRetirementDate": text}}
    )
    assert "when it will be retired" in described(content).unknown


def described(content: dict) -> RegistryModel:
    return RegistryModel(
        id="",
        name="",
        version="",
        tags=content.get("tags") or {},
        properties=content.get("properties") or {},
        flavors={},
        system_metadata=read_system_metadata(content),
        is_archived=False,
    )
