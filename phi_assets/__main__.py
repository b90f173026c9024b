"""`python -m phi_assets`: materialize the whole graph in this process and say what came of it."""

import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from phi_assets.settings import PROJECT_ROOT, Settings, SettingsError, load_settings, read_env_file


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Fine-tune, register, deploy and score a chat model; on the local emulator unless PHI_TARGET=azure."""
    read_env_file()
    os.environ.setdefault("DAGSTER_HOME", str(PROJECT_ROOT / ".dagster"))
    if context.invoked_subcommand is None:
        context.invoke(materialize)


@main.command()
def materialize() -> None:
    """Materialize every asset, then print a summary."""
    settings, result = _run("finetune_and_deploy")
    _print_summary(settings, result)


@main.command()
def preflight() -> None:
    """Look at everything that can be known to go wrong with the recipe; seconds, and nothing is changed."""
    _, result = _run("preflight")
    [event] = result.get_asset_materialization_events()
    metadata = event.step_materialization_data.materialization.metadata
    for key in ("workspace", "identity", "tenant", "model", "component"):
        click.echo(f"{key}: {metadata[key].value}")
    if "estimated_cost" in metadata:
        hours, cost, currency = (metadata[key].value for key in ("estimated_hours", "estimated_cost", "currency"))
        click.echo(f"estimate: {hours:g} hours of fine-tuning; {cost:g} {currency} with the endpoint's lease")
    click.echo(metadata["reason"].value)


@main.command()
@click.option("--keep-cluster", is_flag=True, help="Leave the recipe's cluster, which costs nothing while it is idle.")
@click.option("--models", is_flag=True, help="Also delete the registered versions of the recipe's model.")
def teardown(keep_cluster: bool, models: bool) -> None:
    """List and delete what the recipe has made and is billing, and say what still is."""
    config = {"cluster": not keep_cluster, "models": models}
    _, result = _run("teardown", {"tear_down_recipe": {"config": config}})
    _print_bill(result)


@main.command("still-billing")
def still_billing() -> None:
    """Show everything in the workspace that is billing: age, price an hour, owner, lease, orphans."""
    _, result = _run("list_billing")
    _print_bill(result)


def _run(job: str, ops: dict[str, Any] | None = None) -> tuple[Settings, Any]:
    """The job has run in this process, on the instance of DAGSTER_HOME; ends the program where it failed."""
    from phi_assets.recipe_file import RecipeError, load_recipe

    try:
        settings = load_settings()
        recipe = load_recipe(settings.recipe)
    except (SettingsError, RecipeError) as error:
        raise click.ClickException(str(error)) from error

    import dagster as dg

    from phi_assets.automation.console import calm_console
    from phi_assets.definitions import build_definitions

    definitions = build_definitions(settings, recipe, loggers={"console": calm_console})
    # What the steps print is the jobs' own logs, line by line; the console logger tells what a person wants to know.
    with dg.DagsterInstance.get() as instance, Path(os.devnull).open("w") as sink, redirect_stdout(sink):
        result = definitions.resolve_job_def(job).execute_in_process(
            instance=instance, raise_on_error=False, run_config={"loggers": {"console": {}}, "ops": ops or {}}
        )
    if not result.success:
        click.echo(f"\nRun {result.run_id} of job {job} failed; the reason stands above.", err=True)
        sys.exit(1)
    return settings, result


def _print_bill(result: Any) -> None:
    """The last listing of the run, as a table."""
    import rich
    from rich.table import Table

    from phi_assets.assets.operations import still_billing as asset

    events = [event for event in result.get_asset_materialization_events() if event.asset_key == asset.key]
    metadata = events[-1].step_materialization_data.materialization.metadata
    rows = [record.data for record in metadata["billing"].records]
    if rows:
        shown = Table(*rows[0])
        for row in rows:
            shown.add_row(*map(str, row.values()))
        rich.print(shown)
    click.echo(metadata["summary"].value)
    if rows:
        click.echo(f"Prices: {metadata['prices'].value}; the workspace is in {metadata['region'].value}.")


def _print_summary(settings: Settings, result: Any) -> None:
    import rich
    from rich.panel import Panel
    from rich.table import Table

    from phi_assets.dataset.jsonl import read_jsonl
    from phi_assets.evaluation.report import read_scoring_report

    job = result.asset_value("finetune_job")
    model = result.asset_value("registered_model")
    traffic = result.asset_value("live_traffic")
    scores = result.asset_value("scoring_result")
    sample = next(iter(read_jsonl(Path(scores.jsonl))))

    summary = Table.grid(padding=(0, 2))
    summary.add_column(style="bold", no_wrap=True)
    summary.add_column(overflow="fold")
    summary.add_row("workspace", f"{settings.workspace_name} ({settings.target})")
    summary.add_row("job", f"{job.name} ({job.action})")
    summary.add_row("its page", job.studio_url)
    if "eval_loss_before" in job.metrics:
        summary.add_row("loss", f"{job.metrics['eval_loss_before']:.3f} before, {job.metrics['eval_loss']:.3f} after")
    summary.add_row("model", f"{model.name}:{model.version} ({model.action})")
    summary.add_row("endpoint", f"{traffic.endpoint} {traffic.scoring_uri}")
    summary.add_row("question", sample["prompt"])
    summary.add_row("answer", f"[green]{sample['answer']}[/green]")
    if sample["base_answer"] is not None:
        summary.add_row("base model's answer", f"[red]{sample['base_answer']}[/red]")
    summary.add_row("quality", _quality(read_scoring_report(Path(scores.report))))
    python = os.path.relpath(sys.executable)
    summary.add_row(
        "open the UI", f'DAGSTER_HOME="$PWD/.dagster" {os.path.join(os.path.dirname(python), "dagster")} dev'
    )
    summary.add_row("what is billing", f"{python} -m phi_assets still-billing")
    summary.add_row("delete the endpoint", f"{python} -m phi_assets teardown")
    rich.print(Panel(summary, title="Fine-tuned, registered, deployed, scored", expand=False))


def _quality(report: Any) -> str:
    base = report.base
    gain = f"; the base model's {base.figures.chrf}: better by {base.chrf_gain}" if base and base.chrf_gain else ""
    return f"chrF {report.figures.chrf or 'unknown: no reference'}{gain}, of {report.figures.answers} answers"


if __name__ == "__main__":
    main(prog_name="python -m phi_assets")
