"""The run launcher under the name that earlier copies of `.dagster/dagster.yaml` have."""

from phi_assets.graph.automation.run_launcher import LocalRunLauncher

__all__ = ["LocalRunLauncher"]
