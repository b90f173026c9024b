"""Why steps and jobs fail, in the form in which the run history keeps it."""

from collections.abc import Iterable
from dataclasses import dataclass

USER_ERROR = "UserError"
SERVICE_ERROR = "ServiceError"


@dataclass(frozen=True)
class Failure:
    """A failed step: its run, the name that people know it by, and the error."""

    run_id: str
    step: str
    code: str
    message: str

    @property
    def in_words(self) -> str:
        """The step's name and what went wrong."""
        return f"{self.step}: {self.message}"

    def error(self) -> dict[str, str]:
        """As the step's own run has it."""
        return {"code": self.code, "message": self.message}


def error_of_job(failures: Iterable[Failure]) -> dict[str, str]:
    """The error of a job whose steps failed so; a step that failed because of another one counts once, as that one."""
    different = {failure.run_id: failure for failure in failures}.values()
    codes = {failure.code for failure in different}
    listed = "; ".join(failure.in_words for failure in different)
    message = f"Pipeline has {len(different)} failed step{'s' * (len(different) > 1)}. {listed}"
    return {"code": codes.pop() if len(codes) == 1 else USER_ERROR, "message": message}
