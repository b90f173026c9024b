"""The training cluster: allowed for the model, provisioned, and how many GPUs a node of it has."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from azure.core.exceptions import AzureError

from phi_assets.azureml.compute.claims import Claim, claim_on, in_use, taken_in_words
from phi_assets.azureml.compute.identities import identity_entity, identity_of, is_identity
from phi_assets.azureml.compute.vm_sizes import check_offered, check_size, gpu_count
from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.connection.errors import ComputeFailed
from phi_assets.azureml.connection.locks import deletion_advice
from phi_assets.azureml.connection.operations import Course
from phi_assets.azureml.connection.provisioning import has_succeeded, settled, state_of, wait_until_gone
from phi_assets.azureml.connection.refusals import next_step
from phi_assets.azureml.connection.retry import Log, find, is_transient, one_line, silent
from phi_assets.azureml.connection.writes import write
from phi_assets.azureml.ownership import Owner, maker_of
from phi_assets.config.recipe import ComputeSection
from phi_assets.refs import Action, ComputeRef, ModelRef

_LIMIT_SECONDS = 30 * 60.0
"""A cluster without nodes is created within a minute, and its nodes are not waited for here."""
_MORE_QUOTA = "Ask for quota of this VM family in this region, or choose another size or name in the recipe's `{}`."


def ensure_compute(
    ws: Workspace,
    section: ComputeSection,
    model: ModelRef,
    log: Log = silent,
    *,
    owner: Owner | None = None,
    accepted: Collection[str] = (),
) -> ComputeRef:
    """The cluster exists, is provisioned, has the recipe's size, and may fine-tune the model.

    A missing cluster is created with the first tier that the service grants; nothing is created for a size that the
    model or the region does not allow. A broken one of `owner` (the project, unless one is given) is made again. Scale
    limits and an identity that differ from the recipe's are updated. What of that happens to a cluster that somebody
    else has made is `claims.claim_on`'s to say; `accepted` are the codes that the recipe accepts.

    Raises:
        ComputeNotAllowed: the size may not fine-tune this model, has no GPU, or is not offered in the region.
        ComputeFailed: an existing cluster is broken, has another size or another network, is not the recipe's to use
            or to change, or no tier could be provisioned.
    """
    check_size(section.size, model)
    return _ensure(ws, section, gpu_count(ws, section.size, log), log, owner or ws.owner(), accepted)


def ensure_cpu_compute(
    ws: Workspace,
    section: ComputeSection,
    log: Log = silent,
    *,
    owner: Owner | None = None,
    accepted: Collection[str] = (),
) -> ComputeRef:
    """The cluster exists, is provisioned and has the recipe's size, of which no GPU is asked; as `ensure_compute`.

    Raises:
        ComputeNotAllowed: the region does not offer the size.
        ComputeFailed: as `ensure_compute`.
    """
    check_offered(ws, section.size, section.key, log)
    return _ensure(ws, section, 0, log, owner or ws.owner(), accepted)


def _ensure(
    ws: Workspace, section: ComputeSection, gpus: int, log: Log, owner: Owner, accepted: Collection[str]
) -> ComputeRef:
    existing = _settled(ws, section.name, log)
    claim = Claim.OWN if existing is None else _claim(existing, section, owner, accepted)
    reason = f"Cluster {section.name} did not exist."
    if existing is not None and not has_succeeded(existing) and claim in (Claim.OWN, Claim.SHARED):
        _require_unused(ws, existing, section, claim, f"is {state_of(existing)}{_errors(existing)}", log)
        reason = f"Cluster {section.name} was {state_of(existing)}{_errors(existing)} and has been made again."
        log(f"Compute {section.name} is {state_of(existing)}{_errors(existing)}; making it again.")
        _remove(ws, section.name, log, _is_not_broken)
        existing = None
    if existing is None:
        cluster, refused = _create(ws, section, owner, log)
        _claim(cluster, section, owner, accepted)
        return _ref(cluster, section, gpus, "created", " ".join([reason, *refused]))
    _check_existing(existing, section)
    drift = _drift(existing, section)
    if not drift:
        log(f"Compute {existing.name} ({existing.size}) is ready.")
        return _ref(existing, section, gpus, "reused", f"Cluster {existing.name} is as the recipe asks.")
    words = ", ".join(f"{key} {have} -> {want}" for key, (have, want) in drift.items())
    if claim is Claim.FIXED:
        kept = f"Cluster {existing.name} was made by {maker_of(existing.tags)} and is used as it is, without {words}."
        log(kept)
        return _ref(existing, section, gpus, "reused", kept)
    _require_unused(ws, existing, section, claim, f"differs from the recipe: {words}", log)
    cluster = _update(ws, section, drift, owner, log)
    log(f"Compute {section.name}: updated {words}.")
    return _ref(cluster, section, gpus, "updated", f"Cluster {section.name} differed from the recipe: {words}.")


def delete_compute(ws: Workspace, name: str, log: Log = silent) -> bool:
    """There is no cluster of this name. Whether there was one to delete.

    Raises:
        ComputeFailed: the service refused, or the cluster is still there after half an hour.
    """
    if _get(ws, name, log) is None:
        log(f"Compute {name} does not exist; nothing to delete.")
        return False
    log(f"Deleting compute {name}.")
    _remove(ws, name, log, lambda cluster: cluster is None)
    wait_until_gone(lambda: _get(ws, name, log), _course(ws, name), log)
    return True


def _get(ws: Workspace, name: str, log: Log) -> Any:
    return find(lambda: ws.ml.compute.get(name), f"compute {name}", log)


def _settled(ws: Workspace, name: str, log: Log) -> Any | None:
    return settled(lambda: _get(ws, name, log), _course(ws, name), log)


def _course(ws: Workspace, name: str) -> Course:
    watched = ws.watched(f"Compute {name}", ws.compute_studio_url(name), goes_on="It stays as it is")
    return Course(watched, ComputeFailed, _LIMIT_SECONDS)


def _claim(cluster: Any, section: ComputeSection, owner: Owner, accepted: Collection[str]) -> Claim:
    claim = claim_on(cluster.tags, section, owner, accepted)
    if claim is Claim.NONE:
        why, next_step = taken_in_words(cluster.tags, section, owner)
        raise ComputeFailed(f"Compute {cluster.name} {why}; nothing was changed. {next_step}")
    return claim


def _require_unused(ws: Workspace, cluster: Any, section: ComputeSection, claim: Claim, why: str, log: Log) -> None:
    """Raises ComputeFailed where another recipe has made the cluster, and it is in use."""
    if claim is Claim.SHARED and (use := in_use(ws, cluster.name, log)) is not None:
        raise ComputeFailed(
            f"Compute {cluster.name} {why}; it was made by {maker_of(cluster.tags)}, and {use}, so it is left alone. "
            f"Run again later, or set `{section.key}` to what it has, or give `{section.key}.name` another name."
        )


def _check_existing(cluster: Any, section: ComputeSection) -> None:
    if not has_succeeded(cluster):
        raise ComputeFailed(
            f"Compute {cluster.name} is in state {state_of(cluster)}{_errors(cluster)}. Delete it, or give "
            f"`{section.key}.name` another name."
        )
    size = getattr(cluster, "size", None)
    if not size:
        raise ComputeFailed(
            f"Compute {cluster.name} is of type {cluster.type}, not a cluster. Give `{section.key}.name` another name."
        )
    if size.lower() != section.size.lower():
        raise ComputeFailed(
            f"Compute {cluster.name} exists with VM size {size}, but the recipe asks for {section.size}, and a "
            f"cluster's size cannot be changed. Set `{section.key}.size: {size}`, or give "
            f"`{section.key}.name` another name."
        )
    for key, have, want in network_drift(cluster, section):
        raise ComputeFailed(
            f"Compute {cluster.name} exists with {key} {have}, but the recipe asks for {want}, and a cluster's network "
            f"cannot be changed. Set `{section.key}.{key}` to what it has, delete the cluster, or give "
            f"`{section.key}.name` another name."
        )


def _drift(cluster: Any, section: ComputeSection) -> dict[str, tuple[Any, Any]]:
    """What differs from the recipe and can be changed, with what the cluster has and what the recipe asks for."""
    wanted = {
        "min_instances": section.min_nodes,
        "max_instances": section.max_nodes,
        "idle_time_before_scale_down": section.idle_seconds,
    }
    have = {key: _number(getattr(cluster, key, None)) for key in wanted}
    drift: dict[str, tuple[Any, Any]] = {key: (have[key], want) for key, want in wanted.items() if have[key] != want}
    if not is_identity(cluster, section.identity):
        drift["identity"] = (identity_of(cluster), section.identity)
    return drift


def _update(
    ws: Workspace, section: ComputeSection, drift: Mapping[str, tuple[Any, Any]], owner: Owner, log: Log
) -> Any:
    def send(cluster: Any) -> object:
        if cluster is None:
            raise ComputeFailed(f"Compute {section.name} was deleted while it was to be updated; run again.")
        for key, (_, want) in drift.items():
            setattr(cluster, key, identity_entity(want) if key == "identity" else want)
        # The SDK sends a subnet by this attribute, which it sets for a new cluster only.
        cluster.subnet = _subnet_of(cluster)
        # One of an earlier release comes to say whose it is; who has made it stays written on any other.
        cluster.tags = {**owner.tags, **(cluster.tags or {})}
        return ws.ml.compute.begin_update(cluster)

    try:
        written = write(
            f"Compute {section.name}",
            look=lambda: _settled(ws, section.name, log),
            send=send,
            is_done=lambda cluster: cluster is not None and has_succeeded(cluster) and not _drift(cluster, section),
            log=log,
            course=_course(ws, section.name),
        )
    except AzureError as error:
        raise ComputeFailed(
            f"Compute {section.name}: the service refused to change {', '.join(drift)}: {one_line(error)}. "
            + next_step(error, f"Adjust the recipe's `{section.key}`.")
        ) from error
    if written.found is None:
        raise ComputeFailed(f"Compute {section.name} vanished while it was updated; run again.")
    return written.found


def _create(ws: Workspace, section: ComputeSection, owner: Owner, log: Log) -> tuple[Any, list[str]]:
    """The cluster in the first tier that the service grants, and what it said about earlier ones."""
    refused: list[str] = []
    cause: Exception | None = None
    for tier in section.tiers:
        log(f"Creating compute {section.name} ({section.size}, {tier}, up to {section.max_nodes} nodes).")
        try:
            created = _create_tier(ws, section, tier, owner, log)
        except (AzureError, ComputeFailed) as error:
            if is_transient(error):
                raise ComputeFailed(
                    f"Compute {section.name} could not be created: {one_line(error)}. Run again later."
                ) from error
            # The first reason is the one to act upon; later tiers often fail only because of it.
            cause = cause or error
            refused.append(f"{tier} was refused: {one_line(error)}.")
            log(f"Compute {section.name}: {refused[-1]}")
            _remove(ws, section.name, log, lambda cluster: _is_not_broken(cluster) or not owner.owns(cluster.tags))
        else:
            # Somebody else may have made it meanwhile, in another size.
            _check_existing(created, section)
            return created, refused
    raise ComputeFailed(
        f"Compute {section.name} ({section.size}) could not be created. {' '.join(refused)} "
        + next_step(cause or ComputeFailed(""), _MORE_QUOTA.format(section.key))
    ) from cause


def _create_tier(ws: Workspace, section: ComputeSection, tier: str, owner: Owner, log: Log) -> Any:
    def send(found: Any) -> object:
        if found is not None:
            raise ComputeFailed(f"state {state_of(found)}{_errors(found)}")
        return ws.ml.compute.begin_create_or_update(_entity(section, tier, owner))

    written = write(
        f"Compute {section.name}",
        look=lambda: _settled(ws, section.name, log),
        send=send,
        is_done=lambda cluster: cluster is not None and has_succeeded(cluster),
        log=log,
        course=_course(ws, section.name),
    )
    created = written.found
    if created is None:
        raise ComputeFailed(f"Compute {section.name} vanished while it was created; run again.")
    if not has_succeeded(created):
        raise ComputeFailed(f"state {state_of(created)}{_errors(created)}")
    return created


def network_drift(cluster: Any, section: ComputeSection) -> Iterator[tuple[str, Any, Any]]:
    """Keys of the recipe's network that the cluster does not have, with what it has and what the recipe asks for."""
    subnet = _subnet_of(cluster)
    if section.subnet is not None and str(subnet).lower() != section.subnet.lower():
        yield "subnet", subnet, section.subnet
    public_ip = bool(cluster.enable_node_public_ip)
    if section.public_ip is not None and public_ip != section.public_ip:
        yield "public_ip", public_ip, section.public_ip


def _subnet_of(cluster: Any) -> str | None:
    settings = getattr(cluster, "network_settings", None)
    return getattr(settings, "subnet", None)


def _entity(section: ComputeSection, tier: str, owner: Owner) -> Any:
    entities = sdk().entities
    return entities.AmlCompute(
        name=section.name,
        size=section.size,
        tier=tier,
        min_instances=section.min_nodes,
        max_instances=section.max_nodes,
        idle_time_before_scale_down=section.idle_seconds,
        identity=identity_entity(section.identity),
        network_settings=entities.NetworkSettings(subnet=section.subnet) if section.subnet else None,
        enable_node_public_ip=section.public_ip is not False,
        tags=owner.tags,
    )


def _is_not_broken(cluster: Any) -> bool:
    """No broken cluster holds the name: neither its priority nor its state can be changed."""
    return cluster is None or has_succeeded(cluster)


def _remove(ws: Workspace, name: str, log: Log, is_done: Callable[[Any], bool]) -> None:
    try:
        write(
            f"Deletion of compute {name}",
            look=lambda: _settled(ws, name, log),
            send=lambda _: ws.ml.compute.begin_delete(name, action="Delete"),
            is_done=is_done,
            log=log,
            course=_course(ws, name),
        )
    except AzureError as error:
        raise ComputeFailed(
            f"Compute {name} could not be deleted: {one_line(error)}. "
            f"{deletion_advice(ws, error, 'Delete it in Studio.')}"
        ) from error


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


def _ref(cluster: Any, section: ComputeSection, gpus: int, action: Action, reason: str) -> ComputeRef:
    return ComputeRef(
        name=str(cluster.name),
        size=str(cluster.size),
        gpus=gpus,
        tier=_tier(cluster, section),
        action=action,
        reason=reason,
    )


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, int | float | str) and str(value).isdigit() else value
