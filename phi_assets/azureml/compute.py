"""The training cluster: allowed for the model, provisioned, and how many GPUs a node of it has."""

from typing import Any, Literal

from azure.core.exceptions import HttpResponseError

from phi_assets.azureml.client import Workspace, sdk
from phi_assets.azureml.errors import ComputeFailed, ComputeNotAllowed
from phi_assets.azureml.provisioning import has_succeeded, settled, state_of
from phi_assets.azureml.retry import Log, get_or_none, one_line, ride_out, silent
from phi_assets.recipe import ComputeSection
from phi_assets.refs import ComputeRef, ModelRef

# Sizes with K80 GPUs, which the fine-tuning images do not support; the rule where a model has no list of its own.
_UNSUPPORTED_SIZES = frozenset({"standard_nc6", "standard_nc12", "standard_nc24", "standard_nc24r"})

_PROVISIONING_TIMEOUT_SECONDS = 30 * 60.0


def ensure_compute(ws: Workspace, section: ComputeSection, model: ModelRef, log: Log = silent) -> ComputeRef:
    """The cluster exists, is provisioned, has the recipe's size, and may fine-tune the model.

    A missing cluster is created with the first tier that the service grants; nothing is created for a size that the
    model or the region does not allow. Scale limits that differ from the recipe's are updated.

    Raises:
        ComputeNotAllowed: the size may not fine-tune this model, has no GPU, or is not offered in the region.
        ComputeFailed: an existing cluster is broken or has another size, or no tier could be provisioned.
    """
    check_size(section.size, model)
    gpus = gpu_count(ws, section.size, log)
    existing = _settled(ws, section.name, log)
    if existing is None:
        cluster, action = _create(ws, section, log), "created"
    else:
        _check_existing(existing, section)
        cluster, action = _update_scale(ws, existing, section, log)
    return ComputeRef(
        name=str(cluster.name), size=str(cluster.size), gpus=gpus, tier=_tier(cluster, section), action=action
    )


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
    sizes = {
        str(offer.name).lower(): offer for offer in ride_out(lambda: list(ws.ml.compute.list_sizes()), "VM sizes", log)
    }
    offer = sizes.get(size.lower())
    if offer is None:
        with_gpus = sorted(str(offer.name) for offer in sizes.values() if offer.gpus)
        raise ComputeNotAllowed(
            f"VM size {size} is not offered in region {ws.location!r}. Sizes with GPUs there: "
            f"{', '.join(with_gpus) or 'none'}. Nothing was created or submitted."
        )
    if not offer.gpus:
        raise ComputeNotAllowed(f"VM size {size} has no GPU, and fine-tuning needs one. Set `compute.size` to another.")
    return int(offer.gpus)


def _get(ws: Workspace, name: str, log: Log) -> Any:
    return ride_out(lambda: get_or_none(lambda: ws.ml.compute.get(name)), f"compute {name}", log)


def _settled(ws: Workspace, name: str, log: Log) -> Any | None:
    return settled(lambda: _get(ws, name, log), f"Compute {name}", ComputeFailed, _PROVISIONING_TIMEOUT_SECONDS, log)


def _check_existing(cluster: Any, section: ComputeSection) -> None:
    if not has_succeeded(cluster):
        raise ComputeFailed(
            f"Compute {cluster.name} is in state {state_of(cluster)}{_errors(cluster)}. Delete it, or give "
            "`compute.name` another name."
        )
    size = getattr(cluster, "size", None)
    if not size:
        raise ComputeFailed(
            f"Compute {cluster.name} is of type {cluster.type}, not a cluster. Give `compute.name` another name."
        )
    if size.lower() != section.size.lower():
        raise ComputeFailed(
            f"Compute {cluster.name} exists with VM size {size}, but the recipe asks for {section.size}, and a "
            f"cluster's size cannot be changed. Set `compute.size: {size}`, or give `compute.name` another name."
        )


def _update_scale(
    ws: Workspace, cluster: Any, section: ComputeSection, log: Log
) -> tuple[Any, Literal["reused", "updated"]]:
    wanted = {
        "min_instances": section.min_nodes,
        "max_instances": section.max_nodes,
        "idle_time_before_scale_down": section.idle_seconds,
    }
    drift = {key: value for key, value in wanted.items() if _number(getattr(cluster, key, None)) != value}
    if not drift:
        log(f"Compute {cluster.name} ({cluster.size}) is ready.")
        return cluster, "reused"
    for key, value in drift.items():
        setattr(cluster, key, value)
    try:
        ws.ml.compute.begin_update(cluster).result()
    except HttpResponseError as error:
        raise ComputeFailed(
            f"Compute {cluster.name}: the service refused {drift}: {one_line(error)}. Adjust the recipe's `compute`."
        ) from error
    log(f"Compute {cluster.name}: updated {', '.join(f'{key} to {value}' for key, value in drift.items())}.")
    return _get(ws, cluster.name, log) or cluster, "updated"


def _create(ws: Workspace, section: ComputeSection, log: Log) -> Any:
    failures: list[str] = []
    cause: Exception | None = None
    for tier in section.tiers:
        log(f"Creating compute {section.name} ({section.size}, {tier}, up to {section.max_nodes} nodes).")
        try:
            return _create_tier(ws, section, tier, log)
        except (HttpResponseError, ComputeFailed) as error:
            # The first reason is the one to act upon; later tiers often fail only because of it.
            cause = cause or error
            failures.append(f"{tier}: {one_line(error)}")
            log(f"Compute {section.name}: {failures[-1]}")
            _remove_failed(ws, section.name, log)
    raise ComputeFailed(
        f"Compute {section.name} ({section.size}) could not be created. {'; '.join(failures)}. Ask for quota of this "
        "VM family in this region, or choose another size or name in the recipe's `compute`."
    ) from cause


def _create_tier(ws: Workspace, section: ComputeSection, tier: str, log: Log) -> Any:
    cluster = sdk().entities.AmlCompute(
        name=section.name,
        size=section.size,
        tier=tier,
        min_instances=section.min_nodes,
        max_instances=section.max_nodes,
        idle_time_before_scale_down=section.idle_seconds,
    )
    ws.ml.compute.begin_create_or_update(cluster).result()
    created = _settled(ws, section.name, log)
    if created is None:
        raise ComputeFailed(f"Compute {section.name} vanished while it was created; run again.")
    if not has_succeeded(created):
        raise ComputeFailed(f"state {state_of(created)}{_errors(created)}")
    return created


def _remove_failed(ws: Workspace, name: str, log: Log) -> None:
    """Makes room for the next tier: a cluster's priority cannot be changed."""
    leftover = _get(ws, name, log)
    if leftover is not None and state_of(leftover).lower() == "failed":
        ws.ml.compute.begin_delete(name, action="Delete").wait()


def _errors(cluster: Any) -> str:
    errors = getattr(cluster, "provisioning_errors", None)
    if not errors:
        return ""
    first = errors[0] if isinstance(errors, list) else errors
    nested = getattr(first, "error", first)
    message = getattr(nested, "message", None)
    return f" ({message or nested})"


def _tier(cluster: Any, section: ComputeSection) -> str:
    wanted = str(getattr(cluster, "tier", None) or section.tiers[0]).replace("_", "").lower()
    return next((tier for tier in ("Dedicated", "LowPriority") if tier.lower() == wanted), wanted)


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, int | float | str) and str(value).isdigit() else value
