"""What came of a run, for people."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phi_assets.changes import in_short
from phi_assets.cli.instance import ui_command
from phi_assets.config.settings import Settings

if TYPE_CHECKING:
    from phi_assets.graph.lineage import Lineage


def print_left_job(result: Any) -> bool:
    """Name, page and next step of a job that the run has left to itself; False where it has left none."""
    made = {event.asset_key for event in result.get_asset_materialization_events()}
    for event in result.all_events:
        seen = event.asset_observation_data.asset_observation if event.event_type_value == "ASSET_OBSERVATION" else None
        if seen is None or seen.asset_key in made or "job_name" not in seen.metadata:
            continue
        click.echo(f"Job {seen.metadata['job_name'].value} goes on, and no run waits for it.")
        click.echo(f"its page: {seen.metadata['studio'].value}")
        click.echo("Run the command again once it has ended; or switch on the sensor detached_jobs, which does that.")
        return True
    return False


def print_summary(settings: Settings, lineage: "Lineage", result: Any, billing: str) -> None:
    """How good the model is, the job, the losses, the model, one question with its answer, and what to do next.

    `billing` is what is billing now, in a sentence.
    """
    from rich.console import Console

    from phi_assets.dataset.files.jsonl import read_jsonl
    from phi_assets.evaluation.report import read_scoring_report

    job = result.asset_value(lineage.key("finetune_job"))
    model = result.asset_value(lineage.key("registered_model"))
    traffic = result.asset_value(lineage.key("live_traffic"))
    scores = result.asset_value(lineage.key("scoring_result"))
    sample = next(row for row in read_jsonl(Path(scores.jsonl)) if not row["failure"])
    report = read_scoring_report(Path(scores.report))
    python = os.path.relpath(sys.executable)
    lines = [
        ("against the champion", _against_champion(report), ""),
        ("quality", _quality(report), ""),
        ("loss", _losses(job.metrics), ""),
        ("job", f"{job.name} ({job.action})", ""),
        ("its page", job.studio_url, ""),
        ("model", f"{model.name}:{model.version} ({model.action})", ""),
        ("endpoint", f"{traffic.endpoint} in workspace {settings.workspace_name} ({settings.target})", ""),
        ("scoring URI", traffic.scoring_uri, ""),
        ("question", sample["prompt"], ""),
        ("answer", sample["answer"], "green"),
        ("base model's answer", sample["base_answer"] or "", "red"),
        ("open the UI", ui_command(os.environ), ""),
        ("what is billing", billing, ""),
        ("delete the endpoint", f"{python} -m phi_assets teardown", ""),
    ]
    console = Console(highlight=False)
    console.print(f"\n{lineage.name}: fine-tuned, registered, deployed, scored", style="bold")
    for label, text, style in lines:
        if text:
            # Neither cut nor broken: what is a link can be clicked, what is a command can be copied.
            said = text.replace("\n", f"\n{'':<24}")
            console.print(f"  {label:<21} {said}", style=style, markup=False, soft_wrap=True)


def _against_champion(report: Any) -> str:
    other = report.champion
    if other is None or other.chrf_gain is None:
        return report.champion_note
    return f"{in_short(other.model_id)}: {other.in_words(report.margin)}"


def _losses(metrics: dict[str, float]) -> str:
    """How the losses went, as far as the component has recorded them."""
    said = []
    if "loss_first" in metrics:
        said.append(f"{metrics['loss_first']:.3f} at first, {metrics['loss_last']:.3f} at last")
    if "eval_loss" in metrics:
        before = f"{metrics['eval_loss_before']:.3f} before, " if "eval_loss_before" in metrics else ""
        said.append(f"on validation data {before}{metrics['eval_loss']:.3f} after training")
    return "; ".join(said)


def _quality(report: Any) -> str:
    base = report.base
    gain = f"; the base model's {base.figures.chrf}: better by {base.chrf_gain}" if base and base.chrf_gain else ""
    failed = f"; the model failed at {report.failed} more questions" if report.failed else ""
    return f"chrF {report.figures.chrf or 'unknown: no reference'}{gain}, of {report.figures.answers} answers{failed}"
