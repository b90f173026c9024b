"""The decision table: what the latest attempt at a fine-tune means for whoever wants its result."""

from dataclasses import dataclass
from typing import Protocol

from phi_assets.azureml.connection.errors import AttemptsExhausted
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.refs import Action


class Proof(Protocol):
    """What was found of a Completed job's output."""

    @property
    def is_complete(self) -> bool:
        """Whether it was seen, whole."""
        ...

    @property
    def is_missing(self) -> bool:
        """Whether it is certain that it is not there."""
        ...

    @property
    def in_words(self) -> str:
        """For messages, as a clause."""
        ...


@dataclass(frozen=True)
class Attempt:
    """A job for the fingerprint, as Azure ML has it."""

    number: int
    name: str
    status: JobStatus
    service_status: str
    """The state as the service spells it, known to us or not."""
    studio_url: str
    output: Proof | None = None
    """What lies at its output; looked at where the job is Completed."""

    @property
    def is_success(self) -> bool:
        """Completed is what the service says; a model that is proven not to be there makes it untrue."""
        return self.status is JobStatus.COMPLETED and self.output is not None and not self.output.is_missing

    @property
    def in_words(self) -> str:
        """How it stands, as a clause without full stop."""
        if self.output is None:
            return f"Job {self.name} is {self.service_status}"
        return f"Job {self.name} is {self.status} and {self.output.in_words}"


@dataclass(frozen=True)
class Decision:
    """What to do, and why."""

    action: Action
    attempt: int
    """Number of the attempt to wait for, to reuse or to submit."""
    reason: str
    """One sentence."""

    @property
    def submits(self) -> bool:
        """Whether a new job is needed."""
        return self.action in ("submitted", "resubmitted")


def decide(latest: Attempt | None, *, force: bool, attempts: int, section: str = "finetune") -> Decision:
    """The action for the latest attempt there is.

    | latest attempt                                                      | action                               |
    |---------------------------------------------------------------------|--------------------------------------|
    | none                                                                | submitted, as the first              |
    | not ended, whatever it is called, states that nobody knows included | attached                             |
    | Completed with its model                                            | reused                               |
    | Completed, its model not where it was looked for, nobody says where | reused; registration decides         |
    | Completed with its model, or in doubt, forced                       | resubmitted, as the next             |
    | Failed, Canceled, or Completed and proven to be without its model   | resubmitted, up to `attempts` in all |
    | the same, forced                                                    | resubmitted, whatever its number     |

    `section` is that of the recipe which says how many attempts there may be.

    Raises:
        AttemptsExhausted: `attempts` jobs have ended without a model.
    """
    if latest is None:
        return Decision("submitted", 1, "No job for these inputs exists.")
    if latest.status.is_active:
        return Decision("attached", latest.number, f"{latest.in_words}.")
    if latest.is_success and not force:
        return Decision("reused", latest.number, f"{latest.in_words}.")
    if force:
        return Decision("resubmitted", latest.number + 1, f"{latest.in_words}; another attempt is forced.")
    if latest.number < attempts:
        return Decision("resubmitted", latest.number + 1, f"{latest.in_words}: {latest.studio_url}")
    raise AttemptsExhausted(
        f"{latest.in_words}. That was attempt {latest.number} of {attempts}. Find the cause in Studio, then raise "
        f"`{section}.attempts` or run with force.",
        studio_url=latest.studio_url,
    )
