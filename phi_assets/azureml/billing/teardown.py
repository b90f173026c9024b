"""The end of a recipe in the workspace: listed first, deleted then, and proven at last."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx
from azure.core.exceptions import AzureError

from phi_assets.azureml.billing.bill import Bill, Billed
from phi_assets.azureml.compute.clusters import delete_compute
from phi_assets.azureml.connection.arm import arm_delete, arm_get
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ListingFailed, TeardownIncomplete
from phi_assets.azureml.connection.retry import Log, find, one_line, silent
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.models.registered import JOB_TAG
from phi_assets.azureml.serving.endpoints import delete_endpoint
from phi_assets.azureml.serving.leases import is_ours
from phi_assets.azureml.training.lookup import get_job
from phi_assets.config.endpoint_names import endpoint_names
from phi_assets.config.recipe import Recipe

_BUSY_NODES = ("running", "preparing")


@dataclass(frozen=True)
class Doomed:
    """Something that a teardown deletes, or keeps and says why."""

    kind: Literal["endpoint", "cluster", "model"]
    name: str
    """Models: `<name>:<version>`."""
    about: str
    is_kept: bool = False

    @property
    def in_words(self) -> str:
        """One line of the listing."""
        return f"{'Keep' if self.is_kept else 'Delete'} {self.kind} {self.name}: {self.about}."


@dataclass(frozen=True)
class TeardownPlan:
    """What there is of a recipe, and what is to become of it."""

    things: tuple[Doomed, ...]

    def of(self, kind: str) -> list[str]:
        """Names of what is to be deleted of a kind."""
        return [thing.name for thing in self.things if thing.kind == kind and not thing.is_kept]

    @property
    def lines(self) -> list[str]:
        """The listing."""
        return [thing.in_words for thing in self.things] or ["There is nothing of this recipe to delete."]


def plan_teardown(
    ws: Workspace,
    recipe: Recipe,
    bill: Bill,
    *,
    cluster: bool = True,
    models: bool = False,
    jobs: Iterable[str] = (),
    log: Log = silent,
) -> TeardownPlan:
    """What a teardown would do; nothing is changed.

    The recipe's endpoint goes in any case. Its cluster goes only if this project made it and it is idle: no node is at
    work, and none of `jobs` is on its way. Models go on request, except those that something else serves.

    Raises:
        ListingFailed: the service does not say what there is.
    """
    try:
        things = [
            *_endpoints(recipe, bill, endpoint_names(recipe.serving, recipe.name, ws.path)),
            *(_cluster(ws, recipe, jobs, log) if cluster else ()),
            *(_models(ws, recipe, bill, log) if models else ()),
        ]
    except (AzureError, httpx.HTTPError) as error:
        raise ListingFailed(
            f"What there is of recipe {recipe.name} cannot be listed: {one_line(error)}. Nothing was deleted."
        ) from error
    return TeardownPlan(tuple(things))


def carry_out(ws: Workspace, plan: TeardownPlan, log: Log = silent) -> None:
    """What the plan dooms is gone: what bills most goes first, and each deletion is waited for.

    Raises:
        EndpointFailed, ComputeFailed, TeardownIncomplete: something could not be deleted.
    """
    for name in plan.of("endpoint"):
        delete_endpoint(ws, name, log)
    for name in plan.of("cluster"):
        delete_compute(ws, name, log)
    for model in plan.of("model"):
        name, _, version = model.rpartition(":")
        try:
            arm_delete(ws, f"models/{name}/versions/{version}", log)
        except httpx.HTTPError as error:
            raise TeardownIncomplete(f"Model {model} could not be deleted: {one_line(error)}. Run again.") from error
        log(f"Model {model} is gone.")
    if doomed := [f"{thing.kind} {thing.name}" for thing in plan.things if not thing.is_kept]:
        log(f"Have been deleted: {', '.join(doomed)}.")


def check_gone(plan: TeardownPlan, left: Bill) -> None:
    """Nothing that the plan doomed is on a bill that was read afterwards.

    Raises:
        TeardownIncomplete: something is, and is named.
    """
    doomed = {name.lower() for name in plan.of("cluster")}
    still = [item.name for name in plan.of("endpoint") for item in left.of_endpoint(name)]
    still += [item.name for item in left.of("cluster") if item.name.lower() in doomed]
    if still:
        raise TeardownIncomplete(
            f"Still there after they were deleted, and billing: {', '.join(still)}. Somebody may have made them again; "
            "run the teardown again."
        )


def _endpoints(recipe: Recipe, bill: Bill, names: Sequence[str]) -> list[Doomed]:
    """The recipe's endpoint, also under a name from before if it is this recipe's."""
    own = [names[0], *(old for old in names[1:] if bill.is_of_recipe(old, recipe.name))]
    return [_endpoint(name, items, bill) for name in own if (items := bill.of_endpoint(name))]


def _endpoint(name: str, items: Sequence[Billed], bill: Bill) -> Doomed:
    deployments = [item for item in items if item.kind == "deployment"]
    hourly = sum(item.hourly or 0.0 for item in deployments)
    currency = f", {hourly:.2f} {bill.prices.currency} an hour" if bill.prices is not None else ""
    names = ", ".join(item.name.partition("/")[2] for item in deployments)
    about = f"{len(deployments)} deployment(s) ({names}){currency}" if deployments else "no deployment"
    return Doomed("endpoint", name, about)


def _cluster(ws: Workspace, recipe: Recipe, jobs: Iterable[str], log: Log) -> list[Doomed]:
    name = recipe.compute.name
    found = arm_get(ws, f"computes/{name}", log)
    if found is None:
        return []
    if not is_ours(found.get("tags")):
        return [Doomed("cluster", name, "this project did not make it", is_kept=True)]
    at_work = _job_at_work(ws, jobs, log) or _nodes_at_work((found["properties"] or {}).get("properties") or {})
    if at_work is not None:
        return [Doomed("cluster", name, f"{at_work}; it shrinks by itself once it is idle", is_kept=True)]
    return [Doomed("cluster", name, "idle")]


def _job_at_work(ws: Workspace, jobs: Iterable[str], log: Log) -> str | None:
    """The first of the jobs that has not ended."""
    for name in jobs:
        job = get_job(ws, name, log)
        if job is not None and (status := JobStatus.of(job)).is_active:
            return f"job {name} is {status}"
    return None


def _nodes_at_work(cluster: Mapping[str, Any]) -> str | None:
    """What the nodes of a cluster are needed for, also those that somebody's job waits for."""
    counts = cluster.get("nodeStateCounts") or {}
    busy = sum(int(counts.get(f"{state}NodeCount") or 0) for state in _BUSY_NODES)
    if busy:
        return f"{busy} node(s) are at work"
    least = int((cluster.get("scaleSettings") or {}).get("minNodeCount") or 0)
    wanted = int(cluster.get("targetNodeCount") or 0)
    return (
        f"it is growing to {wanted} node(s)" if wanted > max(least, int(cluster.get("currentNodeCount") or 0)) else None
    )


def _models(ws: Workspace, recipe: Recipe, bill: Bill, log: Log) -> list[Doomed]:
    name = recipe.registered_model_name
    found: list[Any] = find(lambda: list(ws.ml.models.list(name)), f"versions of model {name}", log) or []
    own = {
        thing.name.lower() for thing in _endpoints(recipe, bill, endpoint_names(recipe.serving, recipe.name, ws.path))
    }
    elsewhere = [item for item in bill.of("deployment") if item.name.lower().partition("/")[0] not in own]
    things = []
    for version in found:
        model = f"{name}:{version.version}"
        ending = f"/{name}/versions/{version.version}".lower()
        users = [item.name for item in elsewhere if item.model.lower().endswith(ending)]
        if users:
            things.append(Doomed("model", model, f"it serves {', '.join(users)}", is_kept=True))
        elif JOB_TAG not in (version.tags or {}):
            things.append(Doomed("model", model, "this project did not make it", is_kept=True))
        else:
            things.append(Doomed("model", model, f"made by job {version.tags[JOB_TAG]}"))
    return things
