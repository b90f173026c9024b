"""What the graph relies on of a Dagster instance, told to whoever runs one without it."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType

logger = logging.getLogger(__name__)

_NEEDED: dict[str, Any] = {
    "run_monitoring": {"enabled": True},
    "run_retries": {"enabled": True},
    "concurrency": {"pools": {"granularity": "op", "default_limit": 1}},
}
"""Without it a crashed run is not started again, and two runs may write to one endpoint at the same time."""

_IMAGE = "DAGSTER_CURRENT_IMAGE"
"""What a code server in a container names the image of its runs by."""


def tell_missing_settings(env: Mapping[str, str] = os.environ) -> None:
    """One warning where the instance of `DAGSTER_HOME` lacks settings that the graph relies on, with lines to add.

    Only where a code location is loaded for Dagster's webserver and daemon, not in each of its runs. A code server in
    a container has no such file where its webserver and daemon have one of their own, as on Kubernetes.
    """
    home = env.get("DAGSTER_HOME")
    if not home or DefinitionsLoadContext.get().load_type is not DefinitionsLoadType.INITIALIZATION:
        return
    path = Path(home) / "dagster.yaml"
    if _IMAGE in env and not path.exists():
        return
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, yaml.YAMLError) as error:
        logger.warning("%s cannot be read, so nobody knows whether the graph's settings are in it: %s", path, error)
        return
    if lines := missing_settings(settings or {}):
        logger.warning(
            "%s lacks settings that phi_assets relies on: without them a crashed run is not started again, and two "
            "runs may write to one endpoint at the same time. Add:\n%s",
            path,
            lines,
        )


def missing_settings(settings: Mapping[str, Any]) -> str:
    """The lines that are missing in a `dagster.yaml` of this content; empty where it has them all."""
    missing = _missing(_NEEDED, settings)
    return yaml.safe_dump(missing, sort_keys=False) if missing else ""


def _missing(needed: Mapping[str, Any], settings: Any) -> dict[str, Any]:
    found = settings if isinstance(settings, Mapping) else {}
    lines: dict[str, Any] = {}
    for key, value in needed.items():
        if isinstance(value, Mapping):
            if inner := _missing(value, found.get(key)):
                lines[key] = inner
        elif found.get(key) != value:
            lines[key] = value
    return lines
