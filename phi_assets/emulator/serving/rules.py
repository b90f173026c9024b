"""What the service accepts as traffic and settings of online endpoints and deployments.

Defaults: https://learn.microsoft.com/azure/machine-learning/reference-yaml-deployment-managed-online
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from phi_assets.config.limits import INSTANCES, MIRRORED_PERCENT, REQUEST_SECONDS
from phi_assets.emulator.wire.errors import ServiceError, user_error
from phi_assets.emulator.wire.queries import as_number
from phi_assets.emulator.workspace.vm_sizes import VM_SIZES

WORKER_COUNT = "WORKER_COUNT"
MAX_WORKERS = 16
"""Of this emulator, whose deployments share one machine."""

DEFAULT_INSTANCE_TYPE = "Standard_DS3_v2"
DEFAULT_PROBE: dict[str, Any] = {
    "initialDelay": "PT10S",
    "period": "PT10S",
    "timeout": "PT2S",
    "successThreshold": 1,
    "failureThreshold": 30,
}
DEFAULT_REQUEST_SETTINGS: dict[str, Any] = {
    "requestTimeout": "PT5S",
    "maxConcurrentRequestsPerInstance": 1,
    "maxQueueWait": "PT0.5S",
}

_LONGEST_SECONDS = 30 * 24 * 3600
"""Beyond it no probe makes sense, and the waits of an operating system have an end."""
_DURATION = TypeAdapter(timedelta)


@dataclass(frozen=True)
class Probe:
    """How a container is asked whether it lives or is ready; times in seconds."""

    initial_delay: float
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int

    @property
    def patience(self) -> float:
        """Seconds from the start of the container until a probe that never succeeds has failed for good."""
        return self.initial_delay + self.period * self.failure_threshold


@dataclass(frozen=True)
class DeploymentSettings:
    """The numbers of a deployment that steer its process and the requests to it."""

    instances: int
    request_timeout: float
    """Seconds that a request may take, waiting for its turn included."""
    max_concurrent: int
    liveness: Probe
    readiness: Probe

    @property
    def concurrency(self) -> int:
        """Requests that are with the model at the same time."""
        return self.max_concurrent * self.instances

    @property
    def max_pending(self) -> int:
        """Requests that may be underway; one more is answered 429."""
        return 2 * self.concurrency

    @classmethod
    def of(cls, sku: dict[str, Any], properties: dict[str, Any]) -> "DeploymentSettings":
        """Reads checked deployment properties.

        Raises:
            ServiceError: 400 for a number out of its range.
        """
        request = properties["requestSettings"]
        timeout = _seconds(request["requestTimeout"], "requestSettings.requestTimeout")
        if not 0 < timeout <= REQUEST_SECONDS.most:
            raise bad_argument(
                f"'requestSettings.requestTimeout', the request timeout of a deployment, must be more than 0 and at "
                f"most {REQUEST_SECONDS.most} seconds, not {timeout:g}."
            )
        return cls(
            instances=_whole(sku["capacity"], "sku.capacity", INSTANCES.most),
            request_timeout=timeout,
            max_concurrent=_whole(
                request["maxConcurrentRequestsPerInstance"], "requestSettings.maxConcurrentRequestsPerInstance"
            ),
            liveness=_probe(properties["livenessProbe"], "livenessProbe"),
            readiness=_probe(properties["readinessProbe"], "readinessProbe"),
        )


def bad_argument(message: str) -> ServiceError:
    """400 for a value that the service does not take."""
    return user_error(message, "BadArgument/ArgumentInvalid")


def checked_traffic(
    traffic: Any, mirror: Any, deployments: Mapping[str, str], current: Mapping[str, int] | None = None
) -> tuple[dict[str, int], dict[str, int]]:
    """Live and mirrored traffic with lower-case names, if the service takes them.

    `deployments` maps the lower-case names of the endpoint's deployments to their provisioning states. A deployment
    that keeps its share of the `current` traffic may be in any state: it may be updated while it serves.

    Raises:
        ServiceError: 400 with the rule that is broken.
    """
    live, mirrored = _percentages(traffic, "traffic"), _percentages(mirror, "mirrorTraffic")
    if sum(live.values()) not in (0, 100):
        raise bad_argument(f"The traffic must sum up to 0 or 100 percent, but {live} sums up to {sum(live.values())}.")
    if (most := max(mirrored.values(), default=0)) > MIRRORED_PERCENT.most:
        raise bad_argument(
            f"'mirrorTraffic' is not valid. At most {MIRRORED_PERCENT.most} % of the traffic can be mirrored, not "
            f"{most} %."
        )
    for name, percent in [*live.items(), *mirrored.items()]:
        _check_routable(name, deployments, kept=(current or {}).get(name) == percent)
    if len(mirrored) > 1:
        raise bad_argument(f"Traffic can be mirrored to one deployment only, not to {', '.join(sorted(mirrored))}.")
    for name, percent in mirrored.items():
        if percent and live.get(name):
            raise bad_argument(f"The deployment '{name}' can receive live traffic or mirrored traffic, not both.")
    return live, mirrored


def with_defaults(properties: dict[str, Any]) -> dict[str, Any]:
    """Deployment properties as the service completes them."""
    given = {name: value for name, value in properties.items() if value is not None}
    return {
        "endpointComputeType": "Managed",
        "scaleSettings": {"scaleType": "Default"},
        "instanceType": DEFAULT_INSTANCE_TYPE,
        "appInsightsEnabled": False,
        "egressPublicNetworkAccess": "Enabled",
        "environmentVariables": {},
        "properties": {},
        **given,
        "requestSettings": DEFAULT_REQUEST_SETTINGS | _given(given, "requestSettings"),
        "livenessProbe": DEFAULT_PROBE | _given(given, "livenessProbe"),
        "readinessProbe": DEFAULT_PROBE | _given(given, "readinessProbe"),
    }


def check_deployment(properties: dict[str, Any]) -> None:
    """Refuses what the service refuses, and what it takes but a local process cannot be."""
    if properties["endpointComputeType"] != "Managed":
        raise bad_argument(f"Endpoint compute type '{properties['endpointComputeType']}': only Managed is supported.")
    if (scale := properties["scaleSettings"].get("scaleType")) != "Default":
        raise bad_argument(f"A managed deployment supports scale type Default only, not '{scale}'.")
    code = properties.get("codeConfiguration")
    if code and not (code.get("codeId") and code.get("scoringScript")):
        raise bad_argument("'codeConfiguration' needs both, code and the scoring script in it.")
    if code and not properties.get("environmentId"):
        raise bad_argument("A deployment with a scoring script names an environment: set 'environment'.")
    if str(properties["egressPublicNetworkAccess"]).lower() not in {"enabled", "disabled"}:
        raise bad_argument("'egressPublicNetworkAccess' must be Enabled or Disabled.")
    variables = properties["environmentVariables"]
    if not isinstance(variables, dict) or not all(isinstance(value, str) for value in variables.values()):
        raise bad_argument("'environmentVariables' must map names to texts.")
    worker_count(variables)
    if not properties.get("model"):
        raise bad_argument("The deployment names no model: set 'model' to the id of a registered model.")


def worker_count(variables: Mapping[str, str]) -> int:
    """How many processes of a deployment with these environment variables share its requests.

    As Azure ML's inference server reads it; each of them loads the model.
    <https://learn.microsoft.com/azure/machine-learning/how-to-inference-server-http#server-parameters>

    Raises:
        ServiceError: 400 for anything but a number that one machine can bear.
    """
    given = variables.get(WORKER_COUNT, "1")
    count = as_number(given) or 0
    if not 1 <= count <= MAX_WORKERS:
        raise bad_argument(
            f"The environment variable {WORKER_COUNT} must be a whole number from 1 to {MAX_WORKERS}, not {given!r}."
        )
    return count


def _given(properties: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in (properties.get(name) or {}).items() if value is not None}


def _check_routable(name: str, deployments: Mapping[str, str], *, kept: bool) -> None:
    if name not in deployments:
        existing = ", ".join(sorted(deployments)) or "none"
        raise bad_argument(
            f"Traffic is set for the deployment '{name}', which does not exist in this endpoint (existing: {existing})."
        )
    if deployments[name] != "Succeeded" and not kept:
        raise bad_argument(
            f"Traffic is set for the deployment '{name}', which is in {deployments[name]} provisioning state; "
            "it must be Succeeded."
        )


def _percentages(value: Any, where: str) -> dict[str, int]:
    if value is not None and not isinstance(value, dict):
        raise bad_argument(f"'{where}' must map deployment names to percentages.")
    percentages: dict[str, int] = {}
    for name, percent in (value or {}).items():
        if isinstance(percent, bool) or not isinstance(percent, int) or not 0 <= percent <= 100:
            raise bad_argument(f"'{where}.{name}' must be a whole number from 0 to 100, not {percent!r}.")
        percentages[name.lower()] = percent
    return percentages


def _probe(settings: dict[str, Any], where: str) -> Probe:
    return Probe(
        initial_delay=_seconds(settings["initialDelay"], f"{where}.initialDelay"),
        period=_positive_seconds(settings["period"], f"{where}.period"),
        timeout=_positive_seconds(settings["timeout"], f"{where}.timeout"),
        success_threshold=_whole(settings["successThreshold"], f"{where}.successThreshold"),
        failure_threshold=_whole(settings["failureThreshold"], f"{where}.failureThreshold"),
    )


def _positive_seconds(value: Any, where: str) -> float:
    seconds = _seconds(value, where)
    if seconds <= 0:
        raise bad_argument(f"'{where}' must be more than 0 seconds, not {value!r}.")
    return seconds


def _seconds(value: Any, where: str) -> float:
    try:
        seconds = _DURATION.validate_python(value).total_seconds() if isinstance(value, str) else -1.0
    except ValidationError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_SECONDS:
        raise bad_argument(
            f"'{where}' must be an ISO 8601 duration such as PT10S, of at most {_LONGEST_SECONDS} s, not {value!r}."
        )
    return seconds


def _whole(value: Any, where: str, maximum: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or (maximum is not None and value > maximum):
        limit = f"from 1 to {maximum}" if maximum is not None else "of at least 1"
        raise bad_argument(f"'{where}' must be a whole number {limit}, not {value!r}.")
    return value


def check_instance_type(instance_type: Any) -> None:
    """Raises ServiceError: 400 for a size that the region does not offer; the service ignores the case of names."""
    if not isinstance(instance_type, str) or instance_type.lower() not in VM_SIZES:
        raise bad_argument(
            f"The instance type {instance_type!r} is not known or not offered in this region. Choose one of "
            f"{', '.join(size.name for size in VM_SIZES.values())}."
        )
