"""The end of leases: endpoints of this project that nobody has asked for again in time, and nobody is at work on."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx
from azure.core.exceptions import AzureError

from phi_assets.azureml.compute.live_jobs import OurJob, our_jobs
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import AzureMLError, EndpointFailed, ListingFailed
from phi_assets.azureml.connection.inventory import find_deployments, find_endpoint
from phi_assets.azureml.connection.provisioning import is_settled, state_of
from phi_assets.azureml.connection.retry import Log, one_line, ride_out, silent
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.ownership import belonging, maker_of, recipe_of
from phi_assets.azureml.serving.ending import end_endpoint
from phi_assets.azureml.serving.leases import has_expired, lease_end
from phi_assets.azureml.training.history import RunHistory
from phi_assets.azureml.training.lookup import in_utc

_HANDOVER = timedelta(minutes=10)
"""From the end of a job to the first sign of its model at an endpoint: it is registered, and its deployment begins."""
_NEWEST = 3
"""Completed jobs whose end is looked at; the one that was created last need not be the one that ended last."""


def expired_endpoints(ws: Workspace, log: Log = silent) -> list[str]:
    """Names of the endpoints of this project whose lease has ended by the service's clock, and that are to be ended.

    Those stay, and the log says why, that a job of their recipe may be for which has not ended or has just been
    Completed, that somebody is changing, and behind which there is nothing but what somebody else has made. One list is
    read where no lease has ended.

    Raises:
        ListingFailed: the service does not say.
    """
    found = _listed(ws, log)
    try:
        expired = [each for each in found if has_expired(each.tags, ws.clock.now(), ws.owner())]
        jobs = our_jobs(ws, log) if expired else []
        why = {str(each.name): _why_it_stays(ws, each, jobs, log) for each in expired}
    except (AzureError, httpx.HTTPError) as error:
        raise _not_listed(ws, error) from error
    for name, words in why.items():
        if words:
            log(f"The lease of endpoint {name} has ended, and it stays: {words}.")
    return sorted(name for name, words in why.items() if not words)


def ending_leases(ws: Workspace, within: timedelta, log: Log = silent) -> dict[str, datetime]:
    """Endpoints of this project whose lease ends so soon, or has ended, by the service's clock, and when.

    Raises:
        ListingFailed: the service does not say.
    """
    found = _listed(ws, log)
    now = ws.clock.now()
    ends = {str(each.name): lease_end(each.tags) for each in found if ws.owner().owns(each.tags)}
    return {name: end for name, end in ends.items() if end is not None and now is not None and end - now <= within}


def _listed(ws: Workspace, log: Log) -> list[Any]:
    try:
        return ride_out(lambda: list(ws.ml.online_endpoints.list()), "endpoints", log)
    except (AzureError, httpx.HTTPError) as error:
        raise _not_listed(ws, error) from error


def _not_listed(ws: Workspace, error: Exception) -> ListingFailed:
    return ListingFailed(f"The endpoints of workspace {ws.name} cannot be listed: {one_line(error)}. Run again.")


def reap(
    ws: Workspace,
    *,
    only: Collection[str] = (),
    held: Mapping[str, str] | None = None,
    on_name: Callable[[str], None] = silent,
    dry_run: bool = False,
    log: Log = silent,
) -> list[str]:
    """No endpoint of this project is alive whose lease has ended and that nothing holds; the names of those that were.

    With `only`, others are left alone. `held` are those that a run is at work on, with the words for that. `on_name`
    is called with each name before anything is done to it. One whose lease was renewed since the list was read stays. A
    dry run deletes nothing, and `log` says what would be.

    Raises:
        ListingFailed: the service does not say what there is.
        EndpointFailed: some could not be deleted; the others are gone.
    """
    deleted: list[str] = []
    failures: list[str] = []
    for name in expired_endpoints(ws, log):
        if only and name not in only:
            continue
        if held and name in held:
            log(f"The lease of endpoint {name} has ended, and it stays: {held[name]}.")
            continue
        endpoint = find_endpoint(ws, name, log)
        if endpoint is None or not has_expired(endpoint.tags, ws.clock.now(), ws.owner()):
            log(f"Endpoint {name} is gone or has a new lease.")
            continue
        log(f"The lease of endpoint {name} ended at {lease_end(endpoint.tags)}.")
        if dry_run:
            log(f"Endpoint {name} would be deleted.")
            continue
        on_name(name)
        try:
            if end_endpoint(ws, name, ws.owner(), log):
                deleted.append(name)
        except AzureMLError as error:
            failures.append(str(error))
            log(str(error))
    if failures:
        raise EndpointFailed(" ".join(failures))
    return deleted


def _handed_over(ws: Workspace, job: OurJob, log: Log) -> str:
    """That the job's model may be on its way to the endpoint, by a run of any Dagster instance; empty where not."""
    try:
        ended, now = RunHistory(ws, log).details(job.name).end_time_utc, ws.clock.now()
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.NOT_FOUND:
            return ""
        raise
    if ended is None or now is None or now - in_utc(ended) > _HANDOVER:
        return ""
    return f"{job.in_words} since {ended:%H:%M} UTC, and its model may be on its way there"


def _why_it_stays(ws: Workspace, endpoint: Any, jobs: Sequence[OurJob], log: Log) -> str:
    """What holds an endpoint whose lease has ended; empty where nothing does."""
    its_jobs = [job for job in jobs if job.may_be_for(endpoint.tags)]
    if words := next((job.in_words for job in its_jobs if job.status.is_active), ""):
        return words
    # Endpoints of earlier releases do not say whose they are; every job would hold them.
    completed = [job for job in its_jobs if job.status is JobStatus.COMPLETED and recipe_of(endpoint.tags)]
    if words := next((words for job in completed[:_NEWEST] if (words := _handed_over(ws, job, log))), ""):
        return words
    deployments = find_deployments(ws, str(endpoint.name), log) or []
    moving = next((each for each in [endpoint, *deployments] if not is_settled(each)), None)
    if moving is not None:
        return f"{moving.name} is {state_of(moving)}"
    strangers = [each for each in deployments if not ws.owner().owns(belonging(each.tags, endpoint.tags))]
    if strangers and len(strangers) == len(deployments):
        names = ", ".join(f"{each.name}, made by {maker_of(each.tags)}" for each in strangers)
        return f"what is behind it is not ours ({names}) and is billing"
    return ""
