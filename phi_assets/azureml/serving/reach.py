"""What a gate must not blame on a deployment: that this machine could not reach the endpoint."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log, ride_out
from phi_assets.azureml.connection.sight import Watched, watching
from phi_assets.azureml.serving.gates import Reply

T = TypeVar("T")

_RETAKES = 3
"""How often a gate is repeated: a deployment that ends every connection looks like a network that is gone."""


def within_reach(
    ws: Workspace,
    uri: str,
    watched: Watched,
    ask: Callable[[], T],
    replies: Callable[[T], Iterable[Reply]],
    log: Log,
) -> T:
    """What `ask` returns once all of its prompts have reached the endpoint; it is repeated where some have not.

    Raises:
        SightLost: there was no way to the endpoint for hours.
    """
    for _ in range(_RETAKES):
        found = ask()
        if not any(reply.is_unreached for reply in replies(found)):
            return found
        log(f"Some prompts did not reach {uri}, which says nothing of the deployment; asking again.")
        with watching(watched):
            # Whatever it answers without a credential: there is a way to it.
            ride_out(lambda: ws.http.get(uri), f"endpoint {uri}", log)
    return ask()
