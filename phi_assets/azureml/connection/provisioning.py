"""Resources on their way: clusters, endpoints and deployments that somebody is creating, changing or deleting."""

import time
from collections.abc import Callable
from typing import Any

from phi_assets.azureml.connection.operations import Course, Voice
from phi_assets.azureml.connection.retry import Log, poll_delays
from phi_assets.azureml.connection.sight import watching
from phi_assets.azureml.connection.status import service_text

_SETTLED = frozenset({"succeeded", "failed", "canceled"})


def state_of(resource: Any) -> str:
    """Provisioning state of a resource as the service spells it, or "unknown"."""
    value = resource.provisioning_state
    return "unknown" if value is None else service_text(value)


def is_settled(resource: Any) -> bool:
    """Whether the resource stays in its state until somebody acts."""
    return state_of(resource).lower() in _SETTLED


def has_succeeded(resource: Any) -> bool:
    """Whether the resource can be used."""
    return state_of(resource).lower() == "succeeded"


def settled(get: Callable[[], Any], course: Course, log: Log) -> Any | None:
    """The resource once nobody is changing it any more; None if there is none, also once a deletion is through.

    One that is on its way is watched from then on: it is looked for while it cannot be seen.

    Raises:
        AzureMLError: of the course's class, when it is still on its way after its time.
        SightLost: it could not be seen for hours.
    """
    found = get()
    if found is None or is_settled(found):
        return found
    what = course.watched.what
    log(f"{what} is {state_of(found)}; waiting.")
    voice, delays = Voice(course, log), poll_delays()
    with watching(course.watched):
        while found is not None and not is_settled(found):
            voice.say(state_of(found))
            time.sleep(next(delays))
            found = get()
    return found


def wait_until_gone(get: Callable[[], Any], course: Course, log: Log) -> None:
    """There is no such resource any more; its deletion is through.

    Raises:
        AzureMLError: of the course's class, when it is still there after its time.
        SightLost: it could not be seen for hours.
    """
    voice, delays = Voice(course, log), poll_delays()
    with watching(course.watched):
        while (found := get()) is not None:
            voice.say(f"{state_of(found)} although it was deleted")
            time.sleep(next(delays))
    log(f"{course.watched.what} is gone.")
