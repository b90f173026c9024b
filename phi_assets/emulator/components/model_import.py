"""Brings the base model into the layout that the later steps read: ``model/``, ``tokenizer/`` and a metadata file."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from phi_assets.emulator.components import layout
from phi_assets.emulator.components.common import Arguments, ComponentError, read_json, run, say, write_json

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json")
TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "vocab.*", "merges.*")


def arguments() -> Arguments:
    """The options of the command component ``chat_completion_model_import``."""
    parser = Arguments(__doc__)
    parser.add_argument("--task_name", default="ChatCompletion")
    parser.add_argument("--huggingface_id")
    parser.add_argument("--pytorch_model_path", type=Path)
    parser.add_argument("--mlflow_model_path", type=Path)
    parser.add_argument("--validation_output", type=Path)
    parser.add_argument("--finetune_config_path", type=Path)
    parser.add_argument("--output_dir", type=Path, required=True)
    return parser


def main() -> None:
    """Copy the model from the input that takes precedence: PyTorch folder, then MLflow folder, then the hub.

    Raises:
        ComponentError: no model was given, or the one given is not a causal language model with safetensors weights.
    """
    options = arguments().parse_args()
    if options.pytorch_model_path is not None:
        source, model, tokenizer = "pytorch_model_path", options.pytorch_model_path, options.pytorch_model_path
        name = options.huggingface_id or options.pytorch_model_path.name
    elif options.mlflow_model_path is not None:
        source = "mlflow_model_path"
        model, tokenizer, name = _mlflow_parts(options.mlflow_model_path)
    elif options.huggingface_id:
        source, name = "huggingface_id", options.huggingface_id
        model = tokenizer = _download(options.huggingface_id)
    else:
        raise ComponentError("no base model: give mlflow_model_path, pytorch_model_path or huggingface_id")
    _copy(model, options.output_dir / "model", WEIGHTS, "*.safetensors")
    _copy(tokenizer, options.output_dir / "tokenizer", TOKENIZER, "tokenizer_config.json")
    if options.finetune_config_path is not None:
        write_json(options.output_dir / layout.FINETUNE_CONFIG, read_json(options.finetune_config_path))
    config = read_json(options.output_dir / "model" / "config.json")
    metadata = {
        "task_name": options.task_name,
        "source": source,
        "model_name": name,
        "model_type": config.get("model_type"),
        "architectures": config.get("architectures"),
        layout.BASE_IMAGE: _base_image(options.mlflow_model_path if source == "mlflow_model_path" else None),
        layout.ENABLE_VLLM: _enable_vllm(options.output_dir / layout.FINETUNE_CONFIG),
    }
    write_json(options.output_dir / layout.IMPORT_SUMMARY, metadata)
    size = sum(file.stat().st_size for file in (options.output_dir / "model").iterdir())
    say(f"Imported {name} ({config.get('model_type')}, {size / 1e6:,.1f} MB) from {source}.")


def _mlflow_parts(folder: Path) -> tuple[Path, Path, str]:
    if not (folder / "MLmodel").is_file():
        raise ComponentError(f"mlflow_model_path: {folder} has no MLmodel file")
    document: dict[str, Any] = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    flavors = document.get("flavors", {})
    if "hftransformersv2" in flavors:
        flavor = flavors["hftransformersv2"]
        data = folder / flavor.get("model_data", "data")
        return data / "model", data / "tokenizer", flavor.get("huggingface_id") or folder.name
    if "transformers" in flavors:
        flavor = flavors["transformers"]
        model = folder / flavor.get("model_binary", "model")
        return model, folder / "components" / "tokenizer", flavor.get("source_model_name") or folder.name
    raise ComponentError(
        f"mlflow_model_path: {folder / 'MLmodel'} has the flavors {', '.join(flavors) or 'none'}; "
        "fine-tuning needs hftransformersv2 or transformers"
    )


def _base_image(folder: Path | None) -> str | None:
    """The image that the base model asks to be deployed with."""
    if folder is None:
        return None
    document: dict[str, Any] = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    return (document.get("metadata") or {}).get(layout.BASE_IMAGE)


def _enable_vllm(config: Path) -> bool:
    found = read_json(config) if config.is_file() else {}
    if str(found.get("version")) == "2":
        found = (found.get("task_specific_config") or {}).get("chat-completion") or {}
    return bool((found.get("inferencing_config") or {}).get("enable_vllm"))


def _download(huggingface_id: str) -> Path:
    # Here, because only a job that names a hub model needs it.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(huggingface_id, allow_patterns=[*WEIGHTS, *TOKENIZER]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise ComponentError(
            f"huggingface_id: {huggingface_id} could not be downloaded ({type(error).__name__}); check the id and the "
            "network, or give mlflow_model_path"
        ) from error


def _copy(source: Path, target: Path, patterns: tuple[str, ...], needed: str) -> None:
    if not any(source.glob(needed)):
        raise ComponentError(f"the base model's folder {source} has no {needed}; give a complete Hugging Face model")
    target.mkdir(parents=True, exist_ok=True)
    for pattern in patterns:
        for file in sorted(source.glob(pattern)):
            shutil.copyfile(file, target / file.name)


if __name__ == "__main__":
    run(main)
