"""A pipeline job as a list of processes, with everything that each of them reads and writes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

SERVERLESS = "serverless"


@dataclass(frozen=True)
class Component:
    """What a node runs; `registry` is None for one of the workspace, `code` a folder that the command runs in."""

    id: str
    name: str
    version: str
    spec: Mapping[str, Any]
    code: Path | None
    registry: str | None = None


@dataclass(frozen=True)
class Literal:
    """A value that goes onto the command line."""

    text: str


@dataclass(frozen=True)
class Uri:
    """Data or a model that exists before the job starts."""

    uri: str
    type: str


@dataclass(frozen=True)
class StepOutput:
    """What another step of the job will have written."""

    step: str
    output: str


Binding = Literal | Uri | StepOutput


@dataclass(frozen=True)
class Place:
    """Where an output goes: `job_output` if the pipeline hands it out, else a folder of the step's own run."""

    type: str
    job_output: str | None = None


@dataclass(frozen=True)
class Step:
    """One command component with everything bound; `key` is unique in the job, `group` the pipeline node it is in."""

    key: str
    name: str
    group: str | None
    component: Component
    inputs: Mapping[str, Binding]
    outputs: Mapping[str, Place]
    compute: str
    environment: Mapping[str, str] = field(default_factory=dict)
    nodes: int = 1
    """Of the cluster that it takes."""
    processes_per_node: int | None = None
    """None: it is one process, whatever nodes it takes."""
    most_seconds: float | None = None
    """After which its job is cancelled; None: as long as it takes."""

    @property
    def needs(self) -> set[str]:
        """Keys of the steps whose outputs it reads."""
        return {binding.step for binding in self.inputs.values() if isinstance(binding, StepOutput)}


@dataclass(frozen=True)
class Group:
    """A node that is a pipeline component: a run of its own whose children are its steps."""

    key: str
    name: str
    parent: str | None
    component: Component
    inputs: Mapping[str, Binding]


@dataclass(frozen=True)
class Graph:
    """Steps in an order in which they can run; `outputs` says which step writes each output of the job."""

    steps: tuple[Step, ...]
    groups: Mapping[str, Group]
    outputs: Mapping[str, StepOutput]
    continue_on_failure: bool = False
    is_single: bool = False
    """Whether the only step is the job itself, and has no run of its own."""

    def step(self, key: str) -> Step:
        """The step of this key."""
        return next(step for step in self.steps if step.key == key)


class Resources(Protocol):
    """What the graph asks of the workspace and its registries."""

    def component(self, reference: str, registry: str | None) -> Component:
        """The component. Raises ServiceError: 404 if it does not exist."""
        ...

    def check_compute(self, name: str, where: str) -> str:
        """The compute's plain name. Raises ServiceError: 400 if it does not exist and is not `serverless`."""
        ...

    def code(self, reference: str, where: str) -> Path:
        """The folder of uploaded code. Raises ServiceError: 404 if there is none, 400 for another kind of reference."""
        ...

    def check_environment(self, reference: str, where: str) -> None:
        """Raises ServiceError: 404 if the environment does not exist, 400 for another kind of reference."""
        ...

    def check_uri(self, uri: str, type_: str, where: str) -> None:
        """Raises ServiceError if the uri cannot mean anything here, or means an asset that does not exist."""
        ...
