"""Online endpoints of the emulator: deployments are processes that really load their model and answer for it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phi_assets.emulator.serving.manager import DeploymentManager as DeploymentManager

__all__ = ["DeploymentManager"]


def __getattr__(name: str) -> Any:
    # The inference server lives in this package too, and must not pay for the manager's imports when it starts.
    if name != "DeploymentManager":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from phi_assets.emulator.serving.manager import DeploymentManager

    return DeploymentManager
