"""Scoring beside the seed's way: `python -m tests.benchmarks.scoring`.

An emulator in a temporary folder serves the quickstart's base model, as the seed deploys a model. Every contestant
asks it the same prompts with greedy decoding, once in every round, one contestant after the other, so that whatever
else the machine does falls on all of them. The seed asks with the SDK's `invoke`, one request after the other; ours
is the scoring client, opened anew in every run, with 1, 8 and 32 requests underway. The deployment has two workers, of
which a client with one request at a time can use one. Emulator, workers and contestant share the machine's cores.
"""

import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from phi_assets.emulator import process
from tests.benchmarks.report import (
    BenchmarkError,
    Log,
    Verdict,
    benchmarking,
    figures_table,
    machine,
    verdict_table,
    write_json,
)
from tests.connections import workspace_of

if TYPE_CHECKING:
    from phi_assets.azureml.connection.client import Workspace

Turns = list[dict[str, str]]

_PACKAGE = Path(process.__file__).parents[1]
PHI3_TINY = _PACKAGE / "emulator" / "registry" / "models" / "phi3-tiny"
_PROMPTS = _PACKAGE / "dataset" / "bundled" / "data" / "test_gen-00000-of-00001.parquet"

SEED = "seed-invoke"
CONTESTANTS = {SEED: 0, "ours-1": 1, "ours-8": 8, "ours-32": 32}
"""How many requests are underway; the seed's way has no choice."""

_MOST_AT_ONCE = 32
_WORKERS = 2
"""Processes behind the deployment, for whoever asks: one for each core."""
_TIMEOUT_SECONDS = 90
_WARM_UP = 8


@dataclass(frozen=True)
class Run:
    """One run of one contestant."""

    wall_s: float
    latencies_s: list[float]
    """Of each request, as its caller sees it: for the seed, the whole of `invoke`."""
    texts: list[str] = field(repr=False)


@dataclass
class Report:
    """Everything that was measured."""

    requests: int
    max_new_tokens: int
    machine: dict[str, str]
    runs: dict[str, list[Run]] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)

    def rates(self, name: str) -> list[float]:
        """Requests per second, in every round."""
        return [self.requests / run.wall_s for run in self.runs[name]]

    def rate(self, name: str) -> float:
        """Median of the requests per second."""
        return statistics.median(self.rates(name))

    def latency_ms(self, name: str, percent: int) -> float:
        """A percentile of the latencies of all rounds."""
        latencies = sorted(latency for run in self.runs[name] for latency in run.latencies_s)
        return 1000 * latencies[min(len(latencies) - 1, len(latencies) * percent // 100)]


@dataclass(frozen=True)
class Target:
    """How many times the seed's requests per second a contestant has to reach; None where it is only reported."""

    name: str
    at_least: float | None


TARGETS = (Target("ours-1", None), Target("ours-8", None), Target("ours-32", 8))


def benchmark(
    scratch: Path,
    *,
    rounds: int,
    requests: int,
    max_new_tokens: int = 48,
    model: Path = PHI3_TINY,
    log: Log = print,
) -> Report:
    """Each contestant has asked all prompts once in every round, of an emulator in `scratch` that is stopped again.

    Raises:
        BenchmarkError: two contestants got different answers to a prompt.
    """
    prompts = read_prompts(requests)
    report = Report(
        len(prompts),
        max_new_tokens,
        {"cores": str(os.cpu_count()), **machine("azure-ai-ml", "httpx", "torch", "transformers")},
        {name: [] for name in CONTESTANTS},
    )
    with _served(scratch, model) as ws:
        arena = _Arena(ws, scratch, prompts, {"do_sample": False, "max_new_tokens": max_new_tokens})
        for name in CONTESTANTS:
            arena.run(name, _WARM_UP)
        names = list(CONTESTANTS)
        for number in range(rounds):
            turn = number % len(names)
            for name in (*names[turn:], *names[:turn]):
                run = arena.run(name)
                report.runs[name].append(run)
                log(f"round {number + 1}/{rounds}  {name}: {len(prompts) / run.wall_s:.1f} requests/s")
    check_agreement(report)
    report.verdicts = [_judge(report, target) for target in TARGETS]
    return report


def read_prompts(count: int) -> list[Turns]:
    """Conversations of the bundled `test_gen`, each up to its last question, from the beginning again if too few."""
    import pyarrow.parquet as pq

    rows = pq.read_table(_PROMPTS, columns=["messages"]).to_pylist()
    prompts = [row["messages"] for row in rows]
    asked = [turns[:-1] if turns[-1]["role"] == "assistant" else turns for turns in prompts]
    return [asked[index % len(asked)] for index in range(count)]


def check_agreement(report: Report) -> None:
    """Every run of every contestant got the same answers.

    Raises:
        BenchmarkError: one did not; the message has the first such answer.
    """
    expected = report.runs[SEED][0].texts
    for name, runs in report.runs.items():
        for run in runs:
            for index, (text, wanted) in enumerate(zip(run.texts, expected, strict=True)):
                if text != wanted:
                    raise BenchmarkError(f"{name} got {text!r} to prompt {index}, {SEED} got {wanted!r}")


class _Arena:
    """The deployment that is asked, and how a contestant asks it."""

    def __init__(self, ws: "Workspace", scratch: Path, prompts: Sequence[Turns], parameters: dict[str, Any]) -> None:
        self._ws, self._prompts, self._parameters = ws, prompts, parameters
        self._endpoint: Any = ws.ml.online_endpoints.get(_ENDPOINT)
        self._files = [scratch / f"prompt-{index}.json" for index in range(len(prompts))]
        for file, turns in zip(self._files, prompts, strict=True):
            body = {"input_data": {"input_string": [turns], "parameters": parameters}, "params": {}}
            file.write_text(json.dumps(body), encoding="utf-8")

    def run(self, name: str, limit: int | None = None) -> Run:
        """All prompts asked, or the first ones."""
        started = time.perf_counter()
        concurrency = CONTESTANTS[name]
        texts, latencies = self._ours(concurrency, limit) if concurrency else self._seed(limit)
        return Run(time.perf_counter() - started, latencies, texts)

    def _seed(self, limit: int | None) -> tuple[list[str], list[float]]:
        texts, latencies = [], []
        for file in self._files[:limit]:
            started = time.perf_counter()
            response = self._ws.ml.online_endpoints.invoke(
                endpoint_name=_ENDPOINT, deployment_name=_DEPLOYMENT, request_file=str(file)
            )
            latencies.append(time.perf_counter() - started)
            texts.append(json.loads(response)[0]["0"])
        return texts, latencies

    def _ours(self, concurrency: int, limit: int | None) -> tuple[list[str], list[float]]:
        from phi_assets.azureml.scoring.client import open_scoring

        uri = str(self._endpoint.scoring_uri)
        with open_scoring(self._ws, _ENDPOINT, uri, timeout_seconds=_TIMEOUT_SECONDS) as client:
            answers = client.ask_each(
                self._prompts[:limit], self._parameters, deployment=_DEPLOYMENT, concurrency=concurrency
            )
        return [answer.text for answer in answers], [answer.seconds for answer in answers]


_ENDPOINT, _DEPLOYMENT = "scoring-benchmark", "demo"


@contextmanager
def _served(scratch: Path, model: Path) -> Iterator["Workspace"]:
    """The workspace of an emulator of its own, in which the model is deployed as the seed does it."""
    directory = scratch / "emulator"
    try:
        with workspace_of(process.ensure_running(directory)) as ws:
            _deploy(ws, model)
            yield ws
    finally:
        process.stop(directory)


def _deploy(ws: "Workspace", folder: Path) -> None:
    from azure.ai.ml.entities import (
        ManagedOnlineDeployment,
        ManagedOnlineEndpoint,
        Model,
        OnlineRequestSettings,
        ProbeSettings,
    )

    ml: Any = ws.ml
    model = ml.models.create_or_update(Model(name="phi3-tiny", version="1", path=str(folder), type="mlflow_model"))
    endpoint = ManagedOnlineEndpoint(name=_ENDPOINT, auth_mode="key")
    ml.online_endpoints.begin_create_or_update(endpoint).wait()
    deployment = ManagedOnlineDeployment(
        name=_DEPLOYMENT,
        endpoint_name=_ENDPOINT,
        model=model.id,
        instance_type="Standard_NC24ads_A100_v4",
        instance_count=1,
        environment_variables={"WORKER_COUNT": str(_WORKERS)},
        liveness_probe=ProbeSettings(initial_delay=10),
        request_settings=OnlineRequestSettings(
            request_timeout_ms=_TIMEOUT_SECONDS * 1000, max_concurrent_requests_per_instance=_MOST_AT_ONCE
        ),
    )
    ml.online_deployments.begin_create_or_update(deployment).wait()
    endpoint.traffic = {_DEPLOYMENT: 100}
    ml.online_endpoints.begin_create_or_update(endpoint).wait()


def _judge(report: Report, target: Target) -> Verdict:
    ratios = [ours / seed for ours, seed in zip(report.rates(target.name), report.rates(SEED), strict=True)]
    measured = statistics.median(ratios)
    wanted = "-" if target.at_least is None else f">= {target.at_least:g}"
    ok = target.at_least is None or measured >= target.at_least
    return Verdict(f"{target.name}: times the seed's requests/s", wanted, measured, min(ratios), max(ratios), ok)


def _print(report: Report, console: Console) -> None:
    latencies = (50, 95, 99)
    rates = figures_table("contestant", "requests/s", *(f"p{percent} ms" for percent in latencies))
    for name in report.runs:
        row = [f"{report.latency_ms(name, percent):,.0f}" for percent in latencies]
        rates.add_row(name, f"{report.rate(name):,.1f}", *row)
    console.print(rates)
    console.print(verdict_table("ratio", report.verdicts))
    console.print(f"all contestants got the same answers to {report.requests} prompts in every round")


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--requests", default=128, show_default=True, type=click.IntRange(1), help="Prompts in every run.")
@click.option("--tokens", default=48, show_default=True, type=click.IntRange(1), help="Most new tokens of an answer.")
@click.option("--scratch", type=click.Path(file_okay=False, path_type=Path), help="Where to write; temporary if none.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write every run here.")
def main(rounds: int, requests: int, tokens: int, scratch: Path | None, json_file: Path | None) -> None:
    """Measure the scoring client beside the seed's sequential `invoke`, on an endpoint of a local emulator."""
    with benchmarking(scratch) as (console, folder):
        report = benchmark(folder, rounds=rounds, requests=requests, max_new_tokens=tokens, log=console.print)
    _print(report, console)
    write_json(json_file, report)


if __name__ == "__main__":
    main()
