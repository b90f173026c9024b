"""Which image a fine-tuned model asks to be deployed with."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi_assets.emulator.components import layout
from tests.emulator.components.conftest import Call

CONTAINER = "mcr.microsoft.com/azureml/curated/foundation-model-inference"
KEPT = {"inferencing_config": {"enable_vllm": True}}


@pytest.mark.parametrize(
    ("image", "config", "expected"),
    [
        (None, KEPT, None),
        (f"{CONTAINER}:71", None, None),
        (f"{CONTAINER}:71", {"inferencing_config": {"enable_vllm": False}}, None),
        (f"{CONTAINER}:71", KEPT, f"{CONTAINER}:71"),
        # Older ones cannot load the tokenizer of a model that was fine-tuned today.
        (f"{CONTAINER}:43", KEPT, f"{CONTAINER}:61"),
        (CONTAINER, {"version": 2, "task_specific_config": {"chat-completion": KEPT}}, f"{CONTAINER}:61"),
    ],
)
def test_the_base_models_image_goes_unless_the_finetune_config_keeps_it(
    call: Call, base_model: Path, tmp_path: Path, image: str | None, config: Any, expected: str | None
) -> None:
    base, imported, tuned = tmp_path / "base", tmp_path / "imported", tmp_path / "tuned"
    shutil.copytree(base_model, base)
    document = yaml.safe_load((base / "MLmodel").read_text())
    document["metadata"] = {layout.BASE_IMAGE: image} if image else {}
    (base / "MLmodel").write_text(yaml.safe_dump(document))
    (tmp_path / "config.json").write_text(json.dumps(config or {}))
    call(
        "model_import",
        mlflow_model_path=base,
        output_dir=imported,
        **({"finetune_config_path": tmp_path / "config.json"} if config else {}),
    )
    for part in ("model", "tokenizer"):
        shutil.copytree(imported / part, tuned, dirs_exist_ok=True)
    summary = {
        "base": json.loads((imported / layout.IMPORT_SUMMARY).read_text()),
        "parameters": {"apply_lora": True},
        "evaluation_losses": [],
        "steps": 1,
    }
    (tuned / layout.FINETUNE_SUMMARY).write_text(json.dumps(summary))
    call("convert", model_path=tuned, output_dir=tmp_path / "mlflow")
    metadata = yaml.safe_load((tmp_path / "mlflow" / "MLmodel").read_text())["metadata"]
    assert metadata.get(layout.BASE_IMAGE) == expected
