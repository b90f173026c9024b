"""Where samples are made: by the run, or by a job of Azure ML beside the data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from phi_assets.azureml.training.jobs import SubmittedJob
from phi_assets.dataset.samples.mixture import Raw, ref_of
from phi_assets.graph.dataset.beside import prepare_beside
from phi_assets.graph.dataset.source import ChatDataSource, in_words
from phi_assets.graph.dataset.spending import preparation_spending
from phi_assets.graph.dataset.tokenizer import tokenizer_of
from phi_assets.graph.explanation import submitted_metadata
from phi_assets.graph.interrupts import cancelled_with_the_run, interrupts_kept
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.resources.prices import PricesResource
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.refs import SampleRef


@dataclass(frozen=True)
class Prepared:
    """Samples that are there, and how they came to be."""

    refs: tuple[SampleRef, ...]
    reason: str = ""
    """What decided about their job; empty where the run has made them itself."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What was done, and name, link and cost of the job, where samples are made by one and this run has met it."""


def prepared(
    context: dg.AssetExecutionContext,
    lineage: Lineage,
    azureml: AzureMLWorkspace,
    azureml_prices: PricesResource,
    raw: Raw,
    *,
    validation: bool = False,
    against: SampleRef | None = None,
) -> Prepared:
    """The recipe's samples of a raw split are kept below `PHI_DATA`, made where `dataset.prepare` says.

    A run waits for its job, and a person who terminates the run ends it; a worker that is killed leaves it running, and
    the next run finds it.
    """
    recipe, log = lineage.recipe, context.log.info
    tokenizer = tokenizer_of(recipe, lineage.storage, azureml, log)
    if recipe.dataset.prepare == "here":
        source = ChatDataSource(recipe.dataset, lineage.storage)
        refs = source.prepare(
            raw, recipe.sample, recipe.contract, log, validation=validation, against=against, tokenizer=tokenizer
        )
        return Prepared(refs)
    said: dict[str, Any] = {}

    def announce(job: SubmittedJob) -> None:
        """Name and link of the job are on the asset, long before there is a materialization to carry them."""
        said.update(submitted_metadata(job))
        key = lineage.key(f"sampled_{ref_of(raw).split}")
        context.log_event(dg.AssetObservation(key, metadata=said))

    with (
        azureml.session() as ws,
        in_words(),
        cancelled_with_the_run(context, ws, azureml.owner(recipe.name)) as watch,
        interrupts_kept() as raise_interrupts,
    ):
        made = prepare_beside(
            ws,
            recipe,
            lineage.storage,
            raw,
            log,
            validation=validation,
            against=against,
            tokenizer=tokenizer,
            on_name=watch,
            on_submitted=announce,
            on_poll=raise_interrupts,
        )
        warn = context.log.warning
        spent = preparation_spending(ws, made, lambda: azureml_prices.value_or_none(warn), warn)
    return Prepared(made.refs, made.reason, {**said, **spent, "action": made.action})
