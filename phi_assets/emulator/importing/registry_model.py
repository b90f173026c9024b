"""Puts a model, a Hugging Face folder or a GGUF file, into a registry of the emulator, to be trained and deployed."""

import hashlib
import json
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from phi_assets.emulator.components.mlflow_folder import MODEL_FILES, TOKENIZER_FILES, write_mlflow_folder
from phi_assets.emulator.importing.folder import (
    Findings,
    ImportRefused,
    check_chat,
    count_parameters,
    read_config,
    require_all_weights,
    require_none_missing,
    weight_files,
)
from phi_assets.emulator.importing.gguf_file import GgufFile
from phi_assets.emulator.importing.leftovers import IMPORT_MARK, LOCK_FILE, STAGE_PREFIX, clear_under_lock
from phi_assets.emulator.store.failures import failure_of

_MOST_SECONDS = 60
"""Of the processor's time, for the conversations that a chat template is tried with."""

_LARGEST_TEMPLATE = 1 << 20

SOURCE_PROPERTY = "phi/source_sha256"

# What the emulator's clusters and deployments can be made of; a model of this machine runs on any of them.
_SIZES = [
    "Standard_ND40rs_v2",
    "Standard_NC24ads_A100_v4",
    "Standard_NC48ads_A100_v4",
    "Standard_NC96ads_A100_v4",
    "Standard_ND96asr_v4",
    "Standard_ND96amsr_A100_v4",
]
_DEFAULTS = {
    "apply_lora": "true",
    "apply_deepspeed": "false",
    "precision": 16,
    "learning_rate": 1.0e-4,
    "lr_scheduler_type": "cosine",
    "logging_strategy": "steps",
    "logging_steps": 10,
    "save_total_limit": 1,
}


@dataclass(frozen=True)
class Imported:
    """A model of a registry, and whether it has been there before."""

    registry: str
    name: str
    version: str
    is_new: bool
    findings: Findings

    @property
    def id(self) -> str:
        """Its id, as the SDK writes it."""
        return f"azureml://registries/{self.registry}/models/{self.name}/versions/{self.version}"


def import_model(
    source: Path,
    registries: Path,
    *,
    registry: str,
    name: str,
    chat_template: Path | None = None,
    say: Callable[[str], None] = print,
) -> Imported:
    """Folder or GGUF file is a model of the registry: the same content is the same version, other content the next one.

    The source itself is not changed, and not needed afterwards.

    Raises:
        ImportRefused: it is no causal chat model, or something of it is missing.
    """
    source = source.resolve()
    if not source.is_dir() and not source.is_file():
        raise ImportRefused(f"{source} is neither a folder nor a file.")
    try:
        registries.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(registries / LOCK_FILE, mode=0o600):
            clear_under_lock(registries)
            with tempfile.TemporaryDirectory(dir=registries, prefix=STAGE_PREFIX) as temporary:
                return _import(source, registries, registry, name, chat_template, say, Path(temporary))
    except ImportRefused:
        raise
    except Exception as error:
        failure = failure_of(error, registries)
        if failure is not None:
            raise ImportRefused(failure.message) from error
        # Libraries raise whatever they please for files that somebody has put together wrongly.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ImportRefused(f"{source} cannot be imported: {reason}") from error


@contextmanager
def _time_limit(source: Path) -> Iterator[None]:
    """Ends chat templates that do not end by themselves, where signals can: in a program's main thread."""

    def end(*_: object) -> None:
        raise ImportRefused(
            f"The chat template in {source} does not end: it was not rendered within {_MOST_SECONDS} s of work."
        )

    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, _MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _import(
    source: Path,
    registries: Path,
    registry: str,
    name: str,
    chat_template: Path | None,
    say: Callable[[str], None],
    stage: Path,
) -> Imported:
    gguf = GgufFile(source, stage / "gguf") if source.is_file() else None
    config = gguf.read_config() if gguf else read_config(source)
    weights, template = [] if gguf else weight_files(source), _template(chat_template)
    digest = _digest(source, template)
    location = gguf.location if gguf else {"pretrained_model_name_or_path": source}
    tokenizer = _stage_tokenizer(source, location, stage / "tokenizer", template)
    with _time_limit(source):
        takes_system = check_chat(tokenizer, source)
    known, next_version = _versions(registries / registry / "models" / name, digest)
    version = known or next_version
    folder = Path("files") / f"{name}-{version}"
    if known:
        model = registries / registry / folder / "data" / "model"
    elif gguf:
        say("Converting the weights to safetensors ...")
        model = gguf.save_weights(stage / "model")
    else:
        model = source if weights else _converted(source, stage / "model", say)
    if not gguf:
        require_all_weights(model)
    findings = Findings(
        architecture=str((config.get("architectures") or [config["model_type"]])[0]),
        parameters=count_parameters(weights or weight_files(model)),
        context=int(config.get("max_position_embeddings") or config.get("n_positions") or 0),
        takes_system_messages=takes_system,
    )
    if known:
        return Imported(registry, name, known, is_new=False, findings=findings)
    say(f"Copying {findings.parameters / 1e6:,.1f} million parameters ...")
    write_mlflow_folder(
        stage / "mlflow",
        model_dir=model,
        tokenizer_dir=stage / "tokenizer",
        huggingface_id=name,
        metadata={IMPORT_MARK: source.name},
    )
    _replace(stage / "mlflow", registries / registry / folder)
    document = _document(registry, name, version, findings, digest, Path("../..") / folder)
    _write(registries / registry / "models" / name / f"{version}.yaml", document)
    return Imported(registry, name, version, is_new=True, findings=findings)


def _template(file: Path | None) -> str | None:
    if file is None:
        return None
    if not file.is_file() or file.stat().st_size > _LARGEST_TEMPLATE:
        raise ImportRefused(f"{file} is no file of at most {_LARGEST_TEMPLATE} bytes, so no chat template.")
    return file.read_text(encoding="utf-8")


def _digest(source: Path, template: str | None) -> str:
    digest = hashlib.sha256((template or "").encode())
    if source.is_file():
        with source.open("rb") as stream:
            digest.update(f"gguf:{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
        return digest.hexdigest()
    patterns = (*MODEL_FILES, "*.bin", *TOKENIZER_FILES, "chat_template.jinja", "vocab.*", "merges.*")
    for file in sorted({file for pattern in patterns for file in source.glob(pattern)}):
        with file.open("rb") as stream:
            digest.update(f"{file.name}:{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _stage_tokenizer(source: Path, location: dict[str, Any], target: Path, template: str | None) -> Any:
    """The tokenizer lies in `target` in the form that needs no conversion; it is loaded from there."""
    from transformers import AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(**location, local_files_only=True, trust_remote_code=False)
        if template is not None:
            tokenizer.chat_template = template
        tokenizer.save_pretrained(target, save_jinja_files=False)
        if not (target / "tokenizer.json").is_file():
            raise ImportRefused(f"The tokenizer in {source} has no fast form (tokenizer.json), which is needed here.")
        return AutoTokenizer.from_pretrained(target, local_files_only=True)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        if isinstance(error, ImportRefused):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise ImportRefused(f"The tokenizer in {source} cannot be loaded: {reason}") from error


def _converted(source: Path, target: Path, say: Callable[[str], None]) -> Path:
    """Weights in PyTorch's older form are written as safetensors; pickled code in them is not run."""
    if not any(source.glob("pytorch_model*.bin")):
        raise ImportRefused(f"{source} has no weights: neither *.safetensors nor pytorch_model*.bin.")
    from transformers import AutoModelForCausalLM

    say("Converting the weights to safetensors ...")
    try:
        answer: Any = AutoModelForCausalLM.from_pretrained(
            source, dtype="auto", local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ImportRefused(f"The weights in {source} cannot be loaded: {reason}") from error
    model, information = answer
    require_none_missing(source, information)
    model.save_pretrained(target)
    return target


def _versions(folder: Path, digest: str) -> tuple[str | None, str]:
    """The version with this content if there is one, and the number after the last."""
    known, last = None, 0
    for file in folder.glob("*.yaml"):
        document = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        if (document.get("properties") or {}).get(SOURCE_PROPERTY) == digest:
            known = file.stem
        last = max(last, int(file.stem) if file.stem.isdigit() else 0)
    return known, str(last + 1)


def _document(registry: str, name: str, version: str, findings: Findings, digest: str, path: Path) -> dict[str, Any]:
    return {
        "$schema": "https://azuremlschemas.azureedge.net/latest/model.schema.json",
        "name": name,
        "version": version,
        "type": "mlflow_model",
        "path": path.as_posix(),
        "description": f"{findings.architecture} with {findings.parameters:,} parameters, imported on this machine.",
        "creation_context": {"created_at": datetime.now(UTC).isoformat()},
        "tags": {
            "displayName": name,
            "task": "chat-completion",
            "textContextWindow": findings.context,
            "inference_compute_allow_list": _SIZES,
            "finetune_compute_allow_list": _SIZES,
            "model_specific_defaults": _DEFAULTS,
        },
        "properties": {"finetuning-tasks": "chat-completion", SOURCE_PROPERTY: digest},
    }


def _replace(staged: Path, target: Path) -> None:
    # A crash between this and the YAML file leaves a folder that nothing names.
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    staged.rename(target)


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".tmp")
    # JSON round trip: no YAML anchors for the list that both tags share.
    staged.write_text(yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False), encoding="utf-8")
    os.replace(staged, path)
