"""The registered model: a job's `trained_model`, as a version of a model in the workspace."""

from typing import Any

from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.connection.errors import OutputMissing, RegistrationFailed
from phi_assets.azureml.connection.retry import Log, find, one_line, silent
from phi_assets.azureml.connection.writes import write
from phi_assets.azureml.models.folders import is_datastore_uri, list_folder
from phi_assets.fingerprint import fingerprint
from phi_assets.refs import Action, JobRef, RegisteredModelRef

TRAINED_MODEL_OUTPUT = "trained_model"

JOB_TAG = "phi/job"
"""On every model version that this project registers."""

_LARGEST_VERSION = 2**31 - 1


def ensure_registered_model(
    ws: Workspace, *, job: JobRef, name: str, description: str, log: Log = silent
) -> RegisteredModelRef:
    """A version of model `name` exists whose source is the job's `trained_model`; its number follows from the job.

    Where nobody has seen the job's model, the version says where it lies, and that is looked at.

    Raises:
        RegistrationFailed: the service refused it, or a version with this number has another origin.
        OutputMissing: the place that the version names is empty.
    """
    model, ref = _ensure(ws, job, name, description, log)
    if not job.model_seen:
        _require_content(ws, model, job, log)
    return ref


def _ensure(ws: Workspace, job: JobRef, name: str, description: str, log: Log) -> tuple[Any, RegisteredModelRef]:
    version = model_version(job)
    existing = _get(ws, name, version, log)
    if existing is not None:
        _check_origin(existing, job)
        log(f"Model {name}:{version} is already registered.")
        return existing, _registered(existing, job, "reused", f"Version {version} of {name} comes from job {job.name}.")
    try:
        written = write(
            f"Model {name}:{version}",
            look=lambda: _get(ws, name, version, log),
            send=lambda _: ws.ml.models.create_or_update(_entity(job, name, version, description)),
            is_done=lambda model: model is not None,
            log=log,
        )
    except AzureError as error:
        raise RegistrationFailed(
            f"Model {name}:{version} could not be registered from job {job.name}: {one_line(error)}",
            studio_url=job.studio_url,
        ) from error
    if written.found is None:
        raise RegistrationFailed(
            f"Model {name}:{version} was registered but cannot be read back; run again.", studio_url=job.studio_url
        )
    _check_origin(written.found, job)
    log(f"Registered model {name}:{version} from job {job.name}.")
    if not written.by_us:
        why = "Somebody else registered it from the same job meanwhile."
        return written.found, _registered(written.found, job, "reused", why)
    return written.found, _registered(written.found, job, "created", f"No version of {name} came from job {job.name}.")


def _require_content(ws: Workspace, model: Any, job: JobRef, log: Log) -> None:
    """Raises OutputMissing where the version's own place is proven to have no model; doubt is only told."""
    uri, what = str(model.path or ""), f"Model {model.name}:{model.version}"
    if not is_datastore_uri(uri):
        log(f"{what} lies at {uri or 'a place that the service does not name'}, which cannot be listed from here.")
        return
    folder = list_folder(ws, uri, log)
    if folder.exists and not folder.is_complete:
        raise OutputMissing(
            f"{what} was registered from job {job.name}, but {folder.in_words}. Delete that version; if the model is "
            "nowhere in Studio either, materialize finetune_job with force.",
            studio_url=job.studio_url,
        )
    log(f"{what}: {folder.in_words}.")


def model_version(job: JobRef) -> str:
    """The version under which a job's model is registered: the same job, the same version, in any process.

    The service takes positive integers only (https://github.com/Azure/azureml-examples/issues/2725). Two jobs that
    fell on the same number would be told apart by the version's origin, and the second one refused.
    """
    digits = fingerprint({"fingerprint": job.fingerprint, "attempt": job.attempt})[:15]
    return str(1 + int(digits, 16) % _LARGEST_VERSION)


def _entity(job: JobRef, name: str, version: str, description: str) -> Any:
    module = sdk()
    return module.entities.Model(
        path=f"azureml://jobs/{job.name}/outputs/{TRAINED_MODEL_OUTPUT}",
        type=module.constants.AssetTypes.MLFLOW_MODEL,
        name=name,
        version=version,
        description=description,
        tags={JOB_TAG: job.name, "phi/fingerprint": job.fingerprint},
    )


def _get(ws: Workspace, name: str, version: str, log: Log) -> Any:
    return find(lambda: ws.ml.models.get(name, version), f"model {name}", log)


def _registered(model: Any, job: JobRef, action: Action, reason: str) -> RegisteredModelRef:
    return RegisteredModelRef(
        id=str(model.id),
        name=str(model.name),
        version=str(model.version),
        job_name=job.name,
        action=action,
        reason=reason,
    )


def _check_origin(model: Any, job: JobRef) -> None:
    if not _comes_from(model, job.name):
        raise RegistrationFailed(
            f"Model {model.name}:{model.version} exists but comes from {model.job_name or model.path}, not from job "
            f"{job.name}. Delete that version, or give `serving.model_name` another name.",
            studio_url=job.studio_url,
        )


def _comes_from(model: Any, job_name: str) -> bool:
    return job_name in (model.job_name, (model.tags or {}).get(JOB_TAG)) or f"/{job_name}/" in f"{model.path}/"
