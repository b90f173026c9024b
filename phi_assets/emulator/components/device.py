"""What the device that a job runs on means for its training."""

from dataclasses import dataclass
from typing import Any

# With fewer parameters, the activations of a batch fit beside the weights on any GPU that trains language models.
CHECKPOINTED_FROM = 1_000_000_000


@dataclass(frozen=True)
class Device:
    """A CUDA device, or the CPU."""

    cuda: bool
    bf16: bool
    """Whether it calculates in bfloat16; float16 needs loss scaling."""
    name: str


def find_device() -> Device:
    """The device of this process."""
    import torch

    if not torch.cuda.is_available():
        return Device(cuda=False, bf16=False, name=f"CPU, {torch.get_num_threads()} thread(s)")
    # Older devices imitate bfloat16, slowly.
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return Device(cuda=True, bf16=bf16, name=torch.cuda.get_device_name(0))


def half_type(device: Device) -> str | None:
    """The half-precision type that the device trains in; None where it has none to gain from."""
    if not device.cuda:
        return None
    return "bfloat16" if device.bf16 else "float16"


def device_arguments(device: Device, *, half: bool, parameters: int) -> dict[str, Any]:
    """What `transformers.TrainingArguments` has to know about the device.

    Attention is PyTorch's own (sdpa), which takes flash attention kernels by itself where there are any. Activations of
    a large model are computed twice instead of kept, which costs a third of the speed and saves most of the memory.
    """
    name = half_type(device) if half else None
    arguments: dict[str, Any] = {
        "bf16": name == "bfloat16",
        "fp16": name == "float16",
        "use_cpu": not device.cuda,
        "dataloader_pin_memory": device.cuda,
    }
    if device.cuda and parameters >= CHECKPOINTED_FROM:
        # The reentrant way gives an adapter on a frozen base no gradient.
        arguments |= {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    return arguments
