"""What a scenario can say about the model of a deployment: it crashes, or it answers, but not as it should."""

from typing import Annotated, Literal

from pydantic import Field

from phi_assets.emulator.chaos.kinds import DeploymentScenario, Seconds


class ModelCrashes(DeploymentScenario):
    """The model raises `message` when its process has been loading it for `seconds`: nothing ever gets ready."""

    scenario: Literal["crash_at_load"]
    message: str = "Error while loading the model: the size of tensor model.embed_tokens.weight does not match"
    seconds: Seconds = 0


class ServedByFoundationContainer(DeploymentScenario):
    """The next process of the deployment answers as the container for foundation models does, whatever its model says.

    `{"output": "..."}` for the first conversation of a request; `{"output": "None"}` and `{}` where it fails.
    """

    scenario: Literal["foundation-model-inference"]


class ModelMisbehaves(DeploymentScenario):
    """The deployment is healthy, but its model does not do what it should.

    From the moment at which the deployment's process is put into service (at once if it is live already) until the
    process is replaced by another one, or the scenario cleared. Every `every`-th request is concerned, `requests` of
    them (None: without end). `count` counts processes, not requests.
    """

    every: Annotated[int, Field(ge=1)] = 1
    requests: Annotated[int, Field(ge=1)] | None = None


class ModelGarbage(ModelMisbehaves):
    """Its answers are a few signs without sense, over and over, with status 200."""

    scenario: Literal["garbage"]


class ModelEmpty(ModelMisbehaves):
    """Its answers are empty texts, with status 200."""

    scenario: Literal["empty"]


class ModelSlow(ModelMisbehaves):
    """Its answers take `factor` times as long, and `seconds` more."""

    scenario: Literal["slow"]
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 10
    seconds: Seconds = 0


class ModelRefuses(ModelMisbehaves):
    """It refuses the prompt, as it refuses one that is longer than its context: 424, with model status 400.

    The container for foundation models answers `{"output": "None"}` instead, with status 200.
    """

    scenario: Literal["refuses"]
    message: str = "the conversation is longer than the model's context"


class ModelFails(ModelMisbehaves):
    """It fails while it scores: its server answers `status`, which the endpoint passes on as 424.

    The container for foundation models answers `{}` instead, with status 200.
    """

    scenario: Literal["model_error"]
    status: Annotated[int, Field(ge=400, le=599)] = 500
    message: str = "The model failed with RuntimeError: probability tensor contains either inf, nan or element < 0"
