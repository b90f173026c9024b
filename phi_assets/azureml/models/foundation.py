"""The foundation model: the recipe's model of a registry, pinned, with what the graph has to know of it."""

import ast
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import InvalidParameter, ModelNotFineTunable
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.models.registry import RegistryModel, read_registry_model
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
