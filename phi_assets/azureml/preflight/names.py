"""Whether names, tags and numbers that will be sent are such as the service takes."""

from collections.abc import Iterator
from typing import Any

from phi_assets.azureml.preflight.findings import Findings, Group
from phi_assets.config import limits
from phi_assets.config.dataset import SAMPLED_SPLITS
from phi_assets.config.recipe import Recipe


def look_at_names(recipe: Recipe, found: Findings) -> None:
    """Every rule of `limits` that something of the recipe, or a name that is made of it, does not keep."""
    for group, key, code, problem in _problems(recipe):
        found.error(group, code, f"`{key}`", f"cannot be sent: {problem}", f"Edit `{key}`.")


def _problems(recipe: Recipe) -> Iterator[tuple[Group, str, str, str]]:
    for group, key, rule, value in _sent(recipe):
        own = {"with_own": False} if isinstance(rule, limits.TagsRule) else {}
        problem = rule.problem(value, **own)
        if problem is not None:
            yield group, key, rule.code, problem


def _sent(recipe: Recipe) -> Iterator[tuple[Group, str, limits.Rule, Any]]:
    """What is sent by a rule: the check that shows it, the recipe's key, the rule, the value."""
    compute, finetune, serving = recipe.compute, recipe.finetune, recipe.serving
    yield "endpoint", "name", limits.OWNER_NAME, recipe.name
    yield "machines", "compute.name", limits.CLUSTER_NAME, compute.name
    yield "machines", "compute.max_nodes", limits.CLUSTER_NODES, compute.max_nodes
    if compute.identity not in (None, "none", "system"):
        yield "machines", "compute.identity", limits.IDENTITY_ID, compute.identity
    if compute.subnet is not None:
        yield "machines", "compute.subnet", limits.SUBNET_ID, compute.subnet
    yield "parameters", "finetune.experiment", limits.EXPERIMENT_NAME, finetune.experiment
    if finetune.display_name is not None:
        yield "parameters", "finetune.display_name", limits.DISPLAY_NAME, finetune.display_name
    yield "parameters", "finetune.tags", limits.JOB_TAGS, finetune.tags
    longest = max(SAMPLED_SPLITS, key=len).replace("_", "-")
    yield "parameters", "dataset.name", limits.ASSET_NAME, f"{recipe.dataset.name}-{longest}"
    yield "model", "serving.model_name", limits.ASSET_NAME, recipe.registered_model_name
    if serving.endpoint is not None:
        yield "endpoint", "serving.endpoint", limits.ENDPOINT_NAME, serving.endpoint
    if serving.identity not in (None, "system"):
        yield "endpoint", "serving.identity", limits.IDENTITY_ID, serving.identity
    yield "endpoint", "serving.tags", limits.RESOURCE_TAGS, serving.tags
    yield "endpoint", "serving.instance_count", limits.INSTANCES, serving.instance_count
    yield "endpoint", "serving.request_timeout_seconds", limits.REQUEST_SECONDS, serving.request_timeout_seconds
    yield "endpoint", "rollout.mirror_percent", limits.MIRRORED_PERCENT, recipe.rollout.mirror_percent
