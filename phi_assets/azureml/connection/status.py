"""States of jobs as Azure ML spells them."""

from enum import Enum, StrEnum
from typing import Any


class JobStatus(StrEnum):
    """State of a job.

    The names are those of the service's job status enum
    (https://learn.microsoft.com/rest/api/azureml/jobs/get#jobstatus). `UNKNOWN` also stands for any text that the
    service may add later. The SDK takes `Paused` and `NotResponding` for the end of a job; they are not: a job comes
    back from both.
    """

    NOT_STARTED = "NotStarted"
    STARTING = "Starting"
    PROVISIONING = "Provisioning"
    PREPARING = "Preparing"
    QUEUED = "Queued"
    RUNNING = "Running"
    FINALIZING = "Finalizing"
    CANCEL_REQUESTED = "CancelRequested"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELED = "Canceled"
    NOT_RESPONDING = "NotResponding"
    PAUSED = "Paused"
    UNKNOWN = "Unknown"

    @classmethod
    def _missing_(cls, value: object) -> "JobStatus":
        wanted = str(value).replace("_", "").lower()
        return next((status for status in cls if status.value.lower() == wanted), cls.UNKNOWN)

    @classmethod
    def of(cls, job: Any) -> "JobStatus":
        """State of a job entity of the SDK."""
        return cls(service_text(job.status))

    @property
    def is_terminal(self) -> bool:
        """The job has ended and will not change any more."""
        return self in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELED)

    @property
    def is_active(self) -> bool:
        """The job may still come to an end, so it is waited for."""
        return not self.is_terminal

    @property
    def may_have_started(self) -> bool:
        """Not one of the states that come before a job runs."""
        return self not in (
            JobStatus.NOT_STARTED,
            JobStatus.STARTING,
            JobStatus.PROVISIONING,
            JobStatus.PREPARING,
            JobStatus.QUEUED,
        )

    @property
    def has_started(self) -> bool:
        """Compute is allocated and the clock of the recipe's timeout runs."""
        return self in (JobStatus.RUNNING, JobStatus.FINALIZING)


def service_text(value: Any) -> str:
    """What the service wrote: the SDK gives known values as members of an enum, and new ones as text."""
    return str(value.value if isinstance(value, Enum) else value)
