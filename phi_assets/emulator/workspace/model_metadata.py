"""How a registry writes what it says of a model beside its files; the one place that knows all of the ways.

The public registry had limits as tags until 2026-06, and has them in `system_metadata` since: as objects when a version
is published, as text when it is updated. Which of them it answers is not on record.
https://github.com/Azure/azureml-assets/blob/main/scripts/azureml-assets/azureml/assets/publish_utils.py
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Layout = Literal["objects", "text", "tags", "absent"]


@dataclass(frozen=True)
class MetadataStyle:
    """The way of one registry, set by `metadata` and `metadata_field` of its `registry.yaml`."""

    layout: Layout = "objects"
    field: str = "systemMetadata"

    def described(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Tags, properties and system metadata of a model's document, before tags and properties become text."""
        metadata = spec.get("system_metadata") or {}
        tags, properties = dict(spec.get("tags") or {}), dict(spec.get("properties") or {})
        if self.layout == "tags":
            supported = metadata.get("supportedComputes") or {}
            lists = {f"{use}_compute_allow_list": supported.get(f"{use}Computes") for use in ("finetune", "inference")}
            tasks = (metadata.get("tasks") or {}).get("fineTuningTasks") or []
            tags = lists | (metadata.get("deprecation") or {}) | tags
            properties = {"finetuning-tasks": ", ".join(tasks)} | properties
        if self.layout == "text":
            tags, properties = _as_text(tags), _as_text(properties)
        shown = {"objects": metadata, "text": _as_text(metadata)}.get(self.layout)
        return {"tags": tags, "properties": properties} | ({self.field: shown} if shown else {})


def _as_text(metadata: Mapping[str, Any]) -> dict[str, str]:
    """As the registry's publisher writes it on an update."""
    return {name: json.dumps(value) if isinstance(value, Mapping) else str(value) for name, value in metadata.items()}
