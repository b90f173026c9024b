"""Fine-tunes side by side: what they were made of, how their losses went, how good they are and what they cost."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from phi_assets.cli.graph import open_graph, which_recipes
from phi_assets.cli.main import main
from phi_assets.cli.tables import print_table

if TYPE_CHECKING:
    import dagster as dg

    from phi_assets.graph.lineage import Lineage

_FIGURES = {
    "loss_first": "loss at first",
    "loss_last": "at last",
    "eval_loss": "on validation data",
    "gpu_hours": "GPU hours",
    "estimated_cost": "cost",
}
_MOST = 1000
"""Materializations of an asset that are looked at."""


@main.command()
@click.argument("jobs", nargs=-1)
@which_recipes
@click.option("--json", "as_json", is_flag=True, help="For programs: with all inputs, equal ones too.")
def compare(jobs: Sequence[str], recipes: Sequence[str], as_json: bool) -> None:
    """Compare the fine-tuning jobs that this Dagster instance has recorded, or JOBS, named as Azure ML names them.

    Shown are the inputs in which they differ (parameters, data, model, component), the losses, the chrF of the
    answers with its 95 % interval, GPU hours and cost. The newest job comes first.
    """
    with open_graph(recipes) as graph:
        found = [each for lineage in graph.lineages for each in _fine_tunes(graph.instance, lineage)]
    known = {each["job"] for each in found}
    if strangers := sorted(set(jobs) - known):
        raise click.ClickException(f"No materialization of finetune_job is of {', '.join(strangers)}.")
    chosen = [each for each in found if not jobs or each["job"] in jobs]
    if as_json:
        click.echo(json.dumps(chosen, indent=2))
    elif not chosen:
        click.echo("No fine-tuning job has been recorded.")
    else:
        print_table([_row(each, _differing(chosen)) for each in chosen], heading=2)


def _fine_tunes(instance: "dg.DagsterInstance", lineage: "Lineage") -> Iterator[dict[str, Any]]:
    """What is recorded of each job of the recipe, the newest job first."""
    # Of several materializations, the newest counts.
    models = {about["job_name"]: about["id"] for about in _recorded(instance, lineage.key("registered_model"))[::-1]}
    scores = {about["model"]: about for about in _recorded(instance, lineage.key("scoring_result"))[::-1]}
    live = next((about["model"] for about in _recorded(instance, lineage.key("live_traffic"))), None)
    seen: set[str] = set()
    for about in _recorded(instance, lineage.key("finetune_job")):
        if (job := about["job_name"]) in seen:
            continue
        seen.add(job)
        model = models.get(job)
        score = scores.get(model, {})
        yield {
            "recipe": lineage.name,
            "job": job,
            "model": model,
            "went_live_last": model is not None and model == live,
            "inputs": about.get("inputs", {}),
            **{key: about.get(key) for key in _FIGURES},
            "currency": about.get("currency"),
            "chrf": score.get("chrf"),
            "chrf_interval": [score.get("chrf_low"), score.get("chrf_high")] if "chrf" in score else None,
            "answers": score.get("dagster/row_count"),
        }


def _recorded(instance: "dg.DagsterInstance", asset: "dg.AssetKey") -> list[dict[str, Any]]:
    """Metadata of the asset's materializations, the newest first."""
    found = [record.asset_materialization for record in instance.fetch_materializations(asset, limit=_MOST).records]
    return [{key: value.value for key, value in each.metadata.items()} for each in found if each is not None]


def _differing(chosen: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the inputs that are not the same for all."""
    names = dict.fromkeys(name for each in chosen for name in each["inputs"])
    return [name for name in names if len({each["inputs"].get(name) for each in chosen}) > 1]


def _row(each: Mapping[str, Any], inputs: Sequence[str]) -> dict[str, str]:
    from phi_assets.changes import in_short

    low, high = each["chrf_interval"] or (None, None)
    return {
        "recipe": each["recipe"],
        "job": each["job"],
        "traffic": "went live last" if each["went_live_last"] else "",
        **{name: in_short(str(each["inputs"].get(name, "-"))) for name in inputs},
        **{words: "-" if each[key] is None else f"{each[key]:.4g}" for key, words in _FIGURES.items()},
        "chrF": "-" if each["chrf"] is None else f"{each['chrf']:.1f} ({low:.1f} to {high:.1f})",
    }
