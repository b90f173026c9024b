"""The registered model: a job's `trained_model`, as a version of a model in the workspace."""

from datetime import datetime
from typing import Any

from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.connection.errors import OutputMissing, RegistrationFailed
from phi_assets.azureml.connection.retry import Log, find, one_line, silent
from phi_assets.azureml.connection.writes import write
from phi_assets.azureml.models.folders import list_folder
from phi_assets.azureml.ownership import Owner
from phi_assets.azureml.storage.datastores import is_datastore_uri
from phi_assets.fingerprint import fingerprint
from phi_assets.refs import Action, JobRef, RegisteredModelRef

TRAINED_MODEL_OUTPUT = "trained_model"

JOB_TAG = "phi/job"
"""On every model version that this project registers."""

_LARGEST_VERSION = 2**31 - 1
_MOST_JOBS_OF_ONE_SECOND = 100


def ensure_registered_model(
    ws: Workspace, *, job: JobRef, name: str, description: str, owner: Owner | None = None, log: Log = silent
) -> RegisteredModelRef:
    """A version of model `name` exists whose source is the job's `trained_model`; newer jobs have higher numbers.

    Where nobody has seen the job's model, the version says where it lies, and that is looked at. `owner` is written on
    a new version, the project's unless one is given.

    Raises:
        RegistrationFailed: the service refused it, or all numbers that are the job's to take have another origin.
        OutputMissing: the place that the version names is empty.
    """
    model, ref = _ensure(ws, job, name, description, owner or ws.owner(), log)
    if not job.model_seen:
        _require_content(ws, model, job, log)
    return ref


def _ensure(
    ws: Workspace, job: JobRef, name: str, description: str, owner: Owner, log: Log
) -> tuple[Any, RegisteredModelRef]:
    versions = model_versions(job)
    for version in versions:
        model = _get(ws, name, version, log) or _registered_before(ws, name, job, log)
        action: Action = "reused"
        reason = f"Version {version} of {name} comes from job {job.name}."
        if model is None:
            model, action, reason = _register(ws, _entity(job, name, version, description, owner), job, log)
        if _comes_from(model, job.name):
            log(f"Model {name}:{model.version} is registered from job {job.name}.")
            return model, _ref(model, job, action, reason)
        log(f"Model {name}:{version} comes from {model.job_name or model.path}, not from job {job.name}.")
    raise RegistrationFailed(
        f"Model {name} has versions {versions[0]} to {versions[-1]}, none of them from job {job.name}. Delete one that "
        "nobody needs, or give `serving.model_name` another name.",
        studio_url=job.studio_url,
    )


def _register(ws: Workspace, entity: Any, job: JobRef, log: Log) -> tuple[Any, Action, str]:
    """The version as it is once the service has it: this job's, or of another job that was quicker."""
    what = f"Model {entity.name}:{entity.version}"
    try:
        written = write(
            what,
            look=lambda: _get(ws, entity.name, entity.version, log),
            send=lambda _: ws.ml.models.create_or_update(entity),
            is_done=lambda model: model is not None,
            log=log,
        )
    except AzureError as error:
        raise RegistrationFailed(
            f"{what} could not be registered from job {job.name}: {one_line(error)}", studio_url=job.studio_url
        ) from error
    if written.found is None:
        raise RegistrationFailed(
            f"{what} was registered but cannot be read back; run again.", studio_url=job.studio_url
        )
    if not written.by_us:
        return written.found, "reused", "Somebody else registered it from the same job meanwhile."
    return written.found, "created", f"No version of {entity.name} came from job {job.name}."


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


def model_versions(job: JobRef) -> list[str]:
    """The numbers under which a job's model may be registered: the first one that is not another job's is its own.

    The first is the second in which the service took the job, as Unix time. So every process comes to the same number
    for the same job, and newer jobs have higher ones: MLflow's `latest` is the highest number, and Studio sorts by it
    (https://mlflow.org/docs/latest/ml/model-registry). A version's origin cannot be changed, so those that follow are
    for jobs of the same second. Positive integers are all that the service takes
    (https://github.com/Azure/azureml-examples/issues/2725).
    """
    if not job.created_at:
        return [_version_before(job)]
    first = int(datetime.fromisoformat(job.created_at).timestamp())
    return [str(first + later) for later in range(_MOST_JOBS_OF_ONE_SECOND)]


def _version_before(job: JobRef) -> str:
    """The number that earlier releases registered the job's model under: a hash."""
    digits = fingerprint({"fingerprint": job.fingerprint, "attempt": job.attempt})[:15]
    return str(1 + int(digits, 16) % _LARGEST_VERSION)


def _registered_before(ws: Workspace, name: str, job: JobRef, log: Log) -> Any:
    model = _get(ws, name, _version_before(job), log)
    return model if model is not None and _comes_from(model, job.name) else None


def _entity(job: JobRef, name: str, version: str, description: str, owner: Owner) -> Any:
    module = sdk()
    return module.entities.Model(
        path=f"azureml://jobs/{job.name}/outputs/{TRAINED_MODEL_OUTPUT}",
        type=module.constants.AssetTypes.MLFLOW_MODEL,
        name=name,
        version=version,
        description=description,
        tags={**owner.tags, JOB_TAG: job.name, "phi/fingerprint": job.fingerprint},
    )


def _get(ws: Workspace, name: str, version: str, log: Log) -> Any:
    return find(lambda: ws.ml.models.get(name, version), f"model {name}", log)


def _ref(model: Any, job: JobRef, action: Action, reason: str) -> RegisteredModelRef:
    return RegisteredModelRef(
        id=str(model.id),
        name=str(model.name),
        version=str(model.version),
        job_name=job.name,
        action=action,
        reason=reason,
    )


def _comes_from(model: Any, job_name: str) -> bool:
    return job_name in (model.job_name, (model.tags or {}).get(JOB_TAG)) or f"/{job_name}/" in f"{model.path}/"
