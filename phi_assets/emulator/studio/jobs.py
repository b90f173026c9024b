"""Jobs and their steps, as their pages show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phi_assets.emulator.runner.metrics import latest
from phi_assets.emulator.runner.pipeline.plan import Plan
from phi_assets.emulator.runner.records import TERMINAL, Records, Run
from phi_assets.emulator.studio import charts, flow
from phi_assets.emulator.studio.logs import LogFile, Tail, log_files, tail_of
from phi_assets.emulator.studio.words import number, seconds_between
from phi_assets.emulator.wire.errors import not_found
from phi_assets.emulator.workspace import assets
from phi_assets.emulator.workspace.context import Emulator

Pairs = tuple[tuple[str, str], ...]
"""Names and what they stand for."""

_WITH_NUMBERS = 50
"""The newest jobs of the list; each costs a look at its files, whenever the list renews itself."""

_ASKED_FIRST = ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "max_steps", "lora_r")
_MOST_PARAMETERS = 8


@dataclass(frozen=True)
class JobRow:
    """A job in the list."""

    name: str
    title: str
    experiment: str
    status: str
    created: str
    seconds: float | None
    now: str
    """The step that is being executed."""
    losses: Pairs
    """The last ones; empty for jobs that nobody looks at any more."""
    parameters: Pairs
    """Those that people ask for first, and those in which the jobs of the list differ; empty as above."""


@dataclass(frozen=True)
class StepBox:
    """A step in the graph; without a run it has not begun."""

    box: flow.Box
    name: str
    component: str
    group: str | None
    run: Run | None
    seconds: float | None


@dataclass(frozen=True)
class Bar:
    """A run on the time line of its job: from `start`, `length` long, in percent of the job's time."""

    run: Run
    depth: int
    seconds: float | None
    start: float
    length: float


@dataclass(frozen=True)
class RunPage:
    """A job, or one of its runs, with all that is known of it."""

    run: Run
    root: Run
    parents: tuple[Run, ...]
    seconds: float | None
    steps: tuple[StepBox, ...]
    drawing: flow.Drawing
    bars: tuple[Bar, ...]
    metrics: charts.Metrics
    parameters: tuple[tuple[str, str], ...]
    data: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, dict[str, Any]], ...]
    models: tuple[str, ...]
    """Ids `name:version` of the models that were registered from the job."""
    logs: tuple[LogFile, ...]
    tail: Tail | None

    @property
    def is_root(self) -> bool:
        """Whether it is the job itself."""
        return self.run["run_id"] == self.root["run_id"]

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more."""
        return self.root["status"] in TERMINAL


def job_rows(emulator: Emulator) -> list[JobRow]:
    """All jobs that are not archived, the newest first."""
    records = Records(emulator)
    jobs = [job for job in reversed(emulator.store.list("job")) if not job["properties"].get("isArchived")]
    families = {job["name"]: records.family(job["name"]) for job in jobs}
    # One that is made or deleted at this moment has no run of its own.
    jobs = [job for job in jobs if any(run["run_id"] == job["name"] for run in families[job["name"]][:1])]
    given = {job["name"]: parameters_of(families[job["name"]]) for job in jobs[:_WITH_NUMBERS]}
    told = _told(list(given.values()))
    return [
        _row(
            records,
            job,
            families[job["name"]],
            losses=_losses(records, families[job["name"]][0]) if job["name"] in given else (),
            parameters=tuple((name, given[job["name"]][name]) for name in told if name in given.get(job["name"], {})),
        )
        for job in jobs
    ]


def run_page(emulator: Emulator, run_id: str, log: str | None = None) -> RunPage:
    """The page of a job or of one of its runs; `log` is the key of the log to show.

    Raises:
        ServiceError: 404 if there is no such run.
    """
    records = Records(emulator)
    run = records.run(run_id)
    root = records.run(run["root_run_id"]) if run is not None else None
    if run is None or root is None:
        raise not_found("Run", run_id)
    family = records.family(root["run_id"])
    below, given = _below(family, run_id), inputs_of(family, run)
    plan = (records.job(root["run_id"]) or {}).get("plan") or _plan_of_runs(family)
    drawing = flow.draw({step["key"]: step["needs"] for step in plan})
    return RunPage(
        run=run,
        root=root,
        parents=_parents(family, run),
        seconds=seconds_between(run["started"] or run["created"], run["ended"]),
        steps=_boxes(plan, drawing, family),
        drawing=drawing,
        bars=_bars(root, family),
        metrics=charts.picture(records.metrics(run)),
        parameters=tuple((name, str(v["value"])) for name, v in given.items() if v.get("value") is not None),
        data=tuple((name, v["uri"]) for name, v in given.items() if v.get("uri")),
        outputs=tuple(run["outputs"].items()),
        models=models_of(emulator, root["run_id"]),
        logs=tuple(log_files(below)),
        tail=tail_of(emulator, below, log),
    )


def inputs_of(family: Sequence[Run], run: Run) -> dict[str, dict[str, Any]]:
    """What the run was given.

    A job mostly has no inputs of its own: then it is what its only node was given, or the data that its nodes were.
    """
    nodes = [child for child in family if child["parent_run_id"] == run["run_id"]]
    if run["inputs"] or not nodes:
        return run["inputs"]
    if len(nodes) == 1:
        return nodes[0]["inputs"]
    made = {output["uri"] for each in family for output in each["outputs"].values()}
    return {
        f"{node['display_name']}: {name}": value
        for node in nodes
        for name, value in node["inputs"].items()
        if value.get("uri") and value["uri"] not in made
    }


def parameters_of(family: Sequence[Run]) -> dict[str, str]:
    """The values that a job was given, by their names; data is none of them."""
    given = inputs_of(family, family[0]) if family else {}
    return {name: str(each["value"]) for name, each in given.items() if each.get("value") is not None}


def models_of(emulator: Emulator, job: str) -> tuple[str, ...]:
    """Ids `name:version` of the models that come from the job."""
    found = emulator.store.list(assets.MODELS.kind)
    return tuple(f"{model['name']}:{model['version']}" for model in found if model["properties"].get("jobName") == job)


def _row(records: Records, job: dict[str, Any], family: Sequence[Run], *, losses: Pairs, parameters: Pairs) -> JobRow:
    run = family[0]
    active = [child for child in family[1:] if child["status"] not in TERMINAL]
    return JobRow(
        name=job["name"],
        title=job["properties"].get("displayName") or job["name"],
        experiment=job["properties"].get("experimentName") or "Default",
        status=job["status"],
        created=job["created"],
        seconds=seconds_between(run["started"] or run["created"], run["ended"]),
        now=active[-1]["display_name"] if active and job["status"] not in TERMINAL else "",
        losses=losses,
        parameters=parameters,
    )


def _losses(records: Records, run: Run) -> Pairs:
    last = {point.name: point.value for point in latest(records.metrics(run)) if point.is_finite}
    return tuple((name, number(last[name])) for name in ("loss", "eval_loss") if name in last)


def _told(given: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """Names of the parameters that the list tells: what people ask for first, then what differs."""
    names = dict.fromkeys(name for each in given for name in each)
    differing = [name for name in names if len({each[name] for each in given if name in each}) > 1]
    first = [name for name in _ASKED_FIRST if name in names]
    return tuple(dict.fromkeys([*first, *differing]))[:_MOST_PARAMETERS]


def _below(family: Sequence[Run], run_id: str) -> list[Run]:
    """The run and all runs below it; parents come before their children in `family`."""
    included = {run_id}
    for run in family:
        if run["parent_run_id"] in included:
            included.add(run["run_id"])
    return [run for run in family if run["run_id"] in included]


def _parents(family: Sequence[Run], run: Run) -> tuple[Run, ...]:
    by_id = {each["run_id"]: each for each in family}
    found: list[Run] = []
    while run["parent_run_id"] in by_id:
        run = by_id[run["parent_run_id"]]
        found.insert(0, run)
    return tuple(found)


def _plan_of_runs(family: Sequence[Run]) -> Plan:
    """For jobs of an older emulator, which kept no plan: the steps that have begun, one after the other."""
    parents = {run["parent_run_id"] for run in family}
    leaves = [run for run in family if run["run_id"] not in parents]
    return [
        {
            "key": run["run_id"],
            "name": run["display_name"],
            "component": run["component_id"] or "",
            "compute": run["compute"] or "",
            "group": None,
            "needs": [leaves[index - 1]["run_id"]] if index else [],
        }
        for index, run in enumerate(leaves)
    ]


def _boxes(plan: Plan, drawing: flow.Drawing, family: Sequence[Run]) -> tuple[StepBox, ...]:
    runs = {run.get("key") or run["run_id"]: run for run in family}
    places = {box.key: box for box in drawing.boxes}
    found = []
    for step in plan:
        run = runs.get(step["key"])
        seconds = seconds_between(run["started"], run["ended"]) if run else None
        found.append(StepBox(places[step["key"]], step["name"], step["component"], step["group"], run, seconds))
    return tuple(found)


def _bars(root: Run, family: Sequence[Run]) -> tuple[Bar, ...]:
    whole = seconds_between(root["created"], root["ended"]) or 1.0
    depth = {root["run_id"]: 0}
    found = []
    for run in _as_tree(family):
        depth[run["run_id"]] = depth.get(run["parent_run_id"] or "", -1) + 1
        start = seconds_between(root["created"], run["started"] or run["created"]) or 0.0
        seconds = seconds_between(run["started"], run["ended"])
        share = min(100 * start / whole, 100.0)
        length = min(100 * (seconds or 0.0) / whole, 100.0 - share)
        found.append(Bar(run, depth[run["run_id"]], seconds, round(share, 2), round(max(length, 0.4), 2)))
    return tuple(found)


def _as_tree(family: Sequence[Run], parent: str | None = None) -> list[Run]:
    found: list[Run] = []
    for run in family:
        if run["parent_run_id"] == parent:
            found += [run, *_as_tree(family, run["run_id"])]
    return found
