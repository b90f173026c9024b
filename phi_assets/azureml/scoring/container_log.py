"""What the containers of a deployment have written last."""

from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log, one_line, patience, ride_out, silent
from phi_assets.redaction import without_secrets

CONTAINERS = {"inference-server": "inference server", "storage-initializer": "storage initializer"}
"""What the SDK calls them, and what people call them."""

_LOG_LINES = 40
_LINE_LENGTH = 500
_PATIENCE_SECONDS = 60.0
"""Whoever fails shall say so soon, also where the service does not answer for a while."""


def last_lines(
    ws: Workspace, endpoint: str, deployment: str, container: str = "inference-server", log: Log = silent
) -> str:
    """The last lines of one container's log, under a heading, without secrets.

    Asks the service for a minute at most, and raises nothing of what it answers: the text says then what it was.
    """
    name = CONTAINERS[container]

    def ask() -> str:
        return ws.ml.online_deployments.get_logs(
            name=deployment, endpoint_name=endpoint, lines=_LOG_LINES, container_type=container
        )

    try:
        with patience(_PATIENCE_SECONDS):
            text = ride_out(ask, f"log of the {name}", log)
    except AzureError as error:
        return f"(The log of the {name} cannot be read: {one_line(error)})"
    lines = [line[:_LINE_LENGTH] for line in without_secrets(text).strip("\n").splitlines()[-_LOG_LINES:]]
    if not lines:
        return f"The {name} has written nothing."
    return "\n".join([f"Last lines of the {name}:", *lines])
