"""The points at which the kill matrix kills a run worker: all of them on PostgreSQL, some of each kind on SQLite."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests import postgres


@dataclass(frozen=True)
class Point:
    """The request that the worker is busy with when it is killed.

    `when`: the service has not processed it yet, or it has but the answer is not out. A request that has not been
    processed is lost with the worker, or `arrives_late`: after the run that follows.
    """

    method: str
    route: str
    when: Literal["before", "after"]
    skip: int = 0
    path: str | None = None
    arrives_late: bool = False
    while_running: bool = False
    """It is the first such request after the job has come into state Running, where it is kept meanwhile."""
    whole: bool = False
    """The run is one of the whole job, data and all; the others begin with what comes after the data."""
    daemon: bool = False
    """A daemon in a process of its own starts the runs; for the others its code is called here."""
    takes_over: bool = False
    """The endpoint has an older deployment with all the traffic."""
    beside: bool = False
    """A run of another recipe goes on beside it; `PHI_TEST_BESIDE=1` has one everywhere."""
    actions: dict[str, str] = field(default_factory=dict)
    """What the second run says that it did."""

    def fault(self, path: str | None = None) -> dict[str, Any]:
        """As `Control.add_fault` takes it; `path` is a narrower one than the point's."""
        return {
            "action": "hold",
            "count": 1,
            "method": self.method,
            "route": self.route,
            "when": self.when,
            "skip": self.skip,
            "path": path or self.path,
        }


TRAINING = ["finetune_compute", "finetune_job", "registered_model"]
SERVING = ["online_endpoint", "online_deployment", "live_traffic", "scoring_result"]

COMPUTE, DATA, BLOB = "/computes/{name}", "/data/{name}/versions/{version}", "/{container}/{name}"
JOB, MODEL = "/jobs/{name}", "/models/{name}/versions/{version}"
ONLINE, DEPLOYMENT, OPERATION = (
    "/onlineendpoints/{endpoint}",
    "/onlineendpoints/{endpoint}/deployments/{name}",
    "/mfeoperationsstatus/{operation}",
)

SUBMITTED, ATTACHED, REUSED = ({"finetune_job": action} for action in ("submitted", "attached", "reused"))

TRAINING_POINTS = {
    "cluster not asked for": Point("PUT", COMPUTE, "before", whole=True, actions={"finetune_compute": "created"}),
    "cluster being created": Point("PUT", COMPUTE, "after", actions={"finetune_compute": "reused"}),
    "train data not uploaded": Point("PUT", BLOB, "before", path="train_sft", actions=SUBMITTED),
    "train data uploaded, not marked complete": Point("PUT", BLOB, "before", path="train_sft", skip=1),
    "train data not registered": Point("PUT", DATA, "before", path="train-sft", actions=SUBMITTED),
    "validation data registered, test data not": Point("PUT", DATA, "after", path="validation-sft", actions=SUBMITTED),
    # Three looks for earlier attempts come first.
    "data registered, no job": Point("GET", JOB, "after", skip=3, actions=SUBMITTED),
    "job not submitted": Point("PUT", JOB, "before", whole=True, actions=SUBMITTED),
    "job on the wire for a long time": Point("PUT", JOB, "before", arrives_late=True, actions=SUBMITTED),
    "job submitted, answer lost": Point("PUT", JOB, "after", daemon=True),
    "job being polled": Point("GET", JOB, "before", whole=True, while_running=True, beside=True, actions=ATTACHED),
    "log being streamed": Point("GET", BLOB, "after", path="user_logs/std_log", while_running=True, actions=ATTACHED),
    "output being verified": Point("GET", "/{container}", "before", actions=REUSED),
    "model not registered": Point("PUT", MODEL, "before", actions={"registered_model": "created"}),
    "model registered, answer lost": Point("PUT", MODEL, "after", actions={"registered_model": "reused"}),
}

SCORE, KEYS = "/endpoints/{endpoint}/score", "/onlineendpoints/{endpoint}/listkeys"

RECIPE = {
    "serving": {"max_concurrent_requests": 8},
    "rollout": {"prompts": ["How are you?", "What is new?"], "observations": 2},
}
SMOKE_QUESTIONS = 3
"""One for the payload contract, and two prompts."""

CREATED, FOUND = {"online_deployment": "created"}, {"online_deployment": "reused"}
MOVED = {"live_traffic": "updated"}

SERVING_POINTS = {
    "endpoint not asked for": Point("PUT", ONLINE, "before", actions={"online_endpoint": "created"}),
    "endpoint being created": Point("PUT", ONLINE, "after", actions={"online_endpoint": "reused"}),
    "deployment not asked for": Point("PUT", DEPLOYMENT, "before", actions=CREATED),
    "deployment accepted, answer lost": Point("PUT", DEPLOYMENT, "after", actions=FOUND),
    "deployment being created": Point("GET", OPERATION, "before", skip=1, takes_over=True, actions=FOUND),
    "smoke gate half way": Point("POST", SCORE, "after", skip=1, actions=FOUND),
    # Each step is one write of the endpoint, and each comparison asks for the key first. What was not processed leaves
    # the state that the step before it leaves, so not every step is killed on both sides.
    "nothing mirrored": Point("PUT", ONLINE, "before", takes_over=True, actions=MOVED),
    "mirror being set": Point("PUT", ONLINE, "after", takes_over=True, actions=MOVED),
    "traffic being moved to 10 %": Point("PUT", ONLINE, "after", skip=1, takes_over=True, beside=True, actions=MOVED),
    "not compared at 10 %": Point("POST", KEYS, "before", skip=2, takes_over=True, actions=MOVED),
    "traffic being moved to 50 %": Point("PUT", ONLINE, "after", skip=2, daemon=True, takes_over=True, actions=MOVED),
    "traffic not at 100 %": Point("PUT", ONLINE, "before", skip=3, takes_over=True, actions=MOVED),
    "traffic being moved to 100 %": Point("PUT", ONLINE, "after", skip=3, takes_over=True, actions=MOVED),
    "not on record as proven": Point("PUT", ONLINE, "before", skip=4, takes_over=True, actions=MOVED),
    "old deployment not deleted": Point("DELETE", DEPLOYMENT, "before", takes_over=True, actions=MOVED),
    "old deployment being deleted": Point("DELETE", DEPLOYMENT, "after", takes_over=True),
    "first question not asked": Point("POST", SCORE, "before", skip=SMOKE_QUESTIONS),
    "last answer lost": Point("POST", SCORE, "after", skip=SMOKE_QUESTIONS + 1),
}

# The new model is slow, which is found out while traffic is mirrored to it; the second write gives the traffic back.
ROLLBACK_POINTS = {
    "traffic not given back": Point("PUT", ONLINE, "before", skip=1, beside=True),
    "traffic being given back": Point("PUT", ONLINE, "after", skip=1, daemon=True),
    "new deployment not deleted": Point("DELETE", DEPLOYMENT, "before"),
    "new deployment being deleted": Point("DELETE", DEPLOYMENT, "after"),
}


# With either storage a killed run has to be found, counted and started again. How it does that depends on these kinds
# of points, and not on which of the workspace's requests the worker was busy with.
ON_SQLITE = {
    "cluster being created",  # the run's first step: none has succeeded
    "job on the wire for a long time",
    "job submitted, answer lost",
    "job being polled",
    "log being streamed",  # while events are written
    "deployment being created",
    "traffic being moved to 10 %",
    "traffic being moved to 50 %",
    "last answer lost",  # the last step: the others are not done again
    "traffic not given back",  # the run that follows ends as a failure
    "traffic being given back",
}
EVERY_POINT_ON_SQLITE = bool(os.environ.get("PHI_TEST_POINTS")) or not postgres.IS_AT_HAND
"""Where there is no PostgreSQL, every point is still killed at."""


def on_sqlite(table: Mapping[str, Point]) -> list[str]:
    """The points of a table that are killed at where the instance is SQLite."""
    return [name for name in table if name in ON_SQLITE or EVERY_POINT_ON_SQLITE]
