"""Where samples are made: by the run, or by a job of Azure ML beside the data."""

import dagster as dg

from phi_assets.dataset.samples.mixture import Raw
from phi_assets.graph.dataset.beside import prepare_beside
from phi_assets.graph.dataset.source import ChatDataSource, in_words
from phi_assets.graph.dataset.tokenizer import tokenizer_of
from phi_assets.graph.interrupts import cancelled_with_the_run, interrupts_kept
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.refs import SampleRef


def prepared(
    context: dg.AssetExecutionContext,
    lineage: Lineage,
    azureml: AzureMLWorkspace,
    raw: Raw,
    *,
    validation: bool = False,
    against: SampleRef | None = None,
) -> tuple[SampleRef, ...]:
    """The recipe's samples of a raw split are kept below `PHI_DATA`, made where `dataset.prepare` says.

    A run waits for its job, and a person who terminates the run ends it; a worker that is killed leaves it running, and
    the next run finds it.
    """
    recipe, log = lineage.recipe, context.log.info
    tokenizer = tokenizer_of(recipe, lineage.storage, azureml, log)
    if recipe.dataset.prepare == "here":
        source = ChatDataSource(recipe.dataset, lineage.storage)
        return source.prepare(
            raw, recipe.sample, recipe.contract, log, validation=validation, against=against, tokenizer=tokenizer
        )
    with (
        azureml.session() as ws,
        in_words(),
        cancelled_with_the_run(context, ws, azureml.owner(recipe.name)) as watch,
        interrupts_kept() as raise_interrupts,
    ):
        return prepare_beside(
            ws,
            recipe,
            lineage.storage,
            raw,
            log,
            validation=validation,
            against=against,
            tokenizer=tokenizer,
            on_name=watch,
            on_poll=raise_interrupts,
        )
