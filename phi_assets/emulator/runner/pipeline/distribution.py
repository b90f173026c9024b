"""How many processes a step is, by the `distribution` of a job or a component."""

from collections.abc import Mapping
from typing import Any

from phi_assets.emulator.runner.pipeline import values
from phi_assets.emulator.wire.errors import ServiceError

MOST_PROCESSES = 64
"""Of a step, over all its nodes: they run on this machine."""


def processes_per_node(distribution: Mapping[str, Any] | None, nodes: int, where: str) -> int | None:
    """Processes that PyTorch has on each of the nodes; None without a distribution.

    Raises:
        ServiceError: 501 for another framework than PyTorch, or for more processes than one machine is asked to start;
            400 for no such number.
    """
    if not distribution:
        return None
    kind = str(distribution.get("distributionType") or distribution.get("type") or "")
    if kind.lower() != "pytorch":
        raise ServiceError(501, "NotImplemented", f"This emulator runs jobs with distribution PyTorch, not '{kind}'.")
    wanted = distribution.get("processCountPerInstance", distribution.get("process_count_per_instance"))
    count = values.count(1 if wanted is None else wanted, f"The process count per instance of {where}")
    if count * nodes > MOST_PROCESSES:
        message = f"This emulator runs at most {MOST_PROCESSES} processes of a job, not {count * nodes}."
        raise ServiceError(501, "NotImplemented", message)
    return count
