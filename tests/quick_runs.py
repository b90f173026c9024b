"""Runs of the graph without what nobody looks at in a test, and without doing again what other runs have done.

A run draws the lengths of four samples, a loss curve and how good and quick the answers are, of which most are those of
other runs: a fifth of its time. Dagster writes each event to the console as well, and has a Python process watch each
`tail` by which it does so for what steps print.
"""

import hashlib
import os
import subprocess
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from dagster._core import telemetry
from dagster._core.definitions import scoped_resources_builder
from dagster._core.execution import compute_logs, context_creation_job
from dagster._loggers import colored_console_logger

import phi_assets.graph.dataset.metadata
import phi_assets.graph.scoring.metadata
import phi_assets.graph.serving.rollout_metadata
import phi_assets.graph.training.metadata
from phi_assets.evaluation.report import ScoringReport
from phi_assets.graph.dataset.pictures import token_histogram
from phi_assets.graph.scoring.pictures import latency_picture, quality_picture
from phi_assets.graph.serving.pictures import traffic_timeline
from phi_assets.graph.training.pictures import loss_curve
from tests import quick_sqlite

DRAWN_VARIABLE = "PHI_TEST_DRAWN"
"""The folder of the pictures that any process of this session has drawn."""
_schemas: dict[tuple[Any, ...], Any] = {}
"""By what they are of, and by thread: a schema that is used has a state."""


def _shown(report: ScoringReport, rows: Sequence[Mapping[str, Any]]) -> str:
    others = [(other.figures.chrf, other.chrf_gain) if other else None for other in (report.base, report.champion)]
    return repr((report.figures.chrf, others, [(row["chrf"], row.get("base_chrf")) for row in rows]))


_PICTURES: dict[Any, dict[Callable[..., str], Callable[..., str]]] = {
    # What a picture is known by: all that it shows, but for times and deployments, which are others in each run.
    phi_assets.graph.dataset.metadata: {
        token_histogram: lambda profile: repr(
            (profile.histogram, profile.rows, profile.truncated_rows, profile.context_tokens, profile.token_counter)
        )
    },
    phi_assets.graph.training.metadata: {
        loss_curve: lambda curves: repr({name: [(each.step, each.value) for each in curves[name]] for name in curves})
    },
    phi_assets.graph.scoring.metadata: {
        quality_picture: _shown,
        latency_picture: lambda speed, latencies: f"{speed.concurrency} {len(latencies)}",
    },
    phi_assets.graph.serving.rollout_metadata: {
        traffic_timeline: lambda steps: repr([(*step.live.values(), None, *step.mirror.values()) for step in steps])
    },
}


def use() -> None:
    """From now on this process runs the graph so."""
    quick_sqlite.use()
    for module, pictures in _PICTURES.items():
        for draw, known_by in pictures.items():
            setattr(module, draw.__name__, _drawn_once(draw, known_by))
    compute_logs.execute_posix_tail = _tail
    context_creation_job.default_system_loggers = _as_shipped  # type: ignore[attr-defined]
    # The shipped settings have no telemetry, which would write to a file of the developer's at each step.
    telemetry._get_instance_telemetry_enabled = lambda _: False
    # A step's resources are fields of a class of its own.
    scoped_resources_builder.namedtuple = lambda name, fields: _fields(name, tuple(fields))  # type: ignore[attr-defined]


_fields = lru_cache(namedtuple)


def use_sdk() -> None:
    """From now on the SDK, once it is imported, does not do again what takes it most of a submission.

    It makes the schemas by which it validates a job anew for each, with thousands of fields; here a process keeps them.
    And it searches the source of all its callers for whether to say that a class is experimental, which is never said,
    and for the file that a pipeline is written in, where it would look for components that are named by their paths.
    """
    from azure.ai.ml._utils import _experimental
    from azure.ai.ml.dsl import _pipeline_decorator
    from azure.ai.ml.entities._validation.schema import SchemaValidatableMixin

    _experimental._should_skip_warning = lambda: True
    _pipeline_decorator._resolve_source_file = lambda: None  # type: ignore[attr-defined]
    SchemaValidatableMixin._schema_for_validation = property(_kept_schema)  # type: ignore[assignment]


def validate_a_job() -> None:
    """The schemas of a fine-tuning job exist, for copies of this process to validate theirs by."""
    from azure.ai.ml import Input, dsl, entities

    inputs = {"data": {"type": "uri_file"}, "epochs": {"type": "integer"}}
    outputs: Any = {"model": {"type": "mlflow_model"}}
    component = entities.PipelineComponent(name="any", version="1", inputs=inputs, outputs=outputs, jobs={})
    pipeline: Any = dsl.pipeline

    @pipeline(name="any")
    def fine_tune() -> dict[str, Any]:
        node: Any = component(data=Input(type="uri_file", path="azureml:any:1"), epochs=1)
        return {"model": node.outputs["model"]}

    assert fine_tune()._validate().passed


def _kept_schema(validated: Any) -> Any:
    context = validated._default_context()
    key = (type(validated), threading.get_ident(), *sorted((name, str(value)) for name, value in context.items()))
    if key not in _schemas:
        _schemas[key] = validated._create_schema_for_validation(context=context)
    return _schemas[key]


def _drawn_once(draw: Callable[..., str], known_by: Callable[..., str]) -> Callable[..., str]:
    def drawn(*what: Any) -> str:
        if DRAWN_VARIABLE not in os.environ:
            return draw(*what)
        name = hashlib.sha256(f"{draw.__name__} {known_by(*what)}".encode()).hexdigest()
        kept = Path(os.environ[DRAWN_VARIABLE]) / name
        if not kept.exists():
            partial = kept.with_suffix(f".{os.getpid()}")
            partial.write_text(draw(*what), encoding="utf-8")
            partial.rename(kept)
        return kept.read_text(encoding="utf-8")

    return drawn


@contextmanager
def _tail(path: str, stream: Any) -> Iterator[tuple[int, None]]:
    """The file's content, as it grows, goes to the stream until this process has gone."""
    command = ["tail", f"--pid={os.getpid()}", "-F", "-c", "+0", path]
    with subprocess.Popen(command, stdout=stream if compute_logs._fileno(stream) else None) as tail:
        try:
            yield tail.pid, None
        finally:
            # Whatever it inherited may keep a softer signal from it.
            tail.kill()


def _as_shipped(_: object) -> list[tuple[Any, dict[str, str]]]:
    """Dagster's console has what the shipped instance settings leave there, whatever an instance of a test says."""
    return [(colored_console_logger, {"name": "dagster", "log_level": "INFO"})]
