"""What a scenario can say: one model for every way in which a job, a cluster or a deployment can go wrong.

States and codes are those of the service: https://learn.microsoft.com/rest/api/azureml/jobs/get#jobstatus,
https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from phi_assets.emulator.chaos.clock import Clock

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Step = Annotated[int, Field(ge=1, strict=True)] | Annotated[str, Field(min_length=1)]
"""A step of a job: its number in the order in which the steps run, from 1, or its name in the pipeline."""

Tier = Literal["Dedicated", "LowPriority"]

CANCEL_REASON = "Canceled by user request"


class Scenario(BaseModel):
    """What all scenarios have.

    `match` is a name or a glob, compared without regard to case; `count` how often it applies, None for ever. Durations
    are seconds at time scale 1, or seconds of the wall clock if `exact`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: str = "*"
    count: Annotated[int, Field(ge=1)] | None = 1
    exact: bool = False

    def real(self, seconds: float, clock: Clock) -> float:
        """How long `seconds` of this scenario take."""
        return seconds if self.exact else seconds / clock.scale


class JobScenario(Scenario):
    """Of the jobs whose name matches."""

    kind: Literal["job"]


class StuckQueued(JobScenario):
    """The job stays Queued before it runs, or one step of the running job does: for `seconds` (None: for ever)."""

    scenario: Literal["stuck_queued"]
    seconds: Seconds | None = None
    step: Step | None = None


class Preempted(JobScenario):
    """The node is taken away `seconds` after the step began: its process is ended, and the job fails with it.

    The service does not start a preempted step again:
    https://github.com/Azure/MachineLearningNotebooks/issues/1242.
    """

    scenario: Literal["preempted"]
    step: Step = 1
    seconds: Seconds = 0


class JobFailed(JobScenario):
    """The job fails for the service's own reasons: while it is Preparing, or `seconds` after the step began."""

    scenario: Literal["failed"]
    code: str = "ServiceError"
    message: str = "The service failed while it ran the job. Submit it again."
    step: Step | None = None
    seconds: Seconds = 0


class JobCanceled(JobScenario):
    """Somebody called `by` cancels the job, `seconds` after it began to run."""

    scenario: Literal["canceled"]
    seconds: Seconds = 0
    by: str = "somebody.else@example.com"
    reason: str = CANCEL_REASON


class NotResponding(JobScenario):
    """`after` seconds of running, the job is NotResponding for `seconds` and then Running again; its steps go on."""

    scenario: Literal["not_responding"]
    seconds: Seconds = 5
    after: Seconds = 0

    @property
    def status(self) -> str:
        """What the job shows."""
        return "NotResponding"


class UnknownStatus(JobScenario):
    """`after` seconds of running, the job shows `status` for `seconds` and then Running again; its steps go on."""

    scenario: Literal["unknown_status"]
    status: Annotated[str, Field(min_length=1)] = "Hibernating"
    seconds: Seconds = 5
    after: Seconds = 0

    @model_validator(mode="after")
    def _goes_on(self) -> "UnknownStatus":
        if self.status in {"Completed", "Failed", "Canceled", "CancelRequested"}:
            raise ValueError(f"a job does not go on from {self.status}")
        return self


class CompletedWithoutOutput(JobScenario):
    """The job ends as Completed, and the folders of its outputs are empty."""

    scenario: Literal["completed_without_output"]


class OutputPathsIgnored(JobScenario):
    """The job's outputs lie where the service puts them by default, whatever the request said, and still repeats it."""

    scenario: Literal["output_paths_ignored"]


class ComputeScenario(Scenario):
    """Of the clusters whose name matches; `tier` limits it to those of one VM priority."""

    kind: Literal["compute"]
    tier: Tier | None = None
    code: str | None = None
    message: str | None = None


class ComputeRefused(ComputeScenario):
    """The request to create the cluster is refused because there is not enough quota."""

    scenario: Literal["refused"]


class AllocationFailed(ComputeScenario):
    """No nodes can be had.

    With `state` Failed the cluster's creation ends as Failed. With Succeeded there is the cluster, it shows the error,
    and jobs on it stay Queued for `seconds` (None: until the scenario is cleared).
    """

    scenario: Literal["allocation_failed"]
    state: Literal["Failed", "Succeeded"] = "Failed"
    seconds: Seconds | None = None


class DeploymentScenario(Scenario):
    """Of the deployments whose name, or `<endpoint>/<name>`, matches."""

    kind: Literal["deployment"]


class DeploymentFailed(DeploymentScenario):
    """The operation that creates or updates the deployment fails with this code."""

    scenario: Literal[
        "OutOfQuota",
        "ImageBuildFailure",
        "SecretsInjectionError",
        "BadArgument",
        "ResourceNotReady",
        "ResourceNotFound",
        "OperationCanceled",
        "InternalServerError",
    ]
    message: str | None = None


class DeploymentDelayed(DeploymentScenario):
    """The operation that creates or updates the deployment takes `seconds` longer."""

    scenario: Literal["delay"]
    seconds: Seconds = 10


class DeploymentUnhealthy(DeploymentScenario):
    """The process of a live deployment ends after `seconds` and does not come back: scoring answers 503.

    `state` is what the deployment's provisioning state shows from then on.
    """

    scenario: Literal["unhealthy"]
    seconds: Seconds = 0
    state: Literal["Failed", "Succeeded"] = "Failed"
