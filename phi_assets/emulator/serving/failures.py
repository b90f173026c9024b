"""The codes with which the service fails a deployment: what it says, and what it leaves in the containers' logs.

Causes: https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints. The texts are ours.
"""

from dataclasses import dataclass

from phi_assets.emulator.serving.logs import DeploymentLogs, Progress, Stage
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.workspace.vm_sizes import VM_SIZES

_TROUBLESHOOTING = "https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints"


@dataclass(frozen=True)
class Failure:
    """One way to fail: `done` stages were through before, `stage` was not, and `event` says why.

    `initializer` and `server` are the last lines of the two containers, as far as they came to life.
    """

    status: int
    text: str
    stage: Stage
    event: tuple[str, str]
    progress: Progress = "Failed"
    done: tuple[Stage, ...] = ()
    initializer: tuple[str, ...] = ()
    server: tuple[str, ...] = ()


_DOWNLOADED = (
    "Resolving the model {model}",
    "Downloading the model's files from the workspace's storage",
    "The model's files are in /var/azureml-app/azureml-models",
)

_FAILURES = {
    "OutOfQuota": Failure(
        400,
        "Not enough quota for the deployment: {cores} more cores of the family of {size} are needed and 0 are left.",
        Stage.SYSTEM,
        ("FailedScheduling", "{count} instances of {size} were asked for: {cores} cores of its family are missing"),
    ),
    "ImageBuildFailure": Failure(
        400,
        "The image of the deployment's environment could not be built: its build ended failed.",
        Stage.IMAGE,
        ("ImagePullFailed", "Image pull failed, retrying. There is no image: see the log of its build"),
        done=(Stage.SYSTEM,),
        server=(
            "image build: step 5 of 7: conda env create -f conda.yaml",
            "image build: ERROR: No matching distribution found for mlflow==99.0.0",
            "image build: failed with exit code 1; no container was started",
        ),
    ),
    "SecretsInjectionError": Failure(
        400,
        "A secret of the deployment could not be read or injected.",
        Stage.CONTAINER,
        ("SecretsInjectionFailed", "The endpoint's identity may not read a secret that an environment variable names"),
        done=(Stage.SYSTEM, Stage.IMAGE, Stage.MODEL),
        initializer=_DOWNLOADED,
        server=(
            "secrets injection: 403 Forbidden: the identity of the endpoint has no permission to read the secret",
            "secrets injection: failed; the container was not started",
        ),
    ),
    "BadArgument": Failure(
        400,
        "The deployment cannot be started with these settings: its model could not be downloaded.",
        Stage.MODEL,
        ("DownloadFailed", "Model download failed, retrying. Please check storage-initializer log for detail."),
        done=(Stage.SYSTEM, Stage.IMAGE),
        initializer=(
            "Resolving the model {model}",
            "Downloading the model's files from the workspace's storage",
            "ERROR: 403 AuthorizationPermissionMismatch: the endpoint's identity may not read the storage account",
            "Failed: the model {model} could not be downloaded",
        ),
    ),
    "ResourceNotReady": Failure(
        400,
        "User container has crashed or terminated, or is not ready: see the deployment's logs.",
        Stage.CONTAINER,
        ("BackOff", "Back-off restarting failed container inference-server"),
        progress="InProgress",
        done=(Stage.SYSTEM, Stage.IMAGE, Stage.MODEL),
        initializer=_DOWNLOADED,
        server=(
            "Loading the model from /var/azureml-app/azureml-models",
            "Traceback (most recent call last):",
            '  File "/opt/conda/lib/python3.11/site-packages/mlflow/pyfunc/__init__.py", in load_model',
            "ModuleNotFoundError: No module named 'flash_attn'",
            "The model server exited with status 3 before it was ready.",
        ),
    ),
    "ResourceNotFound": Failure(
        404,
        "A resource that the deployment needs was not found in Azure Resource Manager.",
        Stage.SYSTEM,
        ("FailedMount", "A resource of the workspace was not found: its container registry or storage account is gone"),
    ),
    "OperationCanceled": Failure(
        409,
        "The operation was canceled by another one with a higher priority. Try again.",
        Stage.SYSTEM,
        ("Preempted", "The operation was canceled by another one with a higher priority"),
        progress="InProgress",
    ),
    "InternalServerError": Failure(
        500,
        "The service failed to process the request. Try again.",
        Stage.SYSTEM,
        ("FailedCreate", "The instance could not be set up because of an error of the service"),
    ),
}


def fail(code: str, document: Document, message: str | None, logs: DeploymentLogs) -> ServiceError:
    """The error of this code for the deployment; its logs tell what happened."""
    failure = _FAILURES[code]
    size = VM_SIZES[document["properties"]["instanceType"].lower()]
    count = document["sku"]["capacity"]
    values = {
        "size": size.name,
        "count": count,
        "cores": size.cores * count,
        "model": document["properties"]["model"],
    }
    for stage in failure.done:
        logs.progress(stage, "Succeeded")
    logs.progress(failure.stage, failure.progress)
    name, text = failure.event
    logs.event(name, text.format(**values), "Warning")
    for line in failure.initializer:
        logs.initializer(line.format(**values))
    for line in failure.server:
        logs.server(line.format(**values))
    return ServiceError(failure.status, code, message or f"{failure.text.format(**values)} See {_TROUBLESHOOTING}")
