"""Jobs of this package: what a cluster, or the lease of an endpoint, must not be ended under."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phi_assets.azureml.connection.arm import arm_list
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.ownership import MANAGED_TAG, Tags, maker_of, project_of, recipe_of

COMPUTE_TAG = "phi-compute"
"""On every job: the cluster that its steps run on."""
FINGERPRINT_TAG = "phi/fingerprint"
"""On every job: all digits of its identity. Jobs of earlier releases can be told by it alone."""


@dataclass(frozen=True)
class OurJob:
    """A job of any recipe of any project that writes this package's tags."""

    name: str
    status: JobStatus
    tags: Mapping[str, str]
    created: str
    """When, as the service writes it; empty where it does not say."""

    @property
    def in_words(self) -> str:
        """A clause."""
        return f"job {self.name} of {maker_of(self.tags)} is {self.status}"

    def may_use(self, cluster: str) -> bool:
        """Whether it runs on the cluster; one that does not say where it runs may."""
        return self.tags.get(COMPUTE_TAG, cluster).lower() == cluster.lower()

    def may_be_for(self, tags: Tags) -> bool:
        """Whether it has the recipe and the project of what carries the tags; where either does not say, it may."""
        pairs = [(project_of(self.tags), project_of(tags)), (recipe_of(self.tags), recipe_of(tags))]
        return all(mine == its or not (mine and its) for mine, its in pairs)


def live_jobs(ws: Workspace, log: Log = silent) -> list[OurJob]:
    """Those that have not ended; see `our_jobs`."""
    return [job for job in our_jobs(ws, log) if job.status.is_active]


def our_jobs(ws: Workspace, log: Log = silent) -> list[OurJob]:
    """All of them that the workspace has, archived ones included, the newest first.

    The service filters jobs by the key of a tag and by no state
    (https://learn.microsoft.com/rest/api/azureml/jobs/list), so all pages are read: for those who are about to end
    something, not for those who look again and again.

    Raises:
        httpx.HTTPError: the service refused, or does not answer.
    """
    found = {
        str(document.get("name")): document
        for tag in (MANAGED_TAG, FINGERPRINT_TAG)
        for document in arm_list(ws, "jobs", log, tag=tag, listViewType="All")
    }
    return sorted((_job(document) for document in found.values()), key=lambda job: job.created, reverse=True)


def _job(document: Mapping[str, Any]) -> OurJob:
    properties, system_data = document.get("properties") or {}, document.get("systemData") or {}
    return OurJob(
        name=str(document.get("name")),
        status=JobStatus(str(properties.get("status"))),
        tags=dict(properties.get("tags") or {}),
        created=str(system_data.get("createdAt") or ""),
    )
