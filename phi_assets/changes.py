"""Why something was done: what differs between the inputs of the last time and those of now."""

import re
from collections.abc import Mapping

NO_EARLIER = "first materialization"
NO_CHANGE = "nothing"


_ASSET_ID = re.compile(
    r"(?:/subscriptions|azureml:/)/\S*?/(?:models|components|data|environments)/([^/\s]+)/versions/([^/\s]+)"
)


def in_short(text: str) -> str:
    """The text with `name:version` in place of the ids of assets of a workspace or a registry, which fill lines."""
    return _ASSET_ID.sub(r"\1:\2", text)


def describe_changes(before: Mapping[str, str] | None, now: Mapping[str, str]) -> str:
    """`train data: 3f2a -> 91bc; learning_rate: 5e-06 -> 1e-05`, in the order of `now`, with ids in short.

    An input that is new or no longer there is `added` or `removed`. `before` is None where nothing was recorded.
    """
    if before is None:
        return NO_EARLIER
    changed = [
        f"{name}: {_pair(before[name], value)}" if name in before else f"{name}: {in_short(value)} (added)"
        for name, value in now.items()
        if before.get(name) != value
    ]
    changed += [f"{name}: {in_short(value)} (removed)" for name, value in before.items() if name not in now]
    return "; ".join(changed) or NO_CHANGE


def _pair(before: str, now: str) -> str:
    short = in_short(before), in_short(now)
    # The same name and version of another registry or workspace are told apart by what was left out.
    return " -> ".join(short if short[0] != short[1] else (before, now))
