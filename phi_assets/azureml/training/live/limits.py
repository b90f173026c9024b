"""How long a job may take."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from phi_assets.azureml.connection.errors import AzureMLError, JobTimeout, QueueTimeout
from phi_assets.config.recipe import FinetuneSection

CANCELLED = "has been cancelled"


@dataclass(frozen=True)
class Limits:
    """How long a job may take, by the service's clock."""

    running: timedelta
    """From the start of its first step."""
    queued: timedelta
    """From its submission to the start of its first step."""
    heartbeat_seconds: float = 300.0
    """How long nothing is said while nothing happens."""
    cluster_seconds: float = 60.0
    """How often the cluster of a job that waits for a node is looked at."""

    section: str = "finetune"
    """Of the recipe, which sets them,"""
    compute: str = "compute"
    """and which describes the cluster."""

    @classmethod
    def of(cls, finetune: FinetuneSection) -> "Limits":
        """Those of a recipe's fine-tune."""
        return cls(
            running=timedelta(hours=finetune.timeout_hours),
            queued=timedelta(hours=finetune.max_queue_hours),
        )

    def exceeded(
        self,
        name: str,
        studio_url: str,
        *,
        queued: float,
        running: float | None,
        condition: Callable[[], str],
        fate: str = CANCELLED,
    ) -> AzureMLError | None:
        """The error of a job whose time is over; None where it is not.

        Args:
            queued: seconds since its submission.
            running: seconds since the start of its first step; None where none has started.
            condition: says how its cluster is, without a full stop; asked only where that matters.
            fate: what becomes of it, as the end of a sentence about it.
        """
        if running is not None:
            if running <= self.running.total_seconds():
                return None
            return JobTimeout(
                f"Job {name} ran for more than {self.running} and {fate}. Raise `{self.section}.timeout_hours`, use a "
                "larger VM size, or train on less.",
                studio_url=studio_url,
            )
        if queued <= self.queued.total_seconds():
            return None
        return QueueTimeout(
            f"Job {name} waited for a node for more than {self.queued} and {fate}; nothing of it is billing. "
            f"{condition()}. Raise `{self.section}.max_queue_hours`, or choose a VM size or tier with free quota "
            f"and capacity in the recipe's `{self.compute}`.",
            studio_url=studio_url,
        )
