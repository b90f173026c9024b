"""Models: the foundation model in a registry, and the fine-tuned one in the workspace."""

import ast
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.connection.errors import InvalidParameter, ModelNotFineTunable, RegistrationFailed
from phi_assets.azureml.connection.retry import Log, get_or_none, one_line, ride_out, silent
from phi_assets.azureml.connection.writes import write
from phi_assets.azureml.models.registry import RegistryModel, read_registry_model
from phi_assets.config.recipe import ModelSection
from phi_assets.fingerprint import fingerprint
from phi_assets.refs import Action, JobRef, ModelRef, RegisteredModelRef

TRAINED_MODEL_OUTPUT = "trained_model"

JOB_TAG = "phi/job"
"""On every model version that this project registers."""

_LARGEST_VERSION = 2**31 - 1


def get_foundation_model(ws: Workspace, section: ModelSection, log: Log = silent) -> ModelRef:
    """Pin the recipe's model: resolve `latest` (the newest by creation time) and read its limits and defaults.

    Raises:
        ModelNotFound: no such model or version.
        ModelNotFineTunable: the registry's list of VM sizes that may fine-tune it is empty.
    """
    model = read_registry_model(ws, section, log)
    ref = foundation_model_ref(model)
    _warn_about_its_life(model.name, {**model.tags, **(model.system_metadata.get("deprecation") or {})}, log)
    return ref


def foundation_model_ref(model: RegistryModel) -> ModelRef:
    """What the graph has to know of the model; limits are read from the tags, or else from `system_metadata`.

    Raises:
        ModelNotFineTunable: the registry's list of VM sizes that may fine-tune it is empty.
        InvalidParameter: its defaults are no mapping.
    """
    supported = model.system_metadata.get("supportedComputes") or {}
    finetune = _sizes(model.tags.get("finetune_compute_allow_list"), supported.get("finetuneComputes"))
    if finetune == ():
        raise ModelNotFineTunable(
            f"Model {model.id} may not be fine-tuned on any VM size. Choose another model, for example `name: Phi-4`."
        )
    return ModelRef(
        id=model.id,
        name=model.name,
        version=model.version,
        content_hash=fingerprint(
            {
                "tags": model.tags,
                "properties": model.properties,
                "flavors": model.flavors,
                "system_metadata": model.system_metadata,
            }
        ),
        finetune_computes=finetune,
        inference_computes=_sizes(model.tags.get("inference_compute_allow_list"), supported.get("inferenceComputes")),
        defaults=_mapping(model.id, model.tags.get("model_specific_defaults")),
    )


def ensure_registered_model(
    ws: Workspace, *, job: JobRef, name: str, description: str, log: Log = silent
) -> RegisteredModelRef:
    """A version of model `name` exists whose source is the job's `trained_model`; its number follows from the job.

    Raises:
        RegistrationFailed: the service refused it, or a version with this number has another origin.
    """
    version = model_version(job)
    existing = _get(ws, name, version, log)
    if existing is not None:
        _check_origin(existing, job)
        log(f"Model {name}:{version} is already registered.")
        return _registered(existing, job, "reused", f"Version {version} of {name} comes from job {job.name}.")
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
        return _registered(written.found, job, "reused", "Somebody else registered it from the same job meanwhile.")
    return _registered(written.found, job, "created", f"No version of {name} came from job {job.name}.")


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
    return ride_out(lambda: get_or_none(lambda: ws.ml.models.get(name, version)), f"model {name}", log)


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


def _sizes(tag: Any, metadata: Any) -> tuple[str, ...] | None:
    if tag is None and metadata is None:
        return None
    value = _literal(tag) if tag is not None else metadata
    if isinstance(value, str):
        value = [part.strip() for part in value.strip("[]").split(",") if part.strip()]
    return tuple(str(size) for size in value)


def _mapping(model_id: str, tag: Any) -> dict[str, Any]:
    if not tag:
        return {}
    value = _literal(tag)
    if not isinstance(value, dict):
        raise InvalidParameter(
            f"Tag model_specific_defaults of {model_id} is neither a Python nor a JSON mapping: {str(tag)[:200]!r}. "
            "Choose another version of the model."
        )
    return {str(key): value[key] for key in value}


def _literal(text: Any) -> Any:
    """A tag's value: registries write lists and mappings as Python literals, people often as JSON."""
    if not isinstance(text, str):
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        pass
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _warn_about_its_life(name: str, dates: Mapping[str, Any], log: Log) -> None:
    retired = {key.lower(): value for key, value in dates.items()}.get("finetuneretirementdate")
    if not retired:
        return
    try:
        on = date.fromisoformat(str(retired)[:10])
    except ValueError:
        log(f"Warning: model {name} carries the unreadable retirement date {retired!r}.")
        return
    if on <= datetime.now(UTC).date():
        log(f"Warning: fine-tuning of {name} was retired on {on}; a successor is one setting away (`model.name`).")
