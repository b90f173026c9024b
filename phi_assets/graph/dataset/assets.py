"""Raw splits of a data set, and the samples that a recipe takes of them."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import dagster as dg

from phi_assets.config.dataset import SPLITS
from phi_assets.dataset.samples.mixture import Raw, mixed_in_words, ref_of, refs_of
from phi_assets.graph.dataset.metadata import (
    ROWS,
    SAMPLE_NUMBERS,
    dataset_metadata,
    sample_metadata,
    split_metadata,
)
from phi_assets.graph.dataset.preparing import Prepared, prepared
from phi_assets.graph.dataset.source import ChatDataSource
from phi_assets.graph.dataset.waiting import refused_by
from phi_assets.graph.explanation import read
from phi_assets.graph.lineage import IO_MANAGER, PREFLIGHT, DataSet, Lineage
from phi_assets.graph.presentation import presented
from phi_assets.graph.resources.prices import PricesResource
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.refs import DatasetRef, SampleRef, SplitRef

SOURCE = "source"

_SAMPLE_READS = ("sample", "contract", "model.name")
_SAMPLE_VERSION = "2"


def dataset_assets(dataset: DataSet, lineages: Sequence[Lineage]) -> list[dg.AssetsDefinition]:
    """`source` and a `raw_<split>` for each of the four splits; those of `lineages` that draw from it share them."""
    source = ChatDataSource(dataset.section, dataset.storage)
    return [_source(dataset, source), *(_raw(dataset, source, split, lineages) for split in SPLITS)]


def _source(dataset: DataSet, chat_data: ChatDataSource) -> dg.AssetsDefinition:
    upstream = dataset.section.asset
    if upstream is None:

        @dataset.asset(SOURCE, kinds={"huggingface"})
        def source(context: dg.AssetExecutionContext) -> dg.MaterializeResult[DatasetRef]:
            """The data set is pinned to one revision, from which all four splits are read."""
            return _pinned(context, chat_data.pin())

        return source

    @dataset.asset(SOURCE, ins={"handed_over": dg.AssetIn(dg.AssetKey(upstream.split("/")))}, kinds={"dagster"})
    def source_of_an_asset(context: dg.AssetExecutionContext, handed_over: Any) -> dg.MaterializeResult[DatasetRef]:
        """What the upstream asset holds lies on local disk, from where all four splits are read."""
        return _pinned(context, chat_data.land(handed_over))

    return source_of_an_asset


def _pinned(context: dg.AssetExecutionContext, ref: DatasetRef) -> dg.MaterializeResult[DatasetRef]:
    reason = f"{ref.name} is at revision {ref.revision[:12]}."
    why = read(context, {"data set": ref.name, "revision": ref.revision}, "pinned", reason)
    return dg.MaterializeResult(
        value=ref, data_version=dg.DataVersion(ref.revision), metadata=presented(why | dataset_metadata(ref))
    )


def _raw(dataset: DataSet, chat_data: ChatDataSource, split: str, lineages: Sequence[Lineage]) -> dg.AssetsDefinition:
    @dataset.asset(
        f"raw_{split}",
        ins={"pinned": dg.AssetIn(dataset.key(SOURCE))},
        kinds={"huggingface", "parquet"},
        description=f"The Parquet shards of `{split}` are kept and their schema is proven.",
        # Nothing is yielded where preflight has refused; what stands on it is skipped then.
        output_required=False,
    )
    def raw(context: dg.AssetExecutionContext, pinned: DatasetRef) -> Iterator[dg.MaterializeResult[SplitRef]]:
        if dataset.is_fetched and (refused := refused_by(context, dataset.preflights(lineages))):
            context.log.info(f"{split} of {pinned.name} is not fetched: {', '.join(refused)} failed in this run.")
            return
        ref = chat_data.fetch(pinned, split, context.log.info)
        reason = f"{ref.rows:,} rows in {len(ref.files)} file(s), {ref.size_bytes / 1e6:,.1f} MB."
        why = read(context, {"data set": pinned.name, "revision": pinned.revision}, "read", reason)
        yield dg.MaterializeResult(
            value=ref, data_version=dg.DataVersion(ref.sha256), metadata=presented(why | split_metadata(ref), ROWS)
        )

    return raw


def sample_assets(lineage: Lineage) -> list[dg.AssetsDefinition]:
    """The recipe's samples: of `train_sft`, with what is kept of it for validation, and of the other three splits."""
    return [
        _sampled_training_data(lineage),
        _sampled(lineage, "test_sft"),
        _sampled(lineage, "train_gen", "test_gen"),
        _sampled(lineage, "test_gen"),
    ]


def _sampled_training_data(lineage: Lineage) -> dg.AssetsDefinition:
    recipe = lineage.recipe
    chat_data = ChatDataSource(recipe.dataset, lineage.storage)
    out = partial(dg.AssetOut, io_manager_key=IO_MANAGER, kinds={"polars", "parquet"})

    @dg.multi_asset(
        name=lineage.node("sampled_train_sft"),
        deps=lineage.keys(*_comes_first(lineage)),
        ins={
            "test": dg.AssetIn(lineage.key("sampled_test_sft")),
            **_raw_splits(lineage, "train_sft"),
        },
        outs={
            "train": out(
                key=lineage.key("sampled_train_sft"),
                description="The recipe's sample of `train_sft` that keeps the chat contract, without what is kept for "
                "validation and what occurs in the test sample: JSON Lines for Azure ML, Parquet for people.",
                **lineage.attributes("sampled_train_sft", *_reads(lineage), version=_SAMPLE_VERSION),
            ),
            "validation": out(
                key=lineage.key("sampled_validation_sft"),
                description="A seeded share of the sample of `train_sft`, kept from training to evaluate on while it "
                "runs.",
                **lineage.attributes("sampled_validation_sft", *_reads(lineage), version=_SAMPLE_VERSION),
            ),
        },
    )
    def sampled_training_data(
        context: dg.AssetExecutionContext,
        test: SampleRef,
        azureml: AzureMLWorkspace,
        azureml_prices: PricesResource,
        **raw_splits: SplitRef,
    ) -> Iterator[dg.MaterializeResult[SampleRef]]:
        """Rows to train on and rows to evaluate on while training, which have no question in common."""
        raw = chat_data.together(_by_source(lineage, raw_splits))
        made = prepared(context, lineage, azureml, azureml_prices, raw, validation=True, against=test)
        for ref in made.refs:
            yield _sampled_result(context, lineage, ref, made, raw, test)

    return sampled_training_data


def _sampled(lineage: Lineage, split: str, test_split: str | None = None) -> dg.AssetsDefinition:
    recipe = lineage.recipe
    chat_data = ChatDataSource(recipe.dataset, lineage.storage)
    test_key = lineage.key(f"sampled_{test_split}")
    unseen = {"test": dg.AssetIn(test_key, dagster_type=SampleRef)} if test_split else {}  # type: ignore[arg-type]

    @lineage.asset(
        f"sampled_{split}",
        *_reads(lineage),
        version=_SAMPLE_VERSION,
        needs={**_raw_splits(lineage, split), **unseen},
        deps=_comes_first(lineage),
        kinds={"polars", "parquet"},
        description=f"The recipe's sample of `{split}` that keeps the chat contract, as JSON Lines and as Parquet.",
    )
    def sampled(
        context: dg.AssetExecutionContext, azureml: AzureMLWorkspace, azureml_prices: PricesResource, **inputs: Any
    ) -> dg.MaterializeResult[SampleRef]:
        test: SampleRef | None = inputs.pop("test", None)
        raw = chat_data.together(_by_source(lineage, inputs))
        made = prepared(context, lineage, azureml, azureml_prices, raw, against=test)
        (ref,) = made.refs
        return _sampled_result(context, lineage, ref, made, raw, test)

    return sampled


def _comes_first(lineage: Lineage) -> list[str]:
    """A job costs money, and what comes over a network takes time: neither is begun before all that can be seen."""
    costs = lineage.fetches_data or lineage.recipe.dataset.prepare == "cluster"
    return [PREFLIGHT] if costs else []


def _raw_splits(lineage: Lineage, split: str) -> dict[str, dg.AssetIn]:
    """The split of each source of the recipe."""
    kind: Any = SplitRef
    return {each.prefix: dg.AssetIn(each.key(f"raw_{split}"), dagster_type=kind) for each in lineage.datasets}


def _by_source(lineage: Lineage, inputs: Mapping[str, SplitRef]) -> dict[str, SplitRef]:
    return {each.section.name: inputs[each.prefix] for each in lineage.datasets}


def _reads(lineage: Lineage) -> tuple[str, ...]:
    """What of the recipe decides a sample: how sources are mixed, too; what they are is their own assets' matter."""
    return (*_SAMPLE_READS, "dataset") if lineage.recipe.dataset.mixture else _SAMPLE_READS


def _sampled_result(
    context: dg.AssetExecutionContext,
    lineage: Lineage,
    ref: SampleRef,
    made: Prepared,
    raw: Raw,
    test: SampleRef | None,
) -> dg.MaterializeResult[SampleRef]:
    recipe, key = lineage.recipe, lineage.key(f"sampled_{ref.split}")
    choices = recipe.sample.model_dump(mode="json") | recipe.contract.model_dump(mode="json")
    sources = {f"raw data of {name}" if name else "raw data": each.sha256[:12] for name, each in refs_of(raw).items()}
    mixed = {"mixed": mixed_in_words(recipe.dataset)} if recipe.dataset.mixture else {}
    inputs = {**sources, **mixed, **({"test data": test.sha256[:12]} if test else {}), **choices}
    reason = f"{made.reason} {ref.rows:,} of {sum(each.rows for each in refs_of(raw).values()):,} rows.".lstrip()
    metadata = sample_metadata(ref, *(each.key(f"raw_{ref_of(raw).split}") for each in lineage.datasets))
    return dg.MaterializeResult(
        asset_key=key,
        value=ref,
        data_version=dg.DataVersion(ref.sha256),
        metadata=presented(
            {**read(context, inputs, "sampled", reason, key), **made.metadata, **metadata}, *SAMPLE_NUMBERS
        ),
    )
