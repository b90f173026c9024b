"""Deployments: one per model version, named after it, healthy before it may get traffic."""

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.connection.errors import ComputeNotAllowed, DeploymentFailed, DeploymentUnderway
from phi_assets.azureml.connection.inventory import find_endpoint, live_share
from phi_assets.azureml.connection.locks import deletion_advice
from phi_assets.azureml.connection.operations import Course
from phi_assets.azureml.connection.provisioning import has_succeeded, settled, state_of
from phi_assets.azureml.connection.retry import Log, find, one_line, poll_delays, silent
from phi_assets.azureml.connection.sight import in_words
from phi_assets.azureml.connection.status import service_text
from phi_assets.azureml.connection.writes import write
from phi_assets.azureml.ownership import Owner, maker_of
from phi_assets.azureml.serving.diagnosis import diagnose
from phi_assets.config.recipe import ServingSection
from phi_assets.fingerprint import fingerprint
from phi_assets.refs import Action, DeploymentRef, EndpointRef, RegisteredModelRef

WORKER_COUNT = "WORKER_COUNT"
"""Environment variable that Azure ML's inference server reads.
<https://learn.microsoft.com/azure/machine-learning/how-to-inference-server-http#server-parameters>
"""

_NAME_LENGTH = 32
_TIMEOUT_KEY = "serving.deployment_timeout_minutes"
_DELETION_SECONDS = 30 * 60.0
"""What the service gives its own deletions (`x-ms-async-operation-timeout: PT30M`)."""


def deployment_name(model: RegisteredModelRef) -> str:
    """`ft-<version>`, or a hash of it where the version cannot be part of a name (3 to 32 letters, digits, dashes)."""
    name = "ft-" + re.sub(r"[^a-z0-9]+", "-", model.version.lower()).strip("-")
    if len(name) <= _NAME_LENGTH and name == f"ft-{model.version.lower()}":
        return name
    return f"ft-{fingerprint(model.version)[:12]}"


def ensure_deployment(
    ws: Workspace,
    endpoint: EndpointRef,
    model: RegisteredModelRef,
    section: ServingSection,
    allowed: Sequence[str] | None = None,
    log: Log = silent,
    *,
    name: str | None = None,
    owner: Owner | None = None,
    on_create: Callable[[str], object] = silent,
) -> DeploymentRef:
    """A deployment of the model version is healthy behind the endpoint; its share of the traffic is left as it is.

    A broken one is replaced; settings that differ from the recipe's are updated. It is called `deployment_name(model)`
    unless a name is given. `on_create` gets the name of one that is new, right before it is asked for. The owner is the
    project, unless one is given; a deployment of anybody else under this name is left as it is.

    Raises:
        ComputeNotAllowed: the instance type is not among those that may serve the foundation model.
        DeploymentFailed: it did not become healthy; the message has cause, next step and what its containers said. Or
            it is somebody else's.
    """
    _check_instance_type(section, allowed)
    name = name or deployment_name(model)
    owner = owner or ws.owner()
    wanted = _entity(endpoint, model, section, name, owner)
    course = _course(ws, endpoint.name, name, section.deployment_timeout_minutes * 60, _TIMEOUT_KEY)
    existing = settled(lambda: _get(ws, endpoint.name, name, log), course, log)
    reason = f"Deployment {name} did not exist."
    _check_owner(existing, owner)
    if existing is not None and not has_succeeded(existing):
        _check_endpoint(ws, endpoint.name, owner, log)
        reason = f"Deployment {name} was {state_of(existing)} and has been replaced."
        log(f"Deployment {name} is {state_of(existing)}; replacing it.")
        if not live_share(ws, endpoint.name, name, log):
            delete_deployment(ws, endpoint.name, name, log)
            existing = None
    elif existing is not None:
        wanted.egress_public_network_access = _egress(existing, section)
        drift = _drift(existing, wanted)
        if not drift:
            log(f"Deployment {name} is healthy.")
            return _ref(endpoint, model, section, name, "reused", f"Deployment {name} is healthy, as the recipe asks.")
        reason = f"Deployment {name} differed from the recipe: {'; '.join(drift)}."
        log(f"Deployment {name} differs from the recipe: {'; '.join(drift)}.")
    _check_endpoint(ws, endpoint.name, owner, log)
    log(f"{'Creating' if existing is None else 'Updating'} deployment {name} ({section.instance_type}).")
    if existing is None:
        on_create(name)
    try:
        _put(ws, wanted, section, course, owner, log)
    except DeploymentUnderway as error:
        if existing is not None:
            raise
        # Before it is gone: its containers may have said why.
        said = diagnose(ws, endpoint.name, name, str(error), section, log)
        log(f"Deployment {name} takes too long; deleting it, so that it does not go on billing.")
        delete_deployment(ws, endpoint.name, name, log)
        raise DeploymentFailed(
            f"Deployment {name} of {model.id} on {section.instance_type} was not healthy after "
            f"{in_words(course.limit_seconds)} and has been deleted; nothing of it is billing. Raise "
            f"`{_TIMEOUT_KEY}` if it only needs longer. {said}",
            studio_url=course.watched.url,
        ) from error
    return _ref(endpoint, model, section, name, "created" if existing is None else "updated", reason)


def delete_deployment(
    ws: Workspace, endpoint: str, name: str, log: Log = silent, *, owner: Owner | None = None
) -> None:
    """The deployment is gone, so it is not billing any more; where an owner is given, one of somebody else's stays.

    Raises:
        DeploymentFailed: the service refused; a deployment that gets traffic cannot be deleted.
    """
    course = _course(ws, endpoint, name, _DELETION_SECONDS)
    try:
        write(
            f"Deletion of deployment {name}",
            look=lambda: _unless_leaving(ws, endpoint, name, course, log),
            send=lambda _: ws.ml.online_deployments.begin_delete(name=name, endpoint_name=endpoint),
            is_done=lambda found: found is None or not (owner is None or owner.owns(found.tags)),
            log=log,
            course=course,
        )
    except AzureError as error:
        raise DeploymentFailed(
            f"Deployment {name} could not be deleted and is billing: {one_line(error)}. "
            f"{deletion_advice(ws, error, 'Run again.')}",
            studio_url=course.watched.url,
        ) from error


def discard_deployment(
    ws: Workspace,
    endpoint: str,
    name: str,
    log: Log = silent,
    *,
    owner: Owner | None = None,
    arrival_seconds: float = 0,
) -> bool:
    """Whether the deployment is gone: deleted now, unless it gets live traffic or is not the owner's.

    The owner is the project, unless one is given. With `arrival_seconds` a deployment that is not there is waited for:
    a request for it may be on the wire.

    Raises:
        DeploymentFailed: the service refused to delete it.
    """
    deadline, delays = time.monotonic() + arrival_seconds, poll_delays()
    while (found := _get(ws, endpoint, name, log)) is None and time.monotonic() < deadline:
        time.sleep(next(delays))
    if found is None:
        return True
    if not (owner or ws.owner()).owns(found.tags):
        log(f"Deployment {name} was made by {maker_of(found.tags)}; it is left alone, and is billing.")
        return False
    if live_share(ws, endpoint, name, log):
        log(f"Deployment {name} gets traffic; it stays.")
        return False
    log(f"Deleting deployment {name}, which has never served.")
    delete_deployment(ws, endpoint, name, log)
    return True


def _check_owner(found: Any, owner: Owner) -> None:
    if found is not None and not owner.owns(found.tags):
        raise DeploymentFailed(
            f"Deployment {found.name} of endpoint {found.endpoint_name} exists and was made by {maker_of(found.tags)}; "
            "it is left alone, and is billing. Delete it if nobody needs it, or give `serving.endpoint` another name."
        )


def _check_endpoint(ws: Workspace, name: str, owner: Owner, log: Log) -> None:
    """Raises DeploymentFailed where somebody else has an endpoint of this name by now."""
    found = find_endpoint(ws, name, log)
    if found is not None and not owner.owns(found.tags):
        raise DeploymentFailed(
            f"Endpoint {name} is not ours any more: it was made by {maker_of(found.tags)}. Nothing was deployed. "
            "Materialize online_endpoint again."
        )


def _check_instance_type(section: ServingSection, allowed: Sequence[str] | None) -> None:
    if allowed is not None and section.instance_type.lower() not in {size.lower() for size in allowed}:
        raise ComputeNotAllowed(
            f"VM size {section.instance_type} may not serve this model. Set `serving.instance_type` to one of: "
            f"{', '.join(allowed)}. Nothing was deployed."
        )


def _egress(existing: Any, section: ServingSection) -> str:
    """The way out that the deployment has, if it is the recipe's."""
    have = service_text(existing.egress_public_network_access or "enabled").lower()
    if section.egress_public_network_access not in (None, have):
        raise DeploymentFailed(
            f"Deployment {existing.name} exists with public egress {have}, which cannot be changed. Delete it and run "
            f"again, or set `serving.egress_public_network_access: {have}`."
        )
    return have


def _entity(endpoint: EndpointRef, model: RegisteredModelRef, section: ServingSection, name: str, owner: Owner) -> Any:
    entities = sdk().entities
    return entities.ManagedOnlineDeployment(
        name=name,
        endpoint_name=endpoint.name,
        model=model.id,
        instance_type=section.instance_type,
        instance_count=section.instance_count,
        # One is what the inference server has by default.
        environment_variables={WORKER_COUNT: str(section.worker_count)} if section.worker_count > 1 else {},
        liveness_probe=entities.ProbeSettings(initial_delay=section.liveness_initial_delay_seconds),
        request_settings=entities.OnlineRequestSettings(
            request_timeout_ms=section.request_timeout_seconds * 1000,
            max_concurrent_requests_per_instance=section.max_concurrent_requests,
        ),
        egress_public_network_access=section.egress_public_network_access,
        tags={**owner.tags, "phi-model": f"{model.name}:{model.version}", "phi-job": model.job_name},
    )


def _drift(existing: Any, wanted: Any) -> list[str]:
    pairs = {
        "model": (_tail(existing.model), _tail(wanted.model)),
        "instance type": (str(existing.instance_type).lower(), str(wanted.instance_type).lower()),
        "instance count": (existing.instance_count, wanted.instance_count),
        "request timeout": (
            _setting(existing.request_settings, "request_timeout_ms"),
            wanted.request_settings.request_timeout_ms,
        ),
        "concurrent requests": (
            _setting(existing.request_settings, "max_concurrent_requests_per_instance"),
            wanted.request_settings.max_concurrent_requests_per_instance,
        ),
        "workers": (_workers(existing), _workers(wanted)),
        "liveness delay": (
            _setting(existing.liveness_probe, "initial_delay"),
            wanted.liveness_probe.initial_delay,
        ),
    }
    return [f"{what} {have} -> {want}" for what, (have, want) in pairs.items() if have != want]


def _workers(deployment: Any) -> str:
    return (deployment.environment_variables or {}).get(WORKER_COUNT, "1")


def _put(ws: Workspace, wanted: Any, section: ServingSection, course: Course, owner: Owner, log: Log) -> None:
    name, endpoint = wanted.name, wanted.endpoint_name

    def send(found: Any) -> object:
        # Somebody else may have made it since it was looked for.
        _check_owner(found, owner)
        return ws.ml.online_deployments.begin_create_or_update(wanted)

    cause: Exception | None = None
    try:
        written = write(
            f"Deployment {name}",
            look=lambda: settled(lambda: _get(ws, endpoint, name, log), course, log),
            send=send,
            is_done=lambda found: found is not None and has_succeeded(found) and not _drift(found, wanted),
            log=log,
            course=course,
        )
        if written.found is not None and has_succeeded(written.found):
            log(f"Deployment {name} is healthy.")
            return
        reason = f"state {'gone' if written.found is None else state_of(written.found)}"
    except AzureError as error:
        reason, cause = one_line(error), error
    raise DeploymentFailed(
        f"Deployment {name} of {wanted.model} on {section.instance_type} did not become healthy: {reason}. "
        f"{diagnose(ws, endpoint, name, cause or reason, section, log)}"
    ) from cause


def _course(ws: Workspace, endpoint: str, name: str, limit_seconds: float, setting: str = "") -> Course:
    watched = ws.watched(f"Deployment {name} of endpoint {endpoint}", ws.endpoint_studio_url(endpoint))
    return Course(watched, DeploymentUnderway, limit_seconds, setting)


def _unless_leaving(ws: Workspace, endpoint: str, name: str, course: Course, log: Log) -> Any | None:
    """The deployment in whatever state, but once it is being deleted, what that leaves."""
    found = _get(ws, endpoint, name, log)
    is_leaving = found is not None and state_of(found).lower() == "deleting"
    return settled(lambda: _get(ws, endpoint, name, log), course, log) if is_leaving else found


def _get(ws: Workspace, endpoint: str, name: str, log: Log) -> Any:
    return find(lambda: ws.ml.online_deployments.get(name=name, endpoint_name=endpoint), f"deployment {name}", log)


def _ref(
    endpoint: EndpointRef, model: RegisteredModelRef, section: ServingSection, name: str, action: Action, reason: str
) -> DeploymentRef:
    return DeploymentRef(
        endpoint=endpoint.name,
        name=name,
        model_id=model.id,
        instance_type=section.instance_type,
        instance_count=section.instance_count,
        action=action,
        reason=reason,
    )


def _tail(model_id: Any) -> tuple[str, ...]:
    """Name and version, whatever form the id has."""
    return tuple(part.lower() for part in re.split(r"[/:]", str(getattr(model_id, "id", model_id))) if part)[-3:]


def _setting(settings: Any, name: str) -> Any:
    value = getattr(settings, name, None)
    return int(value) if value is not None else None
