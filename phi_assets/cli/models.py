"""Commands about models: which can be fine-tuned, a question to the live one, and a copy of one."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phi_assets.cli.graph import loaded_recipes, open_workspace, which_recipe
from phi_assets.cli.main import main
from phi_assets.cli.tables import print_table

if TYPE_CHECKING:
    from phi_assets.azureml.scoring.client import ScoringClient
    from phi_assets.config.recipe import Recipe

_system = click.option("--system", default=None, help="What the model is told about its part, before the question.")


@main.command()
@click.argument("question")
@which_recipe
@_system
@click.option("--deployment", default=None, help="Ask this deployment, whatever the traffic.")
def ask(question: str, recipe: str | None, system: str | None, deployment: str | None) -> None:
    """Ask the recipe's live model a QUESTION, and print its answer; `-` reads the question from standard input."""
    text = sys.stdin.read().strip() if question == "-" else question
    with _live_model(recipe) as (client, parameters):
        click.echo(_answer(client, [*_opening(system), {"role": "user", "content": text}], parameters, deployment))


@main.command()
@which_recipe
@_system
def chat(recipe: str | None, system: str | None) -> None:
    """Talk with the recipe's live model; an empty line, or the end of the input, ends it."""
    turns = _opening(system)
    with _live_model(recipe) as (client, parameters):
        while text := click.prompt("you", default="", show_default=False, err=True).strip():
            turns.append({"role": "user", "content": text})
            answer = _answer(client, turns, parameters, None)
            click.echo(answer)
            turns.append({"role": "assistant", "content": answer})


@main.command()
@click.option("--to", required=True, type=click.Path(path_type=Path), help="Folder that must not exist yet.")
@which_recipe
@click.option("--version", default=None, help="Version of the registered model; the newest unless given.")
def export(to: Path, recipe: str | None, version: str | None) -> None:
    """Copy the recipe's registered model from the workspace's storage into a folder: an MLflow model."""
    settings, (chosen, *_) = loaded_recipes([recipe] if recipe else ())
    with open_workspace(settings) as ws:
        from phi_assets.azureml.models.export import export_model, newest_version

        name = chosen.registered_model_name
        number = version or newest_version(ws, name)
        try:
            export_model(ws, name, number, to, on_file=lambda file, size: click.echo(f"{size:>13,}  {file}", err=True))
        except FileExistsError as error:
            raise click.ClickException(str(error)) from error
    click.echo(f"Model {name}:{number} is in {to}.")


@main.command()
@click.argument("words", default="phi")
@which_recipe
@click.option("--all", "everything", is_flag=True, help="Also those that may not be fine-tuned for chat completion.")
def models(words: str, recipe: str | None, everything: bool) -> None:
    """List the models of the recipe's registry whose names contain WORDS (`phi` unless given).

    Shown are the newest version, what it may be fine-tuned for, the end of its support, and the VM sizes that may
    fine-tune and serve it.
    """
    settings, (chosen, *_) = loaded_recipes([recipe] if recipe else ())
    with open_workspace(settings) as ws:
        from phi_assets.azureml.models.registry import model_names

        names = [name for name in model_names(ws, chosen.model.registry) if words.lower() in name.lower()]
        rows = [row for name in sorted(names) if (row := _about(ws, chosen, name, everything)) is not None]
    if rows:
        print_table(rows)
    else:
        click.echo(f"Registry {chosen.model.registry} has no model for chat completion with {words!r} in its name.")


def _about(ws: Any, recipe: "Recipe", name: str, everything: bool) -> dict[str, str] | None:
    from phi_assets.azureml.connection.errors import ModelNotFound
    from phi_assets.azureml.models.registry import read_registry_model
    from phi_assets.azureml.preflight.successors import TASK

    section = recipe.model.model_copy(update={"name": name, "version": "latest"})
    try:
        model = read_registry_model(ws, section)
    except ModelNotFound:
        # Archived since the list was read.
        return None
    tasks = model.finetuning_tasks
    if not everything and tasks is not None and TASK not in tasks:
        return None
    dates = (f"{what} {day.isoformat()}" for (_, what), day in model.life_dates.items())
    return {
        "model": f"{model.name}:{model.version}",
        "fine-tuning": "unknown" if tasks is None else ", ".join(tasks) or "none",
        "lifecycle": ", ".join(dates) or "-",
        "fine-tuned on": _sizes(model.finetune_sizes),
        "served on": _sizes(model.inference_sizes),
    }


def _sizes(sizes: tuple[str, ...] | None) -> str:
    return "unknown" if sizes is None else " ".join(sizes) or "none"


@contextmanager
def _live_model(recipe: str | None) -> "Iterator[tuple[ScoringClient, dict[str, Any]]]":
    """A client of the recipe's endpoint, and how the recipe asks."""
    settings, (chosen, *_) = loaded_recipes([recipe] if recipe else ())
    with open_workspace(settings) as ws:
        from phi_assets.azureml.connection.errors import EndpointFailed
        from phi_assets.azureml.scoring.client import open_scoring
        from phi_assets.azureml.serving.endpoints import recipes_endpoint

        endpoint = recipes_endpoint(ws, chosen.serving, ws.owner(chosen.name))
        if endpoint is None or not any((endpoint.traffic or {}).values()):
            raise EndpointFailed(
                f"Recipe {chosen.name} has no endpoint with live traffic in workspace {ws.name}: materialize "
                "live_traffic first."
            )
        opened = partial(open_scoring, timeout_seconds=chosen.serving.request_timeout_seconds)
        with opened(ws, str(endpoint.name), str(endpoint.scoring_uri)) as client:
            yield client, chosen.scoring.parameters()


def _opening(system: str | None) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}] if system else []


def _answer(client: Any, turns: list[dict[str, str]], parameters: dict[str, Any], deployment: str | None) -> str:
    return client.ask([turns], parameters, deployment=deployment).texts[0]
