"""Running the real graph in a test: a recipe of one's own, the session's emulator, Dagster in this process."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from phi_assets.config.recipe_files import load_recipe
from phi_assets.config.section import RECIPES_DIR
from phi_assets.config.settings import load_settings
from phi_assets.definitions import build_definitions
from phi_assets.graph.lineage import Lineage
from tests import quick_runs

quick_runs.use()

NAME = "mine"
"""What a recipe of one's own is called, whatever its file is."""

_ONLY_READS = re.compile("source$|raw_|sampled_|foundation_model$|preflight$|still_billing$")

FAST_PARAMETERS = {"max_steps": 2, "num_train_epochs": 1, "per_device_eval_batch_size": 16}
"""A real fine-tune that is over as soon as its libraries are imported."""


def read_recipe(name: str) -> dict[str, Any]:
    """A shipped recipe's content, to be written to any other folder."""
    content = yaml.safe_load((RECIPES_DIR / f"{name}.yaml").read_text(encoding="utf-8"))
    contract = content.get("contract", {})
    if "tokenizer" in contract:
        contract["tokenizer"] = str(RECIPES_DIR / contract["tokenizer"])
    return content


def write_recipe(path: Path, changes: dict[str, dict[str, Any]], base: str = "quickstart") -> Path:
    """A recipe file like `base`, with the given keys of its sections replaced."""
    content = read_recipe(base)
    content["name"] = NAME
    for section, values in changes.items():
        if section == "parameters":
            content["finetune"]["parameters"].update(values)
        else:
            content.setdefault(section, {}).update(values)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


class Result(dg.ExecuteInProcessResult):
    """What came of a run; assets are named without their recipe's prefix."""

    def __init__(self, result: dg.ExecuteInProcessResult, keys: dict[str, dg.AssetKey]) -> None:
        vars(self).update(vars(result))
        self._keys = keys

    def asset_value(self, asset_key: Any) -> Any:
        """The asset's value."""
        return super().asset_value(self._keys.get(str(asset_key)) or asset_key)


class Graph:
    """The definitions of one recipe over one PHI_HOME, materialized in this process; `others` are in its location."""

    def __init__(
        self,
        home: Path,
        recipe: Path | str,
        storage: Path | str,
        instance: dg.DagsterInstance,
        *others: Path,
        data: str = "",
    ) -> None:
        places = {"PHI_HOME": str(home), "PHI_STORAGE": str(storage), "PHI_DATA": data}
        settings = load_settings({"PHI_RECIPE": str(recipe), **places})
        self.recipe = load_recipe(settings.recipe)
        self.lineage = Lineage.of(self.recipe, settings)
        beside = [Lineage.of(load_recipe(str(other)), settings) for other in others]
        self.definitions = build_definitions(settings, self.recipe, *(other.recipe for other in beside))
        self.instance = instance
        self.keys = keys_of(self.definitions, *(other.prefix for other in beside))

    def key(self, asset: str) -> dg.AssetKey:
        """Key of an asset, by what it is called below its prefix."""
        return self.keys[asset]

    def job(self, name: str) -> dg.JobDefinition:
        """A job of the recipe, or of the workspace, by what it is called below the recipe's prefix."""
        repository = self.definitions.get_repository_def()
        own = self.lineage.node(name)
        return repository.get_job(own if repository.has_job(own) else name)

    def run(self, job: str = "finetune_and_deploy", **config: dict[str, Any]) -> Result:
        """Execute a job; `config` is per-asset op config. A failed run is returned, not raised."""
        return self._execute(self.job(job), config)

    def materialize(self, selection: str, **config: dict[str, Any]) -> Result:
        """Materialize the selected assets, which are named without their prefix; `config` as for `run`."""
        selection = re.sub(r'(?:key:)?"?\b([a-z_]{4,})\b"?', lambda found: self._selected(found[1]), selection)
        job = dg.define_asset_job("selected", selection=selection)
        definitions = dg.Definitions.merge(self.definitions, dg.Definitions(jobs=[job]))
        return self._execute(definitions.resolve_job_def("selected"), config)

    def _selected(self, name: str) -> str:
        return f'key:"{self.keys[name].to_user_string()}"'

    def _execute(self, job: dg.JobDefinition, config: dict[str, dict[str, Any]]) -> Result:
        ops = {self.lineage.node(name): {"config": value} for name, value in config.items()}
        run_config = {"ops": ops} if ops else None
        return Result(
            job.execute_in_process(instance=self.instance, raise_on_error=False, run_config=run_config), self.keys
        )


def keys_of(definitions: dg.Definitions, *without: Sequence[str]) -> dict[str, dg.AssetKey]:
    """The keys of a recipe's graph by what its assets are called below their prefix; `without` are other prefixes."""
    others = {tuple(prefix) for prefix in without}
    keys = [spec.key for spec in definitions.resolve_all_asset_specs()]
    return {key.path[-1]: key for key in keys if tuple(key.path[:-1]) not in others}


def actions(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """The recorded `action` of every asset that makes something in Azure ML; others only read, and prepare data."""
    found = {}
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        if "action" in materialization.metadata and not _ONLY_READS.match(materialization.asset_key.path[-1]):
            found[materialization.asset_key.path[-1]] = materialization.metadata["action"].value
    return found


def failure_message(result: dg.ExecuteInProcessResult) -> str:
    """What a person reads about the first failed step."""
    failure = result.get_step_failure_events()[0].step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message if error else ""
