"""The end of a recipe in the workspace: listed first, deleted then, and proven at last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx
from azure.core.exceptions import AzureError

from phi_assets.azureml.billing.bill import Bill, Billed
from phi_assets.azureml.compute.clusters import delete_compute
from phi_assets.azureml.compute.live_jobs import live_jobs
from phi_assets.azureml.connection.arm import arm_delete, arm_get
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ListingFailed, TeardownIncomplete
from phi_assets.azureml.connection.retry import Log, find, one_line, silent
from phi_assets.azureml.models.registered import JOB_TAG
from phi_assets.azureml.ownership import Owner, Tags, maker_of
from phi_assets.azureml.serving.ending import end_endpoint
from phi_assets.config.endpoint_names import endpoint_names
from phi_assets.config.recipe import Recipe

Kind = Literal["endpoint", "deployment", "cluster", "model"]

_BUSY_NODES = ("running", "preparing")


@dataclass(frozen=True)
class Doomed:
    """Something that a teardown deletes, or keeps and says why."""

    kind: Kind
    name: str
    """Deployments: `<endpoint>/<name>`. Models: `<name>:<version>`."""
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
    owner: Owner
    """Whose they are; what somebody else has made in their places by the time of the deletion is left alone."""

    @property
    def doomed(self) -> list[Doomed]:
        """What is to be deleted."""
        return [thing for thing in self.things if not thing.is_kept]

    def of(self, kind: str) -> list[str]:
        """Names of what is to be deleted of a kind."""
        return [thing.name for thing in self.doomed if thing.kind == kind]

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
    log: Log = silent,
) -> TeardownPlan:
    """What a teardown would do; nothing is changed.

    What goes is the recipe's own: what another recipe, another project or a person has made is named and kept. The
    endpoint goes, unless somebody else has a deployment behind it: then the recipe's deployments do. The cluster goes
    only if it is idle: no node is at work, and no job of anybody who writes these tags is on its way to it. Models go
    on request, except those that something else serves.

    Raises:
        ListingFailed: the service does not say what there is.
    """
    owner = ws.owner(recipe.name)
    try:
        things = [
            *_endpoints(owner, bill, endpoint_names(recipe.serving, recipe.name, ws.path)),
            *(each for name in (recipe.clusters if cluster else ()) for each in _cluster(ws, name, owner, bill, log)),
            *(_models(ws, recipe, owner, bill, log) if models else ()),
        ]
    except (AzureError, httpx.HTTPError) as error:
        raise ListingFailed(
            f"What there is of recipe {recipe.name} cannot be listed: {one_line(error)}. Nothing was deleted."
        ) from error
    return TeardownPlan(tuple(things), owner)


def carry_out(ws: Workspace, plan: TeardownPlan, log: Log = silent) -> None:
    """What the plan dooms is gone: what bills most goes first, and each deletion is waited for.

    Raises:
        EndpointFailed, DeploymentFailed, TrafficFailed, ComputeFailed, TeardownIncomplete: something could not be
            deleted.
    """
    behind_others = [name.partition("/")[0] for name in plan.of("deployment")]
    for name in dict.fromkeys([*plan.of("endpoint"), *behind_others]):
        end_endpoint(ws, name, plan.owner, log)
    for name in plan.of("cluster"):
        found = arm_get(ws, f"computes/{name}", log)
        if found is None or plan.owner.owns(found.get("tags")):
            delete_compute(ws, name, log)
    for model in plan.of("model"):
        name, _, version = model.rpartition(":")
        try:
            arm_delete(ws, f"models/{name}/versions/{version}", log)
        except httpx.HTTPError as error:
            raise TeardownIncomplete(f"Model {model} could not be deleted: {one_line(error)}. Run again.") from error
        log(f"Model {model} is gone.")
    if doomed := [f"{thing.kind} {thing.name}" for thing in plan.doomed]:
        log(f"Have been deleted: {', '.join(doomed)}.")


def check_gone(plan: TeardownPlan, left: Bill) -> None:
    """Nothing that the plan doomed is on a bill that was read afterwards.

    Raises:
        TeardownIncomplete: something is, and is named.
    """
    doomed = {name.lower() for name in plan.of("cluster")}
    still = [item.name for name in plan.of("endpoint") for item in left.of_endpoint(name)]
    still += [item.name for item in left.of("cluster") if item.name.lower() in doomed]
    behind_others = {name.lower() for name in plan.of("deployment")}
    still += [item.name for item in left.of("deployment") if item.name.lower() in behind_others]
    if still:
        raise TeardownIncomplete(
            f"Still there after they were deleted, and billing: {', '.join(still)}. Somebody may have made them again; "
            "run the teardown again."
        )


def _endpoints(owner: Owner, bill: Bill, names: Sequence[str]) -> list[Doomed]:
    """The recipe's endpoint, also under a name from before if it is this recipe's."""
    own = [names[0], *(old for old in names[1:] if bill.is_of_recipe(old, owner.recipe))]
    return [thing for name in own for thing in _endpoint(name, owner, bill)]


def _endpoint(name: str, owner: Owner, bill: Bill) -> list[Doomed]:
    items = bill.of_endpoint(name)
    if not items:
        return []
    deployments = [item for item in items if item.kind == "deployment"]
    names = ", ".join(item.name.partition("/")[2] for item in deployments)
    about = f"{len(deployments)} deployment(s) ({names}){bill.cost_of(deployments)}" if deployments else "no deployment"
    if not owner.owns(items[0].tags):
        return [_left_alone("endpoint", name, items[0].tags, about)]
    strangers = [item for item in deployments if not owner.owns(item.tags)]
    if not strangers:
        return [Doomed("endpoint", name, about)]
    return [
        Doomed("endpoint", name, "a deployment behind it is not ours", is_kept=True),
        *(_left_alone("deployment", item.name, item.tags, _cost(item, bill)) for item in strangers),
        *(Doomed("deployment", item.name, _cost(item, bill)) for item in deployments if item not in strangers),
    ]


def _left_alone(kind: Kind, name: str, tags: Tags, about: str = "") -> Doomed:
    return Doomed(kind, name, f"not ours, left alone, made by {maker_of(tags)}{about and f'; {about}'}", is_kept=True)


def _cost(item: Billed, bill: Bill) -> str:
    return f"{item.machines} x {item.size}{bill.cost_of([item])}"


def _cluster(ws: Workspace, name: str, owner: Owner, bill: Bill, log: Log) -> list[Doomed]:
    found = arm_get(ws, f"computes/{name}", log)
    if found is None:
        return []
    if not owner.owns(found.get("tags")):
        billed = [item for item in bill.of("cluster") if item.name.lower() == name.lower()]
        return [_left_alone("cluster", name, found.get("tags"), "; ".join(_cost(item, bill) for item in billed))]
    job = next((job for job in live_jobs(ws, log) if job.may_use(name)), None)
    at_work = job.in_words if job else _nodes_at_work((found["properties"] or {}).get("properties") or {})
    if at_work is not None:
        return [Doomed("cluster", name, f"{at_work}; it shrinks by itself once it is idle", is_kept=True)]
    return [Doomed("cluster", name, "idle")]


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


def _models(ws: Workspace, recipe: Recipe, owner: Owner, bill: Bill, log: Log) -> list[Doomed]:
    name = recipe.registered_model_name
    found: list[Any] = find(lambda: list(ws.ml.models.list(name)), f"versions of model {name}", log) or []
    endings = _endpoints(owner, bill, endpoint_names(recipe.serving, recipe.name, ws.path))
    doomed = {thing.name.lower() for thing in endings if not thing.is_kept}
    served = [item for item in bill.of("deployment") if not {item.name.lower(), _endpoint_of(item)} & doomed]
    things = []
    for version in found:
        model = f"{name}:{version.version}"
        ending = f"/{name}/versions/{version.version}".lower()
        users = [item.name for item in served if item.model.lower().endswith(ending)]
        if users:
            things.append(Doomed("model", model, f"it serves {', '.join(users)}", is_kept=True))
        elif not owner.owns(version.tags):
            things.append(_left_alone("model", model, version.tags))
        else:
            things.append(Doomed("model", model, f"made by job {(version.tags or {}).get(JOB_TAG, 'unknown')}"))
    return things


def _endpoint_of(deployment: Billed) -> str:
    return deployment.name.lower().partition("/")[0]
