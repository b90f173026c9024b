"""Why a step failed, in the words that its reader needs."""

from typing import Any


def reason_of(failure: Any, *, with_stack: bool = False) -> str:
    """The message of a step's failure data: of `dagster.Failure`, else of the innermost error."""
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    while error and error.cause:
        error = error.cause
    if error is None:
        return "failed without a recorded reason"
    return error.to_string() if with_stack else error.message.strip()
