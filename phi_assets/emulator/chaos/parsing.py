"""From the body of a request on the control plane to the scenario that it describes."""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from phi_assets.emulator.chaos import kinds
from phi_assets.emulator.chaos import model_kinds as models
from phi_assets.emulator.wire.errors import user_error

_Job = Annotated[
    kinds.StuckQueued
    | kinds.Preempted
    | kinds.JobFailed
    | kinds.JobCanceled
    | kinds.NotResponding
    | kinds.UnknownStatus
    | kinds.CompletedWithoutOutput
    | kinds.OutputPathsIgnored,
    Field(discriminator="scenario"),
]
_Compute = Annotated[kinds.ComputeRefused | kinds.AllocationFailed, Field(discriminator="scenario")]
_Deployment = Annotated[
    kinds.DeploymentFailed
    | kinds.DeploymentDelayed
    | kinds.DeploymentUnhealthy
    | models.ModelCrashes
    | models.ServedByFoundationContainer
    | models.ModelGarbage
    | models.ModelEmpty
    | models.ModelSlow
    | models.ModelRefuses
    | models.ModelFails,
    Field(discriminator="scenario"),
]
_ADAPTER: TypeAdapter[Any] = TypeAdapter(Annotated[_Job | _Compute | _Deployment, Field(discriminator="kind")])


def parse(body: Any) -> kinds.Scenario:
    """The scenario that a request describes. Raises ServiceError 400, naming every field that is wrong."""
    try:
        return _ADAPTER.validate_python(body)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, entry['loc'])) or 'body'}: {entry['msg']}" for entry in error.errors())
        raise user_error(f"This is no scenario. {wrong}.", "BadArgument/ArgumentInvalid") from error
