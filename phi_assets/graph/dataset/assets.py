"""Raw and sampled splits of the chat data set."""

from collections.abc import Iterator

import dagster as dg

from phi_assets.config.dataset import SPLITS
from phi_assets.config.recipe import Recipe
from phi_assets.graph.common import OWNERS, explained, reads
from phi_assets.graph.dataset.metadata import dataset_metadata, sample_metadata, split_metadata
from phi_assets.graph.dataset.source import UltrachatSource
from phi_assets.graph.resources.recipe import RecipeResource
from phi_assets.refs import DatasetRef, SampleRef, SplitRef

GROUP = "dataset"


@dg.asset(group_name=GROUP, kinds={"huggingface"}, owners=OWNERS, code_version="1", metadata=reads("dataset"))
def ultrachat_hub(context: dg.AssetExecutionContext, ultrachat: UltrachatSource) -> dg.MaterializeResult[DatasetRef]:
    """The data set is pinned to one revision, from which all four splits are read."""
    ref = ultrachat.pin()
    context.log.info(f"{ref.name} at revision {ref.revision}")
    why = explained(context, {"data set": ref.name, "revision": ref.revision})
    return dg.MaterializeResult(
        value=ref, data_version=dg.DataVersion(ref.revision), metadata=dataset_metadata(ref) | why
    )


def _raw(split: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=["raw", split],
        group_name=GROUP,
        ins={"hub": dg.AssetIn(key="ultrachat_hub")},
        kinds={"huggingface", "parquet"},
        owners=OWNERS,
        code_version="1",
        description=f"The Parquet shards of `{split}` lie on local disk and their schema is proven.",
    )
    def raw(
        context: dg.AssetExecutionContext, hub: DatasetRef, ultrachat: UltrachatSource
    ) -> dg.MaterializeResult[SplitRef]:
        ref = ultrachat.fetch(hub, split, context.log.info)
        why = explained(context, {"data set": hub.name, "revision": hub.revision})
        return dg.MaterializeResult(
            value=ref, data_version=dg.DataVersion(ref.sha256), metadata=split_metadata(ref) | why
        )

    return raw


@dg.multi_asset(
    name="sampled__train_sft",
    group_name=GROUP,
    ins={"raw": dg.AssetIn(key=["raw", "train_sft"]), "test": dg.AssetIn(key=["sampled", "test_sft"])},
    outs={
        "train": dg.AssetOut(
            key=["sampled", "train_sft"],
            kinds={"polars", "parquet"},
            owners=OWNERS,
            code_version="2",
            metadata=reads("sample", "contract"),
            description="The recipe's sample of `train_sft` that keeps the chat contract, without what is kept for "
            "validation and what occurs in the test sample: JSON Lines for Azure ML, Parquet for people.",
        ),
        "validation": dg.AssetOut(
            key=["sampled", "validation_sft"],
            kinds={"polars", "parquet"},
            owners=OWNERS,
            code_version="2",
            metadata=reads("sample", "contract"),
            description="A seeded share of the sample of `train_sft`, kept from training to evaluate on while it runs.",
        ),
    },
)
def sampled_training_data(
    context: dg.AssetExecutionContext,
    raw: SplitRef,
    test: SampleRef,
    ultrachat: UltrachatSource,
    recipe: RecipeResource,
) -> Iterator[dg.MaterializeResult[SampleRef]]:
    """Rows to train on and rows to evaluate on while training, which have no question in common."""
    refs = ultrachat.prepare(
        raw, recipe.value.sample, recipe.value.contract, context.log.info, validation=True, against=test
    )
    for ref in refs:
        yield _sampled_result(context, ref, raw, test, recipe.value)


def _sampled(split: str, test_split: str | None = None) -> dg.AssetsDefinition:
    unseen = {"test": dg.AssetIn(["sampled", test_split], dagster_type=SampleRef)} if test_split else {}  # type: ignore[arg-type]

    @dg.asset(
        key=["sampled", split],
        group_name=GROUP,
        ins={"raw": dg.AssetIn(key=["raw", split]), **unseen},
        kinds={"polars", "parquet"},
        owners=OWNERS,
        code_version="2",
        metadata=reads("sample", "contract"),
        description=f"The recipe's sample of `{split}` that keeps the chat contract, as JSON Lines and as Parquet.",
    )
    def sampled(
        context: dg.AssetExecutionContext,
        raw: SplitRef,
        ultrachat: UltrachatSource,
        recipe: RecipeResource,
        **unseen: SampleRef,
    ) -> dg.MaterializeResult[SampleRef]:
        test = unseen.get("test")
        (ref,) = ultrachat.prepare(raw, recipe.value.sample, recipe.value.contract, context.log.info, against=test)
        return _sampled_result(context, ref, raw, test, recipe.value)

    return sampled


def _sampled_result(
    context: dg.AssetExecutionContext, ref: SampleRef, raw: SplitRef, test: SampleRef | None, recipe: Recipe
) -> dg.MaterializeResult[SampleRef]:
    choices = recipe.sample.model_dump(mode="json") | recipe.contract.model_dump(mode="json")
    inputs = {"raw data": raw.sha256[:12], **({"test data": test.sha256[:12]} if test else {}), **choices}
    key = dg.AssetKey(["sampled", ref.split])
    return dg.MaterializeResult(
        asset_key=key,
        value=ref,
        data_version=dg.DataVersion(ref.sha256),
        metadata=sample_metadata(ref) | explained(context, inputs, key=key),
    )


raw_splits = [_raw(split) for split in SPLITS]
sampled_splits = [_sampled("test_sft"), _sampled("train_gen", "test_gen"), _sampled("test_gen")]
