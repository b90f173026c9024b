"""The fine-tuning component of the registry, and the pipeline job that runs it."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.connection.errors import ComponentNotFound
from phi_assets.azureml.connection.retry import Log, one_line, ride_out, silent
from phi_assets.azureml.models.registered import TRAINED_MODEL_OUTPUT
from phi_assets.azureml.training.parameters import (
    GPU_INPUT,
    ComponentInput,
    EffectiveParameters,
)
from phi_assets.config.recipe import ComponentSection

if TYPE_CHECKING:
    from azure.ai.ml.entities import PipelineJob

MODEL_INPUT, TRAIN_INPUT, TEST_INPUT = "mlflow_model_path", "train_file_path", "test_file_path"
MODEL_OUTPUT = "mlflow_model_folder"
"""The component's output, and that of its step that makes it."""
VALIDATION_INPUT = "validation_file_path"
"""What the job evaluates on while it trains; without it, the component chooses itself."""

_BUILDER = threading.Lock()
"""The SDK collects the steps of a pipeline on one stack per process: two built at once would mix or lose them."""

# The computes that the notebook sets; each is passed where the component's version declares it.
_COMPUTE_INPUTS = ("compute_model_import", "compute_preprocess", "compute_finetune", "compute_model_evaluation")


@dataclass(frozen=True)
class FinetuneComponent:
    """A pinned pipeline component of a registry."""

    id: str
    name: str
    version: str
    inputs: Mapping[str, ComponentInput]
    node: Callable[..., Any]
    """The SDK's component: called with inputs inside a pipeline function, it gives a step."""

    @property
    def takes_validation(self) -> bool:
        """Whether this version declares an input for validation data."""
        return VALIDATION_INPUT in self.inputs


def get_component(ws: Workspace, section: ComponentSection, log: Log = silent) -> FinetuneComponent:
    """The recipe's component; `version: latest` resolves to the newest by creation time.

    Raises:
        ComponentNotFound: no such component or version.
    """
    components = ws.registry(section.registry).components
    which = {"label": "latest"} if section.version == "latest" else {"version": section.version}
    try:
        found: Any = ride_out(lambda: components.get(section.name, **which), f"component {section.name}", log)
    except (ResourceNotFoundError, sdk().exceptions.ValidationException) as error:
        version = "" if section.version == "latest" else f" version {section.version}"
        raise ComponentNotFound(
            f"Registry {section.registry!r} has no component {section.name!r}{version}: {one_line(error)}. Registries "
            "withdraw old versions; set `component.version` to one that exists, or to `latest`."
        ) from error
    return FinetuneComponent(
        id=str(found.id), name=str(found.name), version=str(found.version), inputs=dict(found.inputs), node=found
    )


def sent_inputs(component: FinetuneComponent) -> set[str]:
    """The inputs that `build_pipeline` sends beside the parameters."""
    declared = {VALIDATION_INPUT, *_COMPUTE_INPUTS, GPU_INPUT} & set(component.inputs)
    return {MODEL_INPUT, TRAIN_INPUT, TEST_INPUT} | declared


def build_pipeline(
    component: FinetuneComponent,
    *,
    model_id: str,
    compute_name: str,
    gpus: int,
    train_data: str,
    validation_data: str | None,
    test_data: str,
    parameters: EffectiveParameters,
    title: str,
) -> "PipelineJob":
    """The pipeline job around the component, with one output, `trained_model`; not submitted, and without a name.

    `train_data`, `validation_data` and `test_data` are ids of data assets. No `validation_data` means that the
    component's version does not declare it.

    Steps never take over results of earlier jobs and the first failing step ends the job: what has been done already
    is decided by the job's fingerprint, not by the service's cache.
    """
    module = sdk()
    from azure.ai.ml import dsl

    pipeline: Any = dsl.pipeline

    def file(data: str) -> Any:
        return module.Input(type="uri_file", path=data)

    @pipeline(name=title, display_name=title)
    def fine_tune() -> dict[str, Any]:
        chat_completion_pipeline = component.node(
            **{MODEL_INPUT: model_id, TRAIN_INPUT: file(train_data), TEST_INPUT: file(test_data)},
            **({VALIDATION_INPUT: file(validation_data)} if validation_data is not None else {}),
            **{name: compute_name for name in _COMPUTE_INPUTS if name in component.inputs},
            **({GPU_INPUT: gpus} if GPU_INPUT in component.inputs else {}),
            **parameters.values,
        )
        return {TRAINED_MODEL_OUTPUT: chat_completion_pipeline.outputs[MODEL_OUTPUT]}

    with _BUILDER:
        job: Any = fine_tune()
    job.settings.force_rerun = True
    job.settings.continue_on_step_failure = False
    return job
