"""A recipe with which the whole graph runs in seconds: the registry `toys` trains and serves a model that echoes."""

from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from phi_assets.config.dataset import SPLITS
from tests.azureml import toys
from tests.graph_runs import read_recipe

NAME = "toy"
"""What the recipe is called, whatever its file is."""

MODEL_NAME = "toy-model-ultrachat-200k"
"""Under which the toy recipe's model is registered."""

_SECTIONS = {
    "model": {"registry": toys.REGISTRY, "name": toys.MODEL.name, "version": "1"},
    "component": {"registry": toys.REGISTRY, "name": toys.COMPONENT.name, "version": toys.COMPONENT.version},
    "compute": {"name": toys.COMPUTE.name, "size": toys.SIZE, "max_nodes": toys.COMPUTE.max_nodes},
    "serving": {"endpoint": "toy-completion", "instance_type": toys.SIZE, "request_timeout_seconds": 30},
    "scoring": {"samples": 2},
    # Its models say nothing that could be better or worse.
    "rollout": {"score_before_live": False},
}

_PARAMETERS = {"prefix": "echo: ", "seed": 42}


def key_of(asset: str) -> dg.AssetKey:
    """Key of an asset of the toy recipe's graph: of the recipe's own ones, of its data set's, or of the workspace's."""
    if "/" in asset:
        return dg.AssetKey(asset.split("/"))
    shared = {"still_billing": "workspace", "source": "bundled", **{f"raw_{split}": "bundled" for split in SPLITS}}
    return dg.AssetKey([shared.get(asset, NAME), asset])


def write_toy_recipe(path: Path, changes: dict[str, dict[str, Any]] | None = None, name: str = NAME) -> Path:
    """The quickstart recipe on the registry `toys`, with the given keys of its sections replaced.

    `changes["parameters"]` are parameters of the toy pipeline: `prefix` (what its answers begin with), `gate` (a file
    for which the job stays in Running until it exists, 300 s at most), `outcome` (`complete`, `rated`, `fail`,
    `nothing`, `diverge` or `silent`), `seed`. The registry has to lie beside the emulator's own:
    `tests.azureml.toys.write_registry`.
    """
    content = read_recipe("quickstart")
    content["name"] = name
    content["description"] = "Fine-tune nothing at all on the bundled conversations, on the emulator."
    content["finetune"]["parameters"] = dict(_PARAMETERS)
    for section, values in [*_SECTIONS.items(), *(changes or {}).items()]:
        target = content["finetune"]["parameters"] if section == "parameters" else content.setdefault(section, {})
        target.update(values)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path
