"""The gate before any traffic: a deployment that does not answer as it should is removed again."""

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.inventory import live_share
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.ownership import Owner
from phi_assets.azureml.scoring.client import open_scoring
from phi_assets.azureml.scoring.container_log import last_lines
from phi_assets.azureml.serving.deployments import discard_deployment
from phi_assets.azureml.serving.gates import SmokeReport, has_failures, smoke_test
from phi_assets.azureml.serving.reach import within_reach
from phi_assets.config.recipe import RolloutSection
from phi_assets.refs import DeploymentRef, EndpointRef


def ensure_smoke(
    ws: Workspace,
    endpoint: EndpointRef,
    deployment: DeploymentRef,
    section: RolloutSection,
    *,
    timeout_seconds: float,
    owner: Owner | None = None,
    log: Log = silent,
) -> SmokeReport:
    """The deployment answers as it should, or is gone; one that people's requests go to is never deleted.

    Nor is one that is not the owner's: the project's, unless one is given.

    A deployment that gets traffic has passed before, and is asked again only where it has just been changed.

    Raises:
        ScoringFailed: the endpoint gives no key.
        DeploymentFailed: it failed, and could not be deleted.
    """
    share = live_share(ws, endpoint.name, deployment.name, log)
    if share and deployment.action == "reused":
        return SmokeReport(deployment.name, fate=f"It serves {share} % of the traffic already and was not asked.")

    def ask() -> SmokeReport:
        with open_scoring(ws, endpoint.name, endpoint.scoring_uri, timeout_seconds=timeout_seconds, log=log) as client:
            return smoke_test(client, deployment.name, section, log)

    watched = ws.watched(f"Deployment {deployment.name}", ws.endpoint_studio_url(endpoint.name))
    report = within_reach(ws, endpoint.scoring_uri, watched, ask, lambda found: found.replies, log)
    if report.passed:
        return report
    lines = ""
    if has_failures(report.replies):
        # Its log goes with the deployment.
        lines = last_lines(ws, endpoint.name, deployment.name, log=log)
    is_gone = discard_deployment(ws, endpoint.name, deployment.name, log, owner=owner)
    fate = "It has been deleted." if is_gone else "It gets traffic, or is not ours, and stays."
    return report.ending(fate, lines)
