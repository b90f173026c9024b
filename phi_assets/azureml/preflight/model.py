"""Whether the registry's model can be had, may be fine-tuned, and for how much longer."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import (
    InvalidParameter,
    ModelNotFineTunable,
    ModelNotFound,
    WorkspaceUnreachable,
)
from phi_assets.azureml.connection.retry import one_line
from phi_assets.azureml.models.foundation import foundation_model_ref
from phi_assets.azureml.models.metadata import PURPOSES, STAGES, RegistryModel
from phi_assets.azureml.models.registry import newest_archived_version, read_registry_model
from phi_assets.azureml.preflight.findings import Findings
from phi_assets.azureml.preflight.successors import TASK, choose_instead
from phi_assets.config.recipe import ModelSection
from phi_assets.refs import ModelRef

_SOON = timedelta(days=90)
_ADJECTIVES = {"retirement": "retired", "deprecation": "deprecated", "legacy": "legacy"}


def look_at_model(ws: Workspace, section: ModelSection, today: date, found: Findings) -> ModelRef | None:
    """The model as the recipe pins it; None where there is none. An archived one is looked at all the same."""
    found.looked_at.append("model")
    instead = cache(lambda: choose_instead(ws, section, today))
    try:
        model = _read(ws, section, instead, found)
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
    _look_at_its_life(section, model, today, instead, found)
    _look_at_what_is_unknown(model, found)
    tasks = model.finetuning_tasks
    if tasks is not None and TASK not in tasks:
        words = f"can be fine-tuned for {', '.join(tasks)}, not for {TASK}"
        found.error("model", "model_task", subject, words, instead())
    try:
        return foundation_model_ref(model)
    except ModelNotFineTunable:
        words = "may not be fine-tuned on any VM size"
        found.error("model", "model_not_fine_tunable", subject, words, instead())
    except InvalidParameter as error:
        found.error("model", "model_defaults", subject, f"has defaults that nobody can read: {one_line(error)}", "")
    return None


def _read(ws: Workspace, section: ModelSection, instead: Callable[[], str], found: Findings) -> RegistryModel:
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
        f"{instead()} `model.version: {newest}` still names the archived one.",
    )
    return read_registry_model(ws, section.model_copy(update={"version": newest}))


def _look_at_what_is_unknown(model: RegistryModel, found: Findings) -> None:
    if model.unknown:
        found.warning(
            "model",
            "model_facts_unknown",
            f"Model {model.name} version {model.version}",
            f"is described in the registry without saying {', '.join(model.unknown)}: that is unknown, not fine",
            "Look it up on the model's page in the model catalog of Azure ML Studio.",
        )


def _look_at_its_life(
    section: ModelSection, model: RegistryModel, today: date, instead: Callable[[], str], found: Findings
) -> None:
    """One finding about where in its life the model is: the worst that has come, or that comes soon."""
    subject = f"Model {model.name} version {model.version}"
    dates = model.life_dates
    found.facts |= {f"{purpose}_{stage}": str(on) for (purpose, stage), on in dates.items()}
    ahead = {purpose: on for purpose in PURPOSES if (on := dates.get((purpose, "retirement"), today)) > today}
    for stage in STAGES:
        over = {purpose: on for purpose in PURPOSES if (on := dates.get((purpose, stage), date.max)) <= today}
        if over:
            words = f"is {_ADJECTIVES[stage]}: {_in_words(over)}"
            words += f"; it will be retired: {_in_words(ahead)}" if ahead else ""
            report = found.error if stage == "retirement" else found.warning
            report("model", f"model_{_ADJECTIVES[stage]}", subject, words, instead())
            return
    if any(on <= today + _SOON for on in ahead.values()):
        words = f"will be retired soon: {_in_words(ahead)}"
        found.warning("model", "model_retires_soon", subject, words, instead())
        return
    if model.is_archived and section.version != "latest":
        words = "has been archived: the registry hides it, and may withdraw it"
        found.warning("model", "model_archived", subject, words, instead())


def _in_words(dates: Mapping[str, date]) -> str:
    return ", ".join(f"{PURPOSES[purpose]} on {on}" for purpose, on in dates.items())


def current_date() -> date:
    """Today, as the registries count."""
    return datetime.now(UTC).date()
