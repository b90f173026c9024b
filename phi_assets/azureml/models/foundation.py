"""The foundation model: the recipe's model of a registry, pinned, with what the graph has to know of it."""

from datetime import UTC, datetime
from typing import Any

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import InvalidParameter, ModelNotFineTunable
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.models.metadata import RegistryModel, literal
from phi_assets.azureml.models.registry import read_registry_model
from phi_assets.config.recipe import ModelSection
from phi_assets.fingerprint import fingerprint
from phi_assets.refs import ModelRef


def get_foundation_model(ws: Workspace, section: ModelSection, log: Log = silent) -> ModelRef:
    """Pin the recipe's model: resolve `latest` (the newest by creation time) and read its limits and defaults.

    Raises:
        ModelNotFound: no such model or version.
        ModelNotFineTunable: the registry's list of VM sizes that may fine-tune it is empty.
    """
    model = read_registry_model(ws, section, log)
    ref = foundation_model_ref(model)
    _warn_about_its_life(model, log)
    return ref


def foundation_model_ref(model: RegistryModel) -> ModelRef:
    """What the graph has to know of the model; limits that the registry does not say are None.

    Raises:
        ModelNotFineTunable: the registry's list of VM sizes that may fine-tune it is empty.
        InvalidParameter: its defaults are no mapping.
    """
    if model.finetune_sizes == ():
        raise ModelNotFineTunable(
            f"Model {model.id} may not be fine-tuned on any VM size. Set `model.name` to another; preflight names "
            "one that is alive."
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
        finetune_computes=model.finetune_sizes,
        inference_computes=model.inference_sizes,
        defaults=_mapping(model.id, model.tags.get("model_specific_defaults")),
    )


def _mapping(model_id: str, tag: Any) -> dict[str, Any]:
    if not tag:
        return {}
    value = literal(tag)
    if not isinstance(value, dict):
        raise InvalidParameter(
            f"Tag model_specific_defaults of {model_id} is neither a Python nor a JSON mapping: {str(tag)[:200]!r}. "
            "Choose another version of the model."
        )
    return {str(key): value[key] for key in value}


def _warn_about_its_life(model: RegistryModel, log: Log) -> None:
    if model.unknown:
        log(f"Warning: the registry does not say of {model.name} version {model.version}: {', '.join(model.unknown)}.")
    on = model.life_dates.get(("finetune", "retirement"))
    if on is not None and on <= datetime.now(UTC).date():
        log(f"Warning: fine-tuning of {model.name} was retired on {on}; preflight names a model that is alive.")
