"""What a registry says of a model beside its files, in whichever of the ways it is written.

Limits and dates were tags until 2026-06, and are `system_metadata` since. Publishing a version writes that as objects,
and updating it as text: mappings as JSON, lists as Python's `str()` of them. No public source shows which of them the
registry answers, nor under which name: all are understood, and what is in none of them is unknown.
https://github.com/Azure/azureml-assets/blob/main/scripts/azureml-assets/azureml/assets/publish_utils.py
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

FIELD_NAMES = ("systemMetadata", "system_metadata")

PURPOSES = {"finetune": "fine-tuning", "inference": "inference"}
STAGES = ("retirement", "deprecation", "legacy")
"""Of a model's life for a purpose, the worst first."""


@dataclass(frozen=True)
class RegistryModel:
    """One version of a registry's model, with what the registry says about it."""

    id: str
    name: str
    version: str
    tags: Mapping[str, Any]
    properties: Mapping[str, Any]
    flavors: Mapping[str, Any]
    system_metadata: Mapping[str, Any]
    """Values, whichever way they are written; empty where the registry shows none."""
    is_archived: bool

    @property
    def finetune_sizes(self) -> tuple[str, ...] | None:
        """VM sizes that may fine-tune it; None where the registry does not say."""
        return self._sizes("finetune")

    @property
    def inference_sizes(self) -> tuple[str, ...] | None:
        """VM sizes that may serve it; None where the registry does not say."""
        return self._sizes("inference")

    @property
    def finetuning_tasks(self) -> tuple[str, ...] | None:
        """What it can be fine-tuned for; None where the registry does not say."""
        tasks = _mapping(self.system_metadata.get("tasks")).get("fineTuningTasks")
        return _texts(self.properties.get("finetuning-tasks") if tasks is None else tasks) or None

    @property
    def life_dates(self) -> dict[tuple[str, str], date]:
        """When its use for a purpose becomes legacy, deprecated and retired, as far as that has been announced."""
        return {key: on for key, text in self._given_dates.items() if (on := _date(text)) is not None}

    @property
    def unknown(self) -> list[str]:
        """What the registry does not say, or not so that it can be read, in words."""
        facts: dict[str, Any] = {
            "which VM sizes may fine-tune it": self.finetune_sizes,
            "which may serve it": self.inference_sizes,
            "what it can be fine-tuned for": self.finetuning_tasks,
            # Most models have no date yet, which says nothing only where the registry says nothing else either.
            "when it will be retired": None if self._dates_are_unknown else True,
        }
        return [words for words, fact in facts.items() if fact is None]

    @property
    def _dates_are_unknown(self) -> bool:
        if self._given_dates:
            return any(_date(text) is None for text in self._given_dates.values())
        return not self.system_metadata and self.finetune_sizes is self.inference_sizes is self.finetuning_tasks is None

    @property
    def _given_dates(self) -> dict[tuple[str, str], Any]:
        given = {**self.tags, **_mapping(self.system_metadata.get("deprecation"))}
        plain = {key.lower().replace("_", "").replace("-", ""): value for key, value in given.items()}
        found = {(purpose, stage): plain.get(f"{purpose}{stage}date") for purpose in PURPOSES for stage in STAGES}
        return {key: value for key, value in found.items() if value}

    def _sizes(self, purpose: str) -> tuple[str, ...] | None:
        tag = self.tags.get(f"{purpose}_compute_allow_list")
        listed = _mapping(self.system_metadata.get("supportedComputes")).get(f"{purpose}Computes")
        return _texts(listed if tag is None else tag)


def read_system_metadata(content: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a version's system metadata, by the names that `spec.yaml` files give them."""
    places: list[Mapping[str, Any]] = [content, content.get("properties") or {}, content.get("tags") or {}]
    given = (place.get(name) for place in places for name in FIELD_NAMES)
    metadata = _mapping(next((value for value in given if value), None))
    if metadata and all(isinstance(value, str) for value in metadata.values()):
        return {key: literal(value) for key, value in metadata.items()}
    return {key: literal(value) if _is_text_of_many(value) else value for key, value in metadata.items()}


def literal(text: Any) -> Any:
    """The value that text stands for, as a Python literal or as JSON; whatever is neither, as it is."""
    if not isinstance(text, str):
        return text
    for read in (ast.literal_eval, json.loads):
        try:
            return read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return text


def _is_text_of_many(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip()[:1] in {"{", "["}


def _mapping(value: Any) -> dict[str, Any]:
    value = literal(value)
    return {str(key): inner for key, inner in value.items()} if isinstance(value, Mapping) else {}


def _texts(value: Any) -> tuple[str, ...] | None:
    """A list, as such, as text of one, or separated by commas; None where there is none."""
    value = literal(value)
    if value is None:
        return None
    many = value if isinstance(value, list | tuple) else str(value).strip("[]").split(",")
    return tuple(text for each in many if (text := str(each).strip()))


def _date(value: Any) -> date | None:
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None
