"""Why something was done: what differs between the inputs of the last time and those of now."""

from collections.abc import Mapping

NO_EARLIER = "first materialization"
NO_CHANGE = "nothing"


def describe_changes(before: Mapping[str, str] | None, now: Mapping[str, str]) -> str:
    """`train data: 3f2a -> 91bc; learning_rate: 5e-06 -> 1e-05`, in the order of `now`.

    An input that is new or no longer there is `added` or `removed`. `before` is None where nothing was recorded.
    """
    if before is None:
        return NO_EARLIER
    changed = [
        f"{name}: {before[name]} -> {value}" if name in before else f"{name}: {value} (added)"
        for name, value in now.items()
        if before.get(name) != value
    ]
    changed += [f"{name}: {value} (removed)" for name, value in before.items() if name not in now]
    return "; ".join(changed) or NO_CHANGE
