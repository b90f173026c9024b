"""What a device means for training: decided without one at hand, and tried on the CPU as far as it goes."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import TrainingArguments

from phi_assets.emulator.components.common import ComponentError
from phi_assets.emulator.components.device import CHECKPOINTED_FROM, Device, device_arguments, find_device
from phi_assets.emulator.components.weights import LoraSettings, load_base, with_lora

H100 = Device(cuda=True, bf16=True, name="H100")
V100 = Device(cuda=True, bf16=False, name="V100")
CPU = Device(cuda=False, bf16=False, name="CPU")


@pytest.mark.parametrize(
    ("device", "half", "parameters", "bf16", "fp16", "checkpointing"),
    [
        (H100, True, CHECKPOINTED_FROM, True, False, True),
        (H100, True, CHECKPOINTED_FROM - 1, True, False, False),
        (H100, False, CHECKPOINTED_FROM, False, False, True),
        (V100, True, CHECKPOINTED_FROM, False, True, True),
        (CPU, True, CHECKPOINTED_FROM, False, False, False),
    ],
)
def test_precision_and_checkpointing_follow_from_device_and_size(
    device: Device, half: bool, parameters: int, bf16: bool, fp16: bool, checkpointing: bool
) -> None:
    found = device_arguments(device, half=half, parameters=parameters)
    assert (found["bf16"], found["fp16"], found.get("gradient_checkpointing", False)) == (bf16, fp16, checkpointing)
    assert found["use_cpu"] is not device.cuda


def test_this_machines_device_gives_arguments_that_trainer_takes(tmp_path: Path) -> None:
    device = find_device()
    assert device.cuda is torch.cuda.is_available()
    TrainingArguments(output_dir=str(tmp_path), **device_arguments(device, half=True, parameters=CHECKPOINTED_FROM))


@pytest.mark.parametrize(
    ("device", "lora", "half", "dtype"),
    [
        (H100, True, True, torch.bfloat16),
        (V100, True, True, torch.float16),
        (H100, False, True, torch.float32),
        (H100, True, False, torch.float32),
        (CPU, True, True, torch.float32),
    ],
)
def test_only_a_frozen_base_on_a_gpu_is_loaded_in_half_precision(
    base_model: Path, device: Device, lora: bool, half: bool, dtype: torch.dtype
) -> None:
    folder = base_model / "data" / "model"
    model: Any = load_base(folder, device, lora=lora, half=half, ignore_mismatched_sizes=False)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.filterwarnings("ignore:.*checkpointing:FutureWarning")  # renamed, and both names work
def test_checkpointing_gives_an_adapter_the_same_gradients(base_model: Path) -> None:
    """With a frozen base, the reentrant way would give none at all."""
    ids = torch.arange(24).reshape(2, 12)
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        base = load_base(base_model / "data" / "model", CPU, lora=True, half=False, ignore_mismatched_sizes=False)
        model: Any = with_lora(base, LoraSettings(4, 8, 0.0))
        model.train()
        if checkpointing:
            arguments = device_arguments(H100, half=True, parameters=CHECKPOINTED_FROM)
            model.gradient_checkpointing_enable(arguments["gradient_checkpointing_kwargs"])
            assert model.is_gradient_checkpointing
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        gradients.append({name: value.grad for name, value in model.named_parameters() if value.requires_grad})
    plain, checkpointed = gradients
    assert any(value.abs().sum() > 0 for value in plain.values())
    assert all(torch.allclose(value, checkpointed[name]) for name, value in plain.items())


def test_a_base_that_lacks_weights_is_not_trained_with_random_numbers(base_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "holes"
    shutil.copytree(base_model / "data" / "model", folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ComponentError, match=r"lacks 1 of its weights, model\.norm\.weight"):
        load_base(folder, CPU, lora=False, half=False, ignore_mismatched_sizes=False)
