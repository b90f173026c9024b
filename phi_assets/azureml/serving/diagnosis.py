"""Why a deployment failed: the service's code in words, what to do next, and the last words of its containers."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.refusals import next_step
from phi_assets.azureml.connection.retry import Log, one_line, silent
from phi_assets.azureml.scoring.container_log import CONTAINERS, last_lines
from phi_assets.azureml.serving.quota import quota_advice
from phi_assets.config.recipe import ServingSection


class Advice(NamedTuple):
    """What a code means, and what its reader does next."""

    cause: str
    next_step: str


OUT_OF_QUOTA = "OutOfQuota"
_OF_THE_SERVICE = "InternalServerError"

# https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#common-deployment-errors
ADVICE = {
    "ImageBuildFailure": Advice(
        "The image of the model's environment could not be built: something in its conda file cannot be installed, the "
        "workspace's container registry refused, or the build took too long.",
        "Read the build log, whose place the message or Studio names, and pin what fails in the model's conda file; "
        "`az ml workspace sync-keys` helps where the registry refused.",
    ),
    "BadArgument": Advice(
        "The model or the image could not be brought into the container, or the service does not take these settings.",
        "The storage initializer's lines name what is missing: the model version needs its files, and an identity of "
        "your own on the endpoint needs Storage Blob Data Reader and AcrPull.",
    ),
    "ResourceNotReady": Advice(
        "The container crashed, or did not pass its probes in time.",
        "The inference server's lines say where it stopped. For a model that only needs longer raise "
        "`serving.liveness_initial_delay_seconds`; for one that needs more memory change `serving.instance_type`.",
    ),
    "ResourceNotFound": Advice(
        "Something that the deployment needs does not exist or may not be seen: the model version, the storage "
        "account, the container registry or an identity.",
        "The message names it; make it again (materialize registered_model for a model that was deleted), or let the "
        "endpoint's identity see it.",
    ),
    "OperationCanceled": Advice(
        "Another operation on the endpoint had priority, or had not let go of its lock.",
        "Wait a minute, with nobody else changing the endpoint.",
    ),
    "SecretsInjectionError": Advice(
        "The endpoint's identity could not read a secret that an environment variable of the deployment refers to.",
        "Check that the connection or the key vault has that secret, and that the identity may read it; a new role "
        "assignment takes some minutes to count.",
    ),
    "WorkspaceManagedNetworkNotReady": Advice(
        "The workspace's managed network has not been provisioned yet.",
        "Provision it: `az ml workspace provision-network`.",
    ),
    _OF_THE_SERVICE: Advice(
        "The service itself failed.",
        "Nothing here needs to change; if it fails again, open a support request with the whole message.",
    ),
}
_CODES = (OUT_OF_QUOTA, *ADVICE)


def diagnose(
    ws: Workspace,
    endpoint: str,
    deployment: str,
    error: BaseException | str,
    section: ServingSection | None = None,
    log: Log = silent,
) -> str:
    """Cause and next step in one line, then the last lines of both containers.

    `error` is what the service answered, or what has been seen of the deployment. With `section`, want of quota is
    put in numbers. Asks the service for the logs, for a minute at most, and raises nothing of what it answers.
    """
    known = next_step(error, "") if isinstance(error, BaseException) else ""
    code = error_code(error)
    if known:
        text = known
    elif code == OUT_OF_QUOTA:
        text = " ".join(quota_advice(ws, _text(error), section, log))
    elif code is None:
        text = "The service gives no code that is known; the containers' last lines may say why."
    else:
        text = " ".join(ADVICE[code])
    logs = [last_lines(ws, endpoint, deployment, container, log) for container in CONTAINERS]
    return "\n".join([f"{text} Then run again: a broken deployment is replaced.", *logs])


def error_code(error: BaseException | str) -> str | None:
    """The most particular of the service's codes, whether it is a field of the answer or a word of its text."""
    known = {code.lower(): code for code in _CODES}
    fields = [known[code.lower()] for code in _fields(getattr(error, "error", None)) if code.lower() in known]
    words = [known[word.lower()] for word in re.findall(r"[A-Za-z]+", _text(error)) if word.lower() in known]
    found = [*fields, *words]
    # It also stands around the code of what went wrong.
    return next((code for code in found if code != _OF_THE_SERVICE), found[0] if found else None)


def _fields(answer: Any) -> Iterator[str]:
    """Codes of an answer, from the outermost in."""
    if answer is None:
        return
    if code := getattr(answer, "code", None):
        yield str(code)
    for detail in getattr(answer, "details", None) or []:
        yield from _fields(detail)
    inner = getattr(answer, "innererror", None)
    while isinstance(inner, dict):
        if code := inner.get("code"):
            yield str(code)
        inner = inner.get("innererror") or inner.get("innerError")


def _text(error: BaseException | str) -> str:
    # The rest of a message may be the container's log, in which any word may stand.
    return error if isinstance(error, str) else one_line(error)
