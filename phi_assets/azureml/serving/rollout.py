"""Blue/green: a new deployment gets the traffic step by step, and none of it where it is worse than the old one.

Where a rollout stands is read from the endpoint each time, never remembered: live shares, mirrored share, and the name
of the deployment that was live before, noted while the new one has all the traffic and is not proven with it. Whoever
runs it next goes on from there.
"""

import time
from dataclasses import dataclass, field

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.connection.sight import Watched, watching
from phi_assets.azureml.ownership import Owner
from phi_assets.azureml.scoring.client import open_scoring
from phi_assets.azureml.scoring.container_log import last_lines
from phi_assets.azureml.serving.deployments import delete_deployment
from phi_assets.azureml.serving.gates import Comparison, Reply, compare, has_failures
from phi_assets.azureml.serving.reach import within_reach
from phi_assets.azureml.serving.routing import Routing, Shares, in_words
from phi_assets.azureml.serving.scored_gate import Judge
from phi_assets.azureml.serving.traffic import ensure_traffic, move, routing_of
from phi_assets.changes import in_short
from phi_assets.config.recipe import RolloutSection
from phi_assets.refs import DeploymentRef, EndpointRef, TrafficRef

_ALL = 100

_STANDS = "The traffic stays as it is, and the deployments are billing"


@dataclass(frozen=True)
class Step:
    """A distribution of the traffic that was seen on the endpoint, and what was found out while it lasted."""

    seconds: float
    """Since the rollout began."""
    live: Shares
    mirror: Shares
    outcome: str
    comparison: Comparison | None = None


@dataclass(frozen=True)
class Rollout:
    """What became of a rollout."""

    steps: tuple[Step, ...]
    traffic: TrafficRef | None
    """None where the new deployment was turned down."""
    failure: str = ""
    """Why it was, and what serves instead; empty where it has all the traffic."""

    @property
    def summary(self) -> str:
        """What a person reads first."""
        compared = sum(step.comparison is not None for step in self.steps)
        return self.failure or (f"Compared at {compared} steps." if compared else "There was nothing to compare with.")


@dataclass
class _Course:
    """One rollout underway."""

    ws: Workspace
    deployment: DeploymentRef
    section: RolloutSection
    timeout_seconds: float
    owner: Owner
    lease_hours: float | None
    log: Log
    started: float = field(default_factory=time.monotonic)
    steps: list[Step] = field(default_factory=list)

    @property
    def new(self) -> str:
        return self.deployment.name.lower()

    @property
    def watched(self) -> Watched:
        endpoint = self.deployment.endpoint
        rollout = f"Rollout of {self.deployment.name} on endpoint {endpoint}"
        return self.ws.watched(rollout, self.ws.endpoint_studio_url(endpoint), goes_on=_STANDS)

    def move(
        self, routing: Routing, live: Shares, mirror: Shares | None = None, fallback: str | None = None
    ) -> Routing:
        """The endpoint shows this traffic, and its lease has begun anew."""
        return move(self.ws, routing, live, mirror, fallback=fallback, lease_hours=self.lease_hours, log=self.log)

    def note(self, routing: Routing, outcome: str, comparison: Comparison | None = None) -> None:
        """One more step is on record."""
        self.log(f"{in_words(routing.live, routing.mirror)}: {outcome}")
        seconds = round(time.monotonic() - self.started, 1)
        self.steps.append(Step(seconds, dict(routing.live), dict(routing.mirror), outcome, comparison))


def ensure_rollout(
    ws: Workspace,
    endpoint: EndpointRef,
    deployment: DeploymentRef,
    section: RolloutSection,
    *,
    timeout_seconds: float,
    owner: Owner | None = None,
    lease_hours: float | None = None,
    judge: Judge | None = None,
    log: Log = silent,
) -> Rollout:
    """All live traffic goes to the deployment; where it is worse than the old one, all goes back, and it is gone.

    The old deployment has some of the traffic until the new one has passed every step before the last, and exists until
    it has passed the last. Where no other healthy deployment has traffic, as for an endpoint's first one, there is
    nothing to compare with and nothing to lose: it gets all of it at once. Before a new one gets any traffic beside
    another, the `judge` is asked. With `lease_hours` the endpoint's lease begins anew with every move of its traffic.
    What is not the owner's (the project's, unless one is given) loses its traffic and is left alone.

    Raises:
        TrafficFailed: endpoint or deployment are gone, the endpoint is somebody else's, the service refused, or the
            traffic does not become visible.
        SightLost: the service could not be asked for hours; the next call goes on from where the traffic stands.
    """
    course = _Course(ws, deployment, section, timeout_seconds, owner or ws.owner(), lease_hours, log)
    begun = routing_of(ws, endpoint.name, log, owner=course.owner)
    # From here on two deployments may share the traffic, and both are billing.
    with watching(course.watched):
        return _roll_out(course, endpoint, begun, judge)


def _roll_out(course: _Course, endpoint: EndpointRef, begun: Routing, judge: Judge | None) -> Rollout:
    ws, deployment, section, log, routing = course.ws, course.deployment, course.section, course.log, begun
    rivals = _rivals(routing, course.new)
    if judge is not None and rivals and course.new not in {**routing.live, **routing.mirror} and (why := judge()):
        return _turned_down(course, routing, rivals, why)
    while rivals:
        routing = _mirrored(course, routing)
        comparison = _comparison(course, routing, max(rivals, key=lambda name: rivals[name]))
        if not comparison.passed:
            why = f"is worse than {comparison.old}: {'; '.join(comparison.reasons)}"
            return _turned_down(course, routing, rivals, why, comparison)
        course.note(routing, "passed", comparison)
        routing = _next(course, routing, rivals)
        rivals = _rivals(routing, course.new)
    traffic = ensure_traffic(
        ws,
        endpoint,
        deployment,
        log,
        retire=section.retire,
        before=begun.live,
        owner=course.owner,
        lease_hours=course.lease_hours,
    )
    if traffic.action != "reused":
        retired = f"; retired {', '.join(traffic.retired)}" if traffic.retired else ""
        course.note(routing_of(ws, endpoint.name, log), f"all traffic{retired}")
    return Rollout(tuple(course.steps), traffic)


def abandon_rollout(
    ws: Workspace,
    endpoint: EndpointRef,
    deployment: DeploymentRef,
    section: RolloutSection,
    log: Log = silent,
    *,
    owner: Owner | None = None,
    lease_hours: float | None = None,
) -> None:
    """The old deployment has all the traffic again, and nothing of the new one is left to bill.

    A new one that has proven itself, or is the only one that serves, keeps the traffic. One without traffic that was
    there before is left where `retire` keeps such.

    Raises:
        AzureMLError: traffic or deployment could not be changed.
    """
    new, owner = deployment.name.lower(), owner or ws.owner()
    routing = routing_of(ws, endpoint.name, log, owner=owner)
    rivals = _rivals(routing, new)
    if rivals:
        routing = _given_back(ws, routing, rivals, lease_hours, log)
    disposable = section.retire == "delete" or deployment.action == "created"
    if disposable and routing.is_owned(new, owner) and not routing.live.get(new):
        log(f"Deleting deployment {deployment.name}, whose rollout has ended early.")
        delete_deployment(ws, endpoint.name, deployment.name, log)


def _rivals(routing: Routing, new: str) -> Shares:
    """Healthy deployments that the new one has to be compared with, and what they get of the traffic beside it."""
    others = {name: share for name, share in routing.live.items() if name != new and routing.can_serve(name)}
    if not others and routing.fallback and routing.fallback != new and routing.can_serve(routing.fallback):
        return {routing.fallback: 0}
    return others


def _mirrored(course: _Course, routing: Routing) -> Routing:
    """Some of the traffic is copied to the new deployment, if it has none yet and the recipe wants that."""
    mirror = {course.new: course.section.mirror_percent} if course.section.mirror_percent else {}
    if course.new in routing.live or routing.mirror == mirror:
        return routing
    return course.move(routing, routing.live, mirror)


def _comparison(course: _Course, routing: Routing, old: str) -> Comparison:
    share = routing.live.get(course.new, 0)

    def ask() -> Comparison:
        with open_scoring(
            course.ws, routing.endpoint, routing.scoring_uri, timeout_seconds=course.timeout_seconds, log=course.log
        ) as client:
            return compare(client, old, course.new, course.section, occasion=f"{share} %", share=share)

    return within_reach(course.ws, routing.scoring_uri, course.watched, ask, _replies, course.log)


def _replies(comparison: Comparison) -> tuple[Reply, ...]:
    return (*comparison.old_replies, *comparison.new_replies)


def _next(course: _Course, routing: Routing, rivals: Shares) -> Routing:
    """The new deployment has passed a step and gets more of the traffic, or has passed the last one."""
    share = routing.live.get(course.new, 0)
    if share == _ALL:
        return course.move(routing, {course.new: _ALL})
    more = next(step for step in course.section.steps if step > share)
    if more == _ALL:
        fallback = max(rivals, key=lambda name: rivals[name])
        return course.move(routing, {course.new: _ALL}, fallback=fallback)
    return course.move(routing, {**scaled(rivals, _ALL - more), course.new: more})


def _turned_down(
    course: _Course, routing: Routing, rivals: Shares, why: str, comparison: Comparison | None = None
) -> Rollout:
    ws, log, name = course.ws, course.log, course.deployment.name
    course.note(routing, f"failed: it {why}", comparison)
    back = _given_back(ws, routing, rivals, course.lease_hours, log)
    # Its log goes with the deployment.
    is_silent = comparison is not None and has_failures(comparison.new_replies)
    lines = f"\n{last_lines(ws, routing.endpoint, name, log=log)}" if is_silent else ""
    fate = "is not ours and is left without traffic"
    if back.is_owned(course.new, course.owner):
        delete_deployment(ws, routing.endpoint, name, log)
        fate = "has been deleted"
    course.note(back, f"rolled back; {name} {fate}")
    return Rollout(
        tuple(course.steps),
        None,
        f"Deployment {name} of {in_short(course.deployment.model_id)} {why} (at "
        f"{in_words(routing.live, routing.mirror)}). It {fate}; traffic goes to {in_words(back.live)}. Look at "
        "the comparison below, and change the model or the `rollout` section of the recipe before you run again."
        f"{lines}",
    )


def _given_back(ws: Workspace, routing: Routing, rivals: Shares, lease_hours: float | None, log: Log) -> Routing:
    wanted = scaled(rivals, _ALL)
    return routing if routing.shows(wanted, {}, None) else move(ws, routing, wanted, lease_hours=lease_hours, log=log)


def scaled(shares: Shares, total: int) -> dict[str, int]:
    """Whole shares in the same proportions, which add up to `total`; who would get nothing is left out."""
    if not sum(shares.values()):
        shares = dict.fromkeys(shares, 1)
    whole = sum(shares.values())
    exact = {name: share * total / whole for name, share in shares.items()}
    result = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: result[name] - exact[name])
    for name in by_remainder[: total - sum(result.values())]:
        result[name] += 1
    return {name: share for name, share in result.items() if share}
