"""Writes a Hugging Face causal language model as the MLflow folder that Azure ML registers and deploys."""

import json
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from phi_assets.emulator.components import layout

LOADER = Path(__file__).with_name("phi_chat_pyfunc")
MODEL_FILES = ("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
)
REQUIREMENTS = ("mlflow-skinny", "torch", "transformers", "accelerate")


def write_mlflow_folder(
    destination: Path, *, model_dir: Path, tokenizer_dir: Path, huggingface_id: str, metadata: Mapping[str, Any]
) -> None:
    """Make ``destination`` an MLflow model folder with the flavors ``hftransformersv2`` and ``python_function``.

    Afterwards it holds MLmodel, conda.yaml, requirements.txt, ``code/`` with the loader and ``data/{model,tokenizer,
    config}``, and ``mlflow.pyfunc.load_model(destination)`` answers chat requests. The same input files give the same
    bytes. The layout is that of Azure ML's own fine-tuning output:
    https://learn.microsoft.com/azure/machine-learning/how-to-deploy-mlflow-models

    Args:
        destination: folder to fill; made if absent, and it must be empty.
        model_dir: folder with ``config.json`` and safetensors weights; a LoRA folder ``adapter/`` in it comes along.
        tokenizer_dir: folder with a tokenizer that has a chat template.
        huggingface_id: the name of the base model, kept in the flavor.
        metadata: JSON-like values kept under ``metadata`` in MLmodel.

    Raises:
        FileExistsError: the destination already holds something.
        FileNotFoundError: a file that the folder cannot do without is missing.
        ValueError: the tokenizer has no chat template.
    """
    destination = Path(destination)
    if destination.exists() and any(destination.iterdir()):
        raise FileExistsError(f"{destination} is not empty; give an empty or new folder for the MLflow model")
    _copy_model(Path(model_dir), destination / "data")
    _copy_tokenizer(Path(tokenizer_dir), destination / "data" / "tokenizer")
    shutil.copytree(LOADER, destination / "code" / LOADER.name, ignore=shutil.ignore_patterns("__pycache__"))
    names = [*REQUIREMENTS, *(["peft"] if (destination / "data" / layout.ADAPTER).is_dir() else [])]
    requirements = [f"{name}=={_public_version(name)}" for name in names]
    (destination / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    _write_yaml(destination / "conda.yaml", _conda(requirements))
    # Last, so that a folder with an MLmodel is a whole one.
    _write_yaml(destination / "MLmodel", _mlmodel(huggingface_id, metadata))


def _copy_model(source: Path, data: Path) -> None:
    if not (source / "config.json").is_file():
        raise FileNotFoundError(f"{source} has no config.json; it is not a saved Hugging Face model")
    if not any(source.glob("*.safetensors")):
        raise FileNotFoundError(f"{source} has no .safetensors weights; save the model with save_pretrained")
    (data / "model").mkdir(parents=True)
    (data / "config").mkdir()
    for pattern in MODEL_FILES:
        for file in sorted(source.glob(pattern)):
            shutil.copyfile(file, data / "model" / file.name)
    shutil.copyfile(source / "config.json", data / "config" / "config.json")
    if (source / layout.ADAPTER).is_dir():
        shutil.copytree(source / layout.ADAPTER, data / layout.ADAPTER)


def _copy_tokenizer(source: Path, target: Path) -> None:
    config_file = source / "tokenizer_config.json"
    if not config_file.is_file():
        raise FileNotFoundError(f"{source} has no tokenizer_config.json; it is not a saved tokenizer")
    target.mkdir()
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    config = json.loads(config_file.read_text(encoding="utf-8"))
    template = source / "chat_template.jinja"
    if template.is_file():
        config["chat_template"] = template.read_text(encoding="utf-8")
    if not config.get("chat_template"):
        raise ValueError(f"the tokenizer in {source} has no chat template, so the model could not be asked anything")
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (target / "tokenizer_config.json").write_text(text, encoding="utf-8")


def _public_version(distribution: str) -> str:
    return version(distribution).partition("+")[0]


def _conda(requirements: list[str]) -> dict[str, Any]:
    return {
        "channels": ["conda-forge"],
        "dependencies": [f"python={platform.python_version()}", "pip", {"pip": requirements}],
        "name": "mlflow-env",
    }


def _mlmodel(huggingface_id: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "flavors": {
            "hftransformersv2": {
                "hf_config_class": "AutoConfig",
                "hf_pretrained_class": "AutoModelForCausalLM",
                "hf_tokenizer_class": "AutoTokenizer",
                "huggingface_id": huggingface_id,
                "model_data": "data",
                "pytorch_version": _public_version("torch"),
                "task_type": "chat-completion",
                "transformers_version": _public_version("transformers"),
            },
            "python_function": {
                "code": "code",
                "data": "data",
                "env": {"conda": "conda.yaml"},
                "loader_module": LOADER.name,
                "python_version": platform.python_version(),
            },
        },
        "metadata": dict(metadata),
        "mlflow_version": _public_version("mlflow-skinny"),
    }


def _write_yaml(path: Path, document: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
