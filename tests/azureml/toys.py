"""A registry with a model and a pipeline that cost nothing to run, and requests for jobs of it."""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from phi_assets.azureml.compute.clusters import ensure_compute
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.azureml.training.history import Run, RunHistory
from phi_assets.azureml.training.identity import JobRequest
from phi_assets.azureml.training.parameters import effective_parameters
from phi_assets.azureml.training.pipelines import get_component
from phi_assets.config.recipe import ComponentSection, ComputeSection, FinetuneSection, ModelSection
from phi_assets.fingerprint import file_sha256
from phi_assets.refs import DataFile, SampleRef
from tests.azureml.toy_step import write_model

REGISTRY = "toys"
SIZE = "Standard_NC24ads_A100_v4"
OTHER_SIZE = "Standard_NC48ads_A100_v4"
"""Two GPUs instead of one."""
AS_MANY_GPUS = "Standard_NC40ads_H100_v5"

MODEL = ModelSection(registry=REGISTRY, name="toy-model", version="latest")
COMPONENT = ComponentSection(registry=REGISTRY, name="toy_pipeline", version="1")
WITHOUT_VALIDATION = ComponentSection(registry=REGISTRY, name="toy_pipeline_without_validation", version="1")
"""The same, but for the input for validation data."""
COMPUTE = ComputeSection(name="toy-cluster", size=SIZE, max_nodes=20)
"""So many nodes that no test waits for another one's job."""

_VALIDATION = {"validation_file_path": {"type": "uri_file", "optional": True}}
_TRAINING_INPUTS = {
    "train_file_path": {"type": "uri_file"},
    "outcome": {
        "type": "string",
        "default": "complete",
        "enum": ["complete", "rated", "fail", "nothing", "diverge", "silent"],
    },
    "gate": {"type": "string", "default": "none"},
    "prefix": {"type": "string", "default": "echo: "},
}


def write_registry(folder: Path) -> None:
    """The registry `toys` as YAML under an emulator's own registry folder."""
    base = folder / REGISTRY
    tags = {
        "finetune_compute_allow_list": str([SIZE, OTHER_SIZE, AS_MANY_GPUS]),
        "inference_compute_allow_list": str([SIZE]),
        "model_specific_defaults": str({"prefix": "default: ", "learning_rate_min": 1e-7}),
    }
    for version in ("1", "2"):
        _write_model(base, "toy-model", version, {"tags": tags, "properties": {"finetuning-tasks": "chat-completion"}})
    # The layout since 2026-06: limits beside the tags, and a date of retirement.
    _write_model(
        base,
        "new-layout",
        "1",
        {
            "tags": {"finetuneRetirementDate": "2025-08-30"},
            "system_metadata": {"supportedComputes": {"finetuneComputes": [SIZE], "inferenceComputes": [SIZE]}},
        },
    )
    _write_model(base, "free", "1", {})
    _write_model(base, "not-tunable", "1", {"tags": {"finetune_compute_allow_list": "[]"}})
    step = Path(__file__).with_name("toy_step.py")
    _write(
        base / "components" / "toy_step" / "1.yaml",
        {
            "name": "toy_step",
            "version": "1",
            "type": "command",
            "inputs": _TRAINING_INPUTS | _VALIDATION,
            "outputs": {"mlflow_model_folder": {"type": "mlflow_model"}},
            "command": f"{sys.executable} {step} --train ${{{{inputs.train_file_path}}}} "
            "$[[--validation ${{inputs.validation_file_path}}]] "
            "--outcome ${{inputs.outcome}} --gate ${{inputs.gate}} --prefix ${{inputs.prefix}} "
            "--model ${{outputs.mlflow_model_folder}}",
        },
    )
    _write_pipeline(base, COMPONENT, _TRAINING_INPUTS | _VALIDATION)
    _write_pipeline(base, WITHOUT_VALIDATION, _TRAINING_INPUTS)


def make_sample(folder: Path, split: str, text: str = "hello") -> SampleRef:
    """A sample on disk whose content is told apart by `text`."""
    path = folder / f"{split}.jsonl"
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": "hi"}]
    path.write_text(json.dumps({"prompt": text, "messages": messages}) + "\n")
    return SampleRef(
        split=split,
        jsonl=DataFile.at(path),
        parquet=DataFile.at(path.with_suffix(".parquet")),
        rows=1,
        rows_total=1,
        size_bytes=path.stat().st_size,
        sha256=file_sha256(path),
    )


def make_request(ws: Workspace, folder: Path, *, attempts: int = 3, **parameters: Any) -> JobRequest:
    """A job that no other test asks for: the training text is the test's own folder."""
    component = get_component(ws, COMPONENT)
    model = get_foundation_model(ws, MODEL)
    finetune = FinetuneSection(parameters=parameters, defaults="recipe_wins", attempts=attempts, experiment="toys")
    return JobRequest(
        component=component,
        model=model,
        compute=ensure_compute(ws, COMPUTE, model),
        train=make_sample(folder, "train_sft", str(folder)),
        validation=make_sample(folder, "validation_sft", str(folder)),
        test=make_sample(folder, "test_sft", str(folder)),
        parameters=effective_parameters(component.inputs, model.defaults, finetune),
        finetune=finetune,
    )


def step_of(ws: Workspace, job: str) -> Run:
    """The one step of a job of the toy pipeline, as run history has it."""
    history = RunHistory(ws)
    (pipeline,) = history.children(job)
    (step,) = history.children(pipeline.run_id)
    return step


def _write_pipeline(base: Path, section: ComponentSection, inputs: dict[str, Any]) -> None:
    _write(
        base / "components" / section.name / f"{section.version}.yaml",
        {
            "name": section.name,
            "version": section.version,
            "type": "pipeline",
            "inputs": {
                **inputs,
                "test_file_path": {"type": "uri_file"},
                "mlflow_model_path": {"type": "mlflow_model"},
                "compute_finetune": {"type": "string", "default": "serverless"},
                "number_of_gpu_to_use_finetuning": {"type": "integer", "default": 1},
                "seed": {"type": "integer", "default": 42},
                # One of every kind of parameter, which the job does not look at.
                "rate": {"type": "number", "default": 0.5, "min": 0, "max": 1},
                "kind": {"type": "string", "default": "a", "enum": ["a", "b"]},
                "switch": {"type": "boolean", "default": False},
            },
            "outputs": {"mlflow_model_folder": {"type": "mlflow_model"}},
            "jobs": {
                "toy_step": {
                    "type": "command",
                    "component": "azureml:toy_step:1",
                    "compute": "${{parent.inputs.compute_finetune}}",
                    "inputs": {name: f"${{{{parent.inputs.{name}}}}}" for name in inputs},
                    "outputs": {"mlflow_model_folder": "${{parent.outputs.mlflow_model_folder}}"},
                }
            },
        },
    )


def _write_model(base: Path, name: str, version: str, extra: dict[str, Any]) -> None:
    files = base / "files" / name / version
    write_model(files, f"{name}: ")
    created = {"created_at": f"2026-01-0{version}T00:00:00+00:00"}
    _write(
        base / "models" / name / f"{version}.yaml",
        {
            "name": name,
            "version": version,
            "type": "mlflow_model",
            "path": str(files),
            "creation_context": created,
            **extra,
        },
    )


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
