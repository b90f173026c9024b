"""`python -m phi_assets`: the group that the commands belong to."""

import os

import click

from phi_assets.cli.instance import ensure_dagster_home
from phi_assets.config.settings import read_env_file
from phi_assets.processes import collect_seldom


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Fine-tune, register, deploy and score a chat model; on the local emulator unless PHI_TARGET=azure.

    Without a command: materialize every asset of the recipe.
    """
    collect_seldom()
    read_env_file()
    os.environ["DAGSTER_HOME"] = str(ensure_dagster_home(os.environ))
    if context.invoked_subcommand is None:
        context.invoke(main.commands["materialize"])
