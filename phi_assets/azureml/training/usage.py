"""How long a job kept the cluster's nodes."""

from dataclasses import dataclass

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.training.history import RunHistory

_SECONDS = 3600


@dataclass(frozen=True)
class Usage:
    """What a job took of a cluster."""

    node_hours: float
    gpu_hours: float


def job_usage(ws: Workspace, job_name: str, *, gpus: int, training_nodes: int = 1, log: Log = silent) -> Usage:
    """The time from start to end of every step, by the nodes that it ran on. A step that was taken over ran on none.

    Only the step that trains can have several nodes: the component hands `num_nodes_finetune` to no other. What a node
    costs before its first step and after its last one, until the cluster shrinks, is not in it.

    Args:
        gpus: of one node.
    """
    hours = 0.0
    for step in RunHistory(ws, log).leaves(job_name):
        is_reused = (step.properties or {}).get("azureml.isreused") == "true"
        if step.start_time_utc and step.end_time_utc and not is_reused:
            nodes = training_nodes if "finetune" in step.label else 1
            hours += nodes * (step.end_time_utc - step.start_time_utc).total_seconds() / _SECONDS
    return Usage(node_hours=hours, gpu_hours=hours * gpus)
