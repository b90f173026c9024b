"""What a Hugging Face folder has to be like to be fine-tuned and served here; each refusal says what to do."""

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi_assets.emulator.components.chat_tokens import Chat, ChatEncoder
from phi_assets.emulator.components.common import ComponentError

_CONVERSATION = [
    {"role": "user", "content": "What is the capital of France?"},
    {"role": "assistant", "content": "The capital of France is Paris."},
    {"role": "user", "content": "And of Spain?"},
    {"role": "assistant", "content": "The capital of Spain is Madrid."},
]
_WITH_SYSTEM = [{"role": "system", "content": "You answer in one sentence."}, *_CONVERSATION]


class ImportRefused(ValueError):
    """The folder or file cannot become a registry model; the message says why and what to do."""


@dataclass(frozen=True)
class Findings:
    """What was found out about a model that can be imported."""

    architecture: str
    parameters: int
    context: int
    takes_system_messages: bool


def read_config(folder: Path) -> dict[str, Any]:
    """The model's configuration, of an architecture that generates text with code that transformers has.

    Raises:
        ImportRefused: it is missing, or names something else.
    """
    file = folder / "config.json"
    if (folder / "adapter_config.json").is_file() and not file.is_file():
        raise ImportRefused(
            f"{folder} is a LoRA adapter. Merge it into its base model (merge_and_unload) and save that."
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        ggufs = sorted(folder.glob("*.gguf"))
        raise ImportRefused(
            f"{folder} has no config.json. "
            + (
                f"Give a GGUF file itself: {ggufs[0]}."
                if ggufs
                else "Give the folder that save_pretrained or a download of the hub has written."
            )
        ) from None
    except ValueError as error:
        raise ImportRefused(f"{file} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise ImportRefused(f"{file} holds no object. Download it again.")
    causal_class(config, file)
    if config.get("quantization_config"):
        raise ImportRefused(f"{folder} holds quantized weights, which cannot be fine-tuned. Get the model without.")
    return config


def causal_class(config: Mapping[str, Any], file: Path) -> str:
    """The class of transformers that generates text with a model of this configuration, which is that of `file`.

    Raises:
        ImportRefused: there is none.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        own = " It brings code of its own, which is not run." if config.get("auto_map") else ""
        raise ImportRefused(f"{file} is of type {kind!r}, which is no causal language model of transformers.{own}")
    return MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of the weights, all of them there and readable; none if the weights have another form.

    Raises:
        ImportRefused: some are missing or cut off.
    """
    files = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        missing = sorted(named - {file.name for file in files})
        if missing:
            raise ImportRefused(f"{folder} lacks {', '.join(missing)}, which {index.name} names. Download it again.")
    for file in files:
        _header(file)
    return files


def require_all_weights(folder: Path) -> None:
    """Every weight that a model of this configuration has is in the folder's files, in its shape.

    Raises:
        ImportRefused: it is not; transformers would put random numbers in its place.
    """
    from transformers import AutoModelForCausalLM

    try:
        # On this device nothing but names and shapes is read.
        answer: Any = AutoModelForCausalLM.from_pretrained(
            folder, device_map={"": "meta"}, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ImportRefused(f"The weights in {folder} cannot be loaded: {reason}") from error
    require_none_missing(folder, answer[1])


def require_none_missing(source: Path, information: Mapping[str, Any]) -> None:
    """Raises ImportRefused where transformers, by its own `information` about loading `source`, found no weight."""
    missing = sorted(information["missing_keys"])
    if missing:
        raise ImportRefused(
            f"{source} lacks {len(missing)} of the model's weights, {missing[0]} for one. "
            "Get a file that holds the whole model."
        )


def count_parameters(files: list[Path]) -> int:
    """Numbers in all weights, as the files' headers say."""
    shapes = [entry["shape"] for file in files for name, entry in _header(file).items() if name != "__metadata__"]
    total = 0
    for shape in shapes:
        size = 1
        for length in shape:
            size *= length
        total += size
    return total


def check_chat(tokenizer: Any, folder: Path) -> bool:
    """The tokenizer's chat template shows which tokens the assistant says. Whether it takes a system message.

    Raises:
        ImportRefused: there is no template, or it does not.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise ImportRefused(f"The tokenizer in {folder} has no chat template. Give one with --chat-template FILE.")
    if not isinstance(tokenizer.chat_template, str):
        raise ImportRefused(
            f"The tokenizer in {folder} has several chat templates. Give one with --chat-template FILE."
        )
    try:
        ((encoded, _),) = ChatEncoder(tokenizer).encode([Chat(_CONVERSATION)])
    except (ComponentError, TemplateError) as error:
        raise ImportRefused(f"The chat template in {folder} does not work here: {error}") from error
    said = tokenizer.decode([token for token in encoded.labels if token >= 0])
    if not all(_squeezed(message["content"]) in _squeezed(said) for message in _CONVERSATION[1::2]):
        raise ImportRefused(f"The chat template in {folder} loses the answers: of two, it gives {said!r}.")
    try:
        ChatEncoder(tokenizer).encode([Chat(_WITH_SYSTEM)])
    except (ComponentError, TemplateError):
        return False
    return True


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text).lower()


def _header(file: Path) -> dict[str, Any]:
    """https://huggingface.co/docs/safetensors: eight bytes of length, then JSON, then the numbers."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length)) if length < size else {}
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise ImportRefused(f"{file} is not a safetensors file: {error}. Download it again.") from error
    if not ends or size < 8 + length + max(ends):
        raise ImportRefused(f"{file} is cut off. Download it again.")
    return header
