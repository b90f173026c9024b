"""What there is after a run, in Azure ML and in Dagster's records, without times and without how it came to be."""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from phi_assets.azureml.ownership import recipe_of
from phi_assets.graph.operations.assets import STILL_BILLING
from tests.e2e.harness.toy_deployment import BESIDE, ENDPOINT, ToyDeployment

Snapshot = dict[str, Any]

_TIMES = {"expires_at", "created_at"}
_HISTORY = {"action", "reason", "retired"}
_LATENCY = {"latency_ms"}


def snapshot(toy: ToyDeployment) -> Snapshot:
    """Everything that a user of the workspace would find, and what the assets say about it.

    What a recipe beside the toy recipe has made is left out.

    Numbers of model versions, which are times, are replaced by the job that the version comes from.
    """
    ml: Any = toy.workspace.ml
    versions = [version for model in ml.models.list() for version in ml.models.list(name=model.name)]
    jobs = {str(version.version): f"<{version.job_name}>" for version in versions if version.job_name}
    return _replaced(_found(toy, ml), jobs)


def _found(toy: ToyDeployment, ml: Any) -> Snapshot:
    return {
        "computes": {c.name: (c.size, c.tier, c.provisioning_state) for c in _ours(ml.compute.list())},
        "data": {
            f"{data.name}:{version.version}": _tags(version)
            for data in ml.data.list()
            for version in _ours(ml.data.list(name=data.name))
        },
        "jobs": {
            job.name: (job.status, job.display_name, job.experiment_name, _tags(job)) for job in _ours(ml.jobs.list())
        },
        "models": {
            f"{model.name}:{version.version}": (version.job_name, version.path, _tags(version))
            for model in ml.models.list()
            for version in _ours(ml.models.list(name=model.name))
        },
        "endpoints": {
            endpoint.name: (endpoint.provisioning_state, endpoint.traffic, _tags(endpoint))
            for endpoint in _ours(ml.online_endpoints.list())
        },
        "deployments": {
            deployment.name: (
                deployment.provisioning_state,
                str(deployment.model),
                deployment.instance_type,
                deployment.instance_count,
                _tags(deployment),
            )
            for endpoint in ml.online_endpoints.list()
            if endpoint.name == ENDPOINT
            for deployment in ml.online_deployments.list(endpoint_name=endpoint.name)
        },
        "refs": {
            asset: _ref(path) for asset, path in sorted(newest_refs(toy.storage, without=toy.runs_beside()).items())
        },
        "answers": {path.name: _answers(path) for path in sorted(toy.answers.glob("*.jsonl"))},
        "leftovers": sorted(path.name for path in [*toy.storage.rglob(".*"), *toy.answers.glob("*.partial")]),
        "data_versions": {
            asset: [record.asset_materialization.tags["dagster/data_version"] for record in found]  # type: ignore[union-attr]
            for asset, found in _materializations(toy).items()
        },
    }


def _ours(entities: Iterable[Any]) -> Iterator[Any]:
    """Those that do not belong to the recipe beside."""
    return (entity for entity in entities if recipe_of(entity.tags or {}) != BESIDE)


def _replaced(value: Any, texts: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {_replaced(key, texts): _replaced(entry, texts) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_replaced(entry, texts) for entry in value)
    if isinstance(value, str):
        for old, new in texts.items():
            value = value.replace(old, new)
    return value


def _materializations(toy: ToyDeployment) -> dict[str, list[Any]]:
    # How often what is billing has been listed depends on when a sensor has ticked.
    assets = set(toy.dagster.instance.all_asset_keys()) - {STILL_BILLING}
    keys = sorted(key.to_user_string() for key in assets)
    others = toy.runs_beside()
    made = {key: [each for each in toy.dagster.materializations(key) if each.run_id not in others] for key in keys}
    return {key: found for key, found in made.items() if found}


def _tags(entity: Any) -> dict[str, str]:
    return {name: value for name, value in sorted((entity.tags or {}).items()) if name not in _TIMES}


def newest_refs(storage: Path, without: Collection[str] = ()) -> dict[str, Path]:
    """The file of each asset's newest ref `without` those of some runs, in the form of this release or earlier ones."""
    newest: dict[str, Path] = {}
    for path in sorted(storage.rglob("*.json"), key=lambda path: path.stat().st_mtime):
        is_of_a_run = re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", path.stem)
        asset = path.parent if is_of_a_run else path.with_suffix("")
        if path.stem not in without:
            newest[str(asset.relative_to(storage))] = path
    return newest


def _ref(path: Path) -> dict[str, Any]:
    values = json.loads(path.read_text()).items()
    return {name: _without_size(value) for name, value in values if name not in _TIMES | _HISTORY}


def _without_size(value: Any) -> Any:
    """A file of answers without its size: it has the latencies in it, with as many digits as they have."""
    is_of_answers = isinstance(value, dict) and str(value.get("name")).startswith(("scoring/", "base_answers/"))
    return {"name": value["name"]} if is_of_answers else value


def _answers(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in _LATENCY} for row in rows]
