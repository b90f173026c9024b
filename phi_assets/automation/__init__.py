"""Where instances look that were set up with an earlier `dagster.yaml`; new ones name `phi_assets.graph.automation`."""
