"""Whether the registry's model can be had, may be fine-tuned, and for how much longer."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import (
    InvalidParameter,
    ModelNotFineTunable,
    ModelNotFound,
    WorkspaceUnreachable,
)
from phi_assets.azureml.connection.retry import one_line, silent
from phi_assets.azureml.models.foundation import foundation_model_ref
from phi_assets.azureml.models.registry import RegistryModel, newest_archived_version, read_registry_model
from phi_assets.azureml.preflight.findings import Findings
from phi_assets.config.recipe import ModelSection
from phi_assets.refs import ModelRef

SUCCESSORS = ("Phi-4", "Llama-2-7b-chat", "Phi-3-small-8k-instruct")
"""Models that chat completion can be fine-tuned on, the best choice first; the registry says which of them is alive.

https://github.com/Azure/azureml-assets/tree/main/assets/models/system
"""

TASK = "chat-completion"

_SOON = timedelta(days=90)
_ADJECTIVES = {"retirement": "retired", "deprecation": "deprecated", "legacy": "legacy"}
_STAGES = tuple(_ADJECTIVES)
"""The worst first."""
_PURPOSES = {"finetune": "fine-tuning", "inference": "inference"}


def look_at_model(ws: Workspace, section: ModelSection, today: date, found: Findings) -> ModelRef | None:
    """The model as the recipe pins it; None where there is none. An archived one is looked at all the same."""
    found.looked_at.append("model")
    try:
        model = _read(ws, section, today, found)
    except WorkspaceUnreachable as error:
        found.error(
            "model",
            "registry",
            f"Registry {section.registry!r}",
            f"cannot be reached: {one_line(error)}",
            "Check `model.registry`.",
        )
        return None
    except ModelNotFound as error:
        found.error(
            "model",
            "model_not_found",
            f"Model {section.name!r}",
            f"cannot be had: {one_line(error)}",
            "Set `model.name`, which is case-sensitive, or `model.version`.",
        )
        return None
    subject = f"Model {model.name} version {model.version}"
    found.facts |= {"model": model.id, "model_archived": model.is_archived}
    _look_at_its_life(ws, section, model, today, found)
    tasks = _tasks(model)
    if tasks and TASK not in tasks:
        found.error(
            "model",
            "model_task",
            subject,
            f"can be fine-tuned for {', '.join(tasks)}, not for {TASK}",
            _instead(ws, section, today),
        )
    try:
        return foundation_model_ref(model)
    except ModelNotFineTunable:
        found.error(
            "model",
            "model_not_fine_tunable",
            subject,
            "may not be fine-tuned on any VM size",
            _instead(ws, section, today),
        )
    except InvalidParameter as error:
        found.error("model", "model_defaults", subject, f"has defaults that nobody can read: {one_line(error)}", "")
    return None


def _read(ws: Workspace, section: ModelSection, today: date, found: Findings) -> RegistryModel:
    """The model; where only archived versions are left, the newest of them, with a finding."""
    try:
        return read_registry_model(ws, section)
    except ModelNotFound:
        newest = newest_archived_version(ws, section) if section.version == "latest" else None
        if newest is None:
            raise
    found.error(
        "model",
        "model_archived",
        f"Model {section.name}",
        f"has been archived, so there is no `latest`; its newest version was {newest}",
        f"{_instead(ws, section, today)} `model.version: {newest}` still names the archived one.",
    )
    return read_registry_model(ws, section.model_copy(update={"version": newest}))


def _look_at_its_life(ws: Workspace, section: ModelSection, model: RegistryModel, today: date, found: Findings) -> None:
    """One finding about where in its life the model is: the worst that has come, or that comes soon."""
    subject = f"Model {model.name} version {model.version}"
    dates = life_dates(model)
    found.facts |= {f"{purpose}_{stage}": str(on) for (purpose, stage), on in dates.items()}
    ahead = {purpose: on for purpose in _PURPOSES if (on := dates.get((purpose, "retirement"), today)) > today}
    for stage in _STAGES:
        over = {purpose: on for purpose in _PURPOSES if (on := dates.get((purpose, stage), date.max)) <= today}
        if over:
            words = f"is {_ADJECTIVES[stage]}: {_in_words(over)}"
            words += f"; it will be retired: {_in_words(ahead)}" if ahead else ""
            report = found.error if stage == "retirement" else found.warning
            report("model", f"model_{_ADJECTIVES[stage]}", subject, words, _instead(ws, section, today))
            return
    if any(on <= today + _SOON for on in ahead.values()):
        words = f"will be retired soon: {_in_words(ahead)}"
        found.warning("model", "model_retires_soon", subject, words, _instead(ws, section, today))
        return
    if model.is_archived and section.version != "latest":
        words = "has been archived: the registry hides it, and may withdraw it"
        found.warning("model", "model_archived", subject, words, _instead(ws, section, today))


def life_dates(model: RegistryModel) -> dict[tuple[str, str], date]:
    """When its use for a purpose becomes legacy, deprecated and retired, from whichever layout has the dates."""
    given = {**model.tags, **(model.system_metadata.get("deprecation") or {})}
    plain = {key.lower().replace("_", "").replace("-", ""): value for key, value in given.items()}
    dates: dict[tuple[str, str], date] = {}
    for purpose in _PURPOSES:
        for stage in _STAGES:
            on = _date(plain.get(f"{purpose}{stage}date"))
            if on is not None:
                dates[purpose, stage] = on
    return dates


def _date(value: Any) -> date | None:
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None


def _in_words(dates: Mapping[str, date]) -> str:
    return ", ".join(f"{_PURPOSES[purpose]} on {on}" for purpose, on in dates.items())


def _tasks(model: RegistryModel) -> list[str]:
    """What it can be fine-tuned for, by either layout; empty where the registry does not say."""
    tasks = (model.system_metadata.get("tasks") or {}).get("fineTuningTasks")
    if tasks is None:
        tasks = str(model.properties.get("finetuning-tasks") or "").split(",")
    return [str(task).strip() for task in tasks if str(task).strip()]


def _instead(ws: Workspace, section: ModelSection, today: date) -> str:
    """The edit of the recipe that chooses a model which is alive in this registry."""
    successor = next(_alive(ws, section, today), None)
    if successor is None:
        return "Choose another model: `model.name`, `model.version`."
    return f"Set `model.name: {successor.name}`, whose version {successor.version} is alive in this registry."


def _alive(ws: Workspace, section: ModelSection, today: date) -> Iterator[RegistryModel]:
    for name in SUCCESSORS:
        if name == section.name:
            continue
        try:
            model = read_registry_model(ws, ModelSection(registry=section.registry, name=name), silent)
        except (ModelNotFound, AzureError):
            continue
        dates = life_dates(model)
        if all(dates.get((purpose, "retirement"), date.max) > today for purpose in _PURPOSES):
            yield model


def current_date() -> date:
    """Today, as the registries count."""
    return datetime.now(UTC).date()
