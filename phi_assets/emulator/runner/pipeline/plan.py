"""What a job is going to do, known from its submission: its steps before they have runs, and what waits for what."""

from typing import TypedDict

from phi_assets.emulator.runner.pipeline.graph import Graph


class PlannedStep(TypedDict):
    """A step; its run, once there is one, has the same `key`."""

    key: str
    name: str
    component: str
    compute: str
    group: str | None
    """Name of the pipeline component that it is a step of."""
    needs: list[str]
    """Keys of the steps whose outputs it reads."""


Plan = list[PlannedStep]


def plan_of(graph: Graph) -> Plan:
    """The steps in the order in which they are executed, as the job's document keeps them."""
    return [
        {
            "key": step.key,
            "name": step.name,
            "component": f"{step.component.name}:{step.component.version}",
            "compute": step.compute,
            "group": graph.groups[step.group].name if step.group is not None else None,
            "needs": sorted(step.needs),
        }
        for step in graph.steps
    ]
