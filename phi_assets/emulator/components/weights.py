"""Loads the base model's weights, puts LoRA on them, and saves what training made of them."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from phi_assets.emulator.components import layout
from phi_assets.emulator.components.common import ComponentError, read_json, say, write_json
from phi_assets.emulator.components.device import Device, half_type

# peft knows no default for Phi-3, whose attention and MLP inputs are fused.
PHI3_PROJECTIONS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")


@dataclass(frozen=True)
class LoraSettings:
    """Rank, scale and dropout of the adapter."""

    r: int
    alpha: int
    dropout: float


def load_base(folder: Path, device: Device, *, lora: bool, half: bool, ignore_mismatched_sizes: bool) -> Any:
    """The model in the precision that it is trained in.

    Full fine-tuning keeps 32-bit master weights; a frozen base under LoRA may stay in half precision on a GPU.

    Raises:
        ComponentError: it cannot be loaded, or lacks weights.
    """
    narrow = half_type(device) if lora and half else None
    try:
        answer: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, narrow or "float32"),
            attn_implementation="sdpa",
            ignore_mismatched_sizes=ignore_mismatched_sizes,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ComponentError(f"the base model could not be loaded: {str(error).strip().splitlines()[0]}") from error
    model, information = answer
    missing = sorted(information["missing_keys"])
    if missing:  # transformers would go on with random numbers in their place
        raise ComponentError(f"the base model lacks {len(missing)} of its weights, {missing[0]} for one")
    return model


def with_lora(model: Any, settings: LoraSettings) -> PeftModel:
    """The model with a fresh adapter on Phi-3's four projections, or on every linear layer of another architecture."""
    present = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    targets = [name for name in PHI3_PROJECTIONS if name in present]
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets if "qkv_proj" in targets else "all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)  # type: ignore[return-value]


def save_result(model: Any, tokenizer: Any, folder: Path, *, base: Path, merge: bool, summary: dict[str, Any]) -> None:
    """Write model, tokenizer and summary to a folder, the weights in the data type of the base model.

    A merged model is an ordinary one; otherwise the untouched base model lies beside ``adapter/``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, PeftModel) and not merge:
        model.save_pretrained(str(folder / layout.ADAPTER))
        shutil.copytree(base / "model", folder, dirs_exist_ok=True)
    else:
        plain: Any = model.merge_and_unload() if isinstance(model, PeftModel) else model
        plain.to(_saved_dtype(base / "model")).save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    write_json(folder / layout.FINETUNE_SUMMARY, {"base": read_json(base / layout.IMPORT_SUMMARY), **summary})
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    say(f"Saved the model ({size / 1e6:,.1f} MB) with its tokenizer.")


def _saved_dtype(folder: Path) -> torch.dtype:
    config = read_json(folder / "config.json")
    name = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    dtype = getattr(torch, name, None)
    return dtype if isinstance(dtype, torch.dtype) else torch.bfloat16
