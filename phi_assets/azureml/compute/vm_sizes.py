"""VM sizes: which may fine-tune a model, and what the region offers."""

import math
from dataclasses import dataclass
from typing import Any

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ComputeNotAllowed
from phi_assets.azureml.connection.retry import Log, ride_out, silent
from phi_assets.refs import ModelRef

# Sizes with K80 GPUs, which the fine-tuning images do not support; the rule where a model has no list of its own.
_UNSUPPORTED_SIZES = frozenset({"standard_nc6", "standard_nc12", "standard_nc24", "standard_nc24r"})


# "Skip 20%": https://learn.microsoft.com/azure/machine-learning/reference-managed-online-endpoints-vm-sku-list
_WITHOUT_RESERVE = frozenset(
    {
        "standard_nc24ads_a100_v4",
        "standard_nc48ads_a100_v4",
        "standard_nc96ads_a100_v4",
        "standard_nc40ads_h100_v5",
        "standard_nc80adis_h100_v5",
        "standard_nd96asr_v4",
        "standard_nd96amsr_a100_v4",
        "standard_nd96isr_h100_v5",
        "standard_nd40rs_v2",
    }
)


@dataclass(frozen=True)
class Offer:
    """A VM size of a region."""

    name: str
    family: str
    cores: int
    gpus: int


def check_size(size: str, model: ModelRef) -> None:
    """Whether this VM size may fine-tune the model, compared without regard to case.

    Raises:
        ComputeNotAllowed: it may not; the message lists the sizes that may.
    """
    if model.finetune_computes is not None:
        if size.lower() not in {allowed.lower() for allowed in model.finetune_computes}:
            raise ComputeNotAllowed(
                f"VM size {size} may not fine-tune {model.name} version {model.version}. Set `compute.size` to one of: "
                f"{', '.join(model.finetune_computes)}. Nothing was created or submitted."
            )
    elif size.lower() in _UNSUPPORTED_SIZES:
        raise ComputeNotAllowed(
            f"VM size {size} has K80 GPUs, which fine-tuning does not support. Set `compute.size` to a size with newer "
            "GPUs, for example Standard_NC24ads_A100_v4. Nothing was created or submitted."
        )


def gpu_count(ws: Workspace, size: str, log: Log = silent) -> int:
    """GPUs in one node of this VM size.

    Raises:
        ComputeNotAllowed: the workspace's region does not offer the size, or it has no GPU.
    """
    sizes = offered_sizes(ws, log)
    offer = sizes.get(size.lower())
    if offer is None:
        with_gpus = sorted(offer.name for offer in sizes.values() if offer.gpus)
        raise ComputeNotAllowed(
            f"VM size {size} is not offered in region {ws.location!r}. Sizes with GPUs there: "
            f"{', '.join(with_gpus) or 'none'}. Nothing was created or submitted."
        )
    if not offer.gpus:
        raise ComputeNotAllowed(f"VM size {size} has no GPU, and fine-tuning needs one. Set `compute.size` to another.")
    return offer.gpus


def check_offered(ws: Workspace, size: str, section: str, log: Log = silent) -> None:
    """The workspace's region offers the size, which the recipe's `section` names.

    Raises:
        ComputeNotAllowed: it does not.
    """
    if size.lower() not in offered_sizes(ws, log):
        raise ComputeNotAllowed(
            f"VM size {size} is not offered in region {ws.location!r}: set `{section}.size` to another. Nothing was "
            "created or submitted."
        )


def has_reserve(size: str) -> bool:
    """Whether the service keeps a fifth of a deployment's instances in reserve, to upgrade them without an outage."""
    return size.lower() not in _WITHOUT_RESERVE


def deployment_cores(size: str, cores: int, instances: int) -> int:
    """Cores of quota that a deployment needs: the reserve counts, in whole instances.

    https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas#virtual-machine-quota-allocation-for-deployment
    """
    return (math.ceil(instances * 6 / 5) if has_reserve(size) else instances) * cores


def offered_sizes(ws: Workspace, log: Log = silent) -> dict[str, Offer]:
    """What the workspace's region offers, by the size's name in lower case."""
    found = ride_out(lambda: list(ws.ml.compute.list_sizes(location=ws.location)), "VM sizes", log)
    return {str(size.name).lower(): _offer(size) for size in found}


def _offer(size: Any) -> Offer:
    # The SDK's entity has this one number under the service's own name.
    cores = vars(size).get("vCPUs") or size.v_cp_us
    return Offer(str(size.name), str(size.family), int(cores or 0), int(size.gpus or 0))
