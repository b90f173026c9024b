"""The whole chain of component programs as child processes, and what fine-tuning does with its parameters."""

import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
import yaml
from safetensors.torch import load_file

from phi_assets.azureml.training.metrics import MetricPoint
from phi_assets.emulator.components import layout
from phi_assets.evaluation.losses import divergence
from tests.emulator.components import tiny_model
from tests.emulator.components.conftest import Start, finished, start

pytestmark = pytest.mark.slow

QUESTION = [{"role": "user", "content": "The cup is red. Which colour has the cup?"}]
PARAMETERS: dict[str, Any] = {
    "apply_lora": "true",
    "lora_r": 8,
    "lora_alpha": 16,
    "learning_rate": 1e-2,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 2,
    "num_train_epochs": 2,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 8,
    "logging_steps": 4,
}


@pytest.fixture(scope="module")
def prepared(imported: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("preprocess") / "output"
    finished(
        start(
            "preprocess",
            train_file_path=data / "train.jsonl",
            test_file_path=data / "test.jsonl",
            model_selector_output=imported,
            output_dir=output,
        )
    )
    return output


@pytest.fixture(scope="module")
def tuned(imported: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any], str]:
    """Output folder, metrics and log of one run."""
    folder = tmp_path_factory.mktemp("tuned")
    process = start(
        "finetune",
        metrics=folder / "metrics.jsonl",
        preprocess_output=prepared,
        model_selector_output=imported,
        pytorch_model_folder=folder / "model",
        **PARAMETERS,
        precision="16",
        apply_deepspeed="true",
    )
    log = finished(process)
    assert process.stderr == "", "no warnings, no progress bars"
    return folder / "model", [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()], log


def sha(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def values(metrics: list[Any], name: str) -> list[tuple[int, float]]:
    return [(point["step"], point["value"]) for point in metrics if point["name"] == name]


def test_chain_ends_in_a_model_that_answers(
    base_model: Path, data: Path, tuned: tuple[Path, list[Any], str], tmp_path: Path
) -> None:
    finished(
        start(
            "validation",
            mlflow_model_path=base_model,
            task_name="chat-completion",
            train_file_path=data / "train.jsonl",
            test_file_path=data / "test.jsonl",
            user_column_names="messages",
            validation_info=tmp_path / "info",
        )
    )
    assert json.loads((tmp_path / "info").read_text())["status"] == "Succeeded"
    finished(start("convert", model_path=tuned[0], output_dir=tmp_path / "mlflow"))
    document = yaml.safe_load((tmp_path / "mlflow" / "MLmodel").read_text())
    assert document["metadata"]["is_finetuned_model"] is True
    assert document["flavors"]["hftransformersv2"]["huggingface_id"] == "test/tiny-phi3"
    model = mlflow.pyfunc.load_model(str(tmp_path / "mlflow"))
    request = {"input_string": [QUESTION], "parameters": {"max_new_tokens": 12}}
    before = mlflow.pyfunc.load_model(str(base_model)).predict(request)
    assert model.predict(request) != before
    again = start("convert", model_path=tuned[0], output_dir=tmp_path / "mlflow")
    assert again.returncode == 1
    assert again.stderr.startswith("ERROR: ")


def test_loss_falls_and_is_recorded_step_by_step(tuned: tuple[Path, list[Any], str]) -> None:
    _, metrics, log = tuned
    assert [step for step, _ in values(metrics, "loss")] == [4, 8, 12, 16]
    assert [step for step, _ in values(metrics, "learning_rate")] == [4, 8, 12, 16]
    losses, evaluations = values(metrics, "loss"), values(metrics, "eval_loss")
    # As the published component, it evaluates after each epoch and never before.
    assert [step for step, _ in evaluations] == [step for step, _ in values(metrics, "eval_runtime")] == [8, 16]
    assert losses[-1][1] < 0.95 * losses[0][1]
    assert evaluations[-1][1] < evaluations[0][1]
    assert values(metrics, "train_runtime")[0][0] == 16
    assert f"{{'loss': {float(f'{losses[0][1]:.4g}')}, 'grad_norm': " in log
    assert divergence(curves(metrics), {}, log.splitlines()) == ()


def test_log_says_what_a_cpu_does_differently(tuned: tuple[Path, list[Any], str]) -> None:
    log = tuned[2].splitlines()
    assert sum(line.startswith("precision 16:") for line in log) == 1 - torch.cuda.is_available()
    assert sum(line.startswith("apply_deepspeed:") for line in log) == 1
    assert "Rows: 64 for training, 16 for evaluation (test)." in log
    assert len(log) < 20


def test_merged_weights_keep_the_data_type_of_the_base(tuned: tuple[Path, list[Any], str], imported: Path) -> None:
    before = load_file(imported / "model" / "model.safetensors")
    after = load_file(tuned[0] / "model.safetensors")
    assert before.keys() == after.keys()
    assert {value.dtype for value in after.values()} == {torch.bfloat16}
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    projections = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
    assert changed == {name for name in after if any(part in name for part in projections)}


def test_same_seed_gives_identical_weights(
    fork: Start, tuned: tuple[Path, list[Any], str], imported: Path, prepared: Path, tmp_path: Path
) -> None:
    finished(
        fork(
            "finetune",
            preprocess_output=prepared,
            model_selector_output=imported,
            pytorch_model_folder=tmp_path / "model",
            **PARAMETERS,
            seed=42,
        )
    )
    assert sha(tmp_path / "model" / "model.safetensors") == sha(tuned[0] / "model.safetensors")


def test_unmerged_adapter_is_kept_and_served(fork: Start, imported: Path, prepared: Path, tmp_path: Path) -> None:
    finished(
        fork(
            "finetune",
            preprocess_output=prepared,
            model_selector_output=imported,
            pytorch_model_folder=tmp_path / "model",
            **PARAMETERS,
            merge_lora_weights="false",
        )
    )
    assert sha(tmp_path / "model" / "model.safetensors") == sha(imported / "model" / "model.safetensors")
    finished(fork("convert", model_path=tmp_path / "model", output_dir=tmp_path / "mlflow"))
    model = mlflow.pyfunc.load_model(str(tmp_path / "mlflow"))
    request = {"input_string": [QUESTION], "parameters": {"max_new_tokens": 12}}
    adapted = model.predict(request)
    shutil.rmtree(tmp_path / "mlflow" / "data" / layout.ADAPTER)
    assert mlflow.pyfunc.load_model(str(tmp_path / "mlflow")).predict(request) != adapted


def test_all_weights_in_fractions_of_an_epoch_and_on_again(
    fork: Start, imported: Path, prepared: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        **PARAMETERS,
        "apply_lora": "false",
        "learning_rate": 1e-3,
        "optim": "adafactor",
        "gradient_accumulation_steps": 2,
        "evaluation_strategy": "steps",
        "evaluation_steps_interval": 0.5,
        "save_total_limit": 1,
        "preprocess_output": prepared,
        "model_selector_output": imported,
        "pytorch_model_folder": tmp_path / "model",
    }
    finished(fork("finetune", **{**options, "num_train_epochs": 1}))
    summary = json.loads((tmp_path / "model" / layout.FINETUNE_SUMMARY).read_text())
    assert [point["step"] for point in summary["evaluation_losses"]] == [2, 4]
    assert [folder.name for folder in (tmp_path / "model").glob("checkpoint-*")] == ["checkpoint-4"]
    before = load_file(imported / "model" / "model.safetensors")
    after = load_file(tmp_path / "model" / "model.safetensors")
    assert not torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    log = finished(fork("finetune", **options, resume_from_checkpoint="true"))
    assert "resume_from_checkpoint: continuing from checkpoint-4" in log
    summary = json.loads((tmp_path / "model" / layout.FINETUNE_SUMMARY).read_text())
    assert [point["step"] for point in summary["evaluation_losses"]] == [6, 8]


def test_early_stopping_ends_training(fork: Start, imported: Path, prepared: Path, tmp_path: Path) -> None:
    options = {**PARAMETERS, "num_train_epochs": 5, "apply_early_stopping": "true", "early_stopping_threshold": 50}
    finished(
        fork(
            "finetune",
            preprocess_output=prepared,
            model_selector_output=imported,
            pytorch_model_folder=tmp_path / "model",
            **options,
        )
    )
    summary = json.loads((tmp_path / "model" / layout.FINETUNE_SUMMARY).read_text())
    assert summary["steps"] == 16, "the second evaluation is not better by 50"


def curves(metrics: list[Any]) -> dict[str, list[MetricPoint]]:
    names = {point["name"] for point in metrics}
    return {name: [MetricPoint(value=value, step=step) for step, value in values(metrics, name)] for name in names}


def test_a_training_that_diverges_completes_and_leaves_what_it_leaves_on_azure(
    fork: Start, imported: Path, prepared: Path, tmp_path: Path
) -> None:
    process = fork(
        "finetune",
        metrics=tmp_path / "metrics.jsonl",
        preprocess_output=prepared,
        model_selector_output=imported,
        pytorch_model_folder=tmp_path / "model",
        **{**PARAMETERS, "learning_rate": 1e25, "max_grad_norm": 0, "warmup_steps": 0},
    )
    log = finished(process)
    metrics = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert not [point for point in metrics if math.isnan(point["value"])]
    # transformers replaces each loss that is none by the mean of those before it.
    assert values(metrics, "loss")[-1] == (16, 0.0)
    assert values(metrics, "eval_loss") == []
    assert "'grad_norm': nan" in log
    assert "'eval_loss': nan" in log
    assert (tmp_path / "model" / "model.safetensors").is_file()
    last = {point["name"]: point["value"] for point in metrics}
    said = " ".join(divergence(curves(metrics), last, log.splitlines()))
    for part in ("eval_loss was not recorded at 2 of 2", "The loss is 0 from step 8 on", "'eval_loss': nan"):
        assert part in said, said


def test_a_broken_base_model_shows_in_every_loss(fork: Start, base_model: Path, data: Path, tmp_path: Path) -> None:
    tiny_model.save_broken_copy(base_model, tmp_path / "broken")
    finished(fork("model_import", mlflow_model_path=tmp_path / "broken", output_dir=tmp_path / "imported"))
    options = {"train_file_path": data / "train.jsonl", "model_selector_output": tmp_path / "imported"}
    finished(fork("preprocess", **options, output_dir=tmp_path / "prepared"))
    process = fork(
        "finetune",
        preprocess_output=tmp_path / "prepared",
        model_selector_output=tmp_path / "imported",
        pytorch_model_folder=tmp_path / "model",
        metrics=tmp_path / "metrics.jsonl",
        **PARAMETERS,
    )
    finished(process)
    metrics = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {value for _, value in values(metrics, "loss")} == {0.0}
    assert values(metrics, "eval_loss") == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"lora_r": 0}, "lora_r is 0"),
        ({"lora_dropout": 1}, "lora_dropout is 1"),
        ({"apply_early_stopping": "true", "evaluation_strategy": "disable"}, "apply_early_stopping needs"),
        ({"optim": "sgd"}, "--optim"),
        ({"apply_lora": "maybe"}, "neither true nor false"),
    ],
)
def test_parameter_that_cannot_be_honoured_is_named(
    fork: Start, imported: Path, prepared: Path, tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    process = fork(
        "finetune",
        preprocess_output=prepared,
        model_selector_output=imported,
        pytorch_model_folder=tmp_path / "model",
        **{**PARAMETERS, **options},
    )
    assert process.returncode == 1
    assert process.stderr.startswith("ERROR: ")
    assert reason in process.stderr
