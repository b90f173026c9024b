"""Raw and sampled splits of the chat data set."""

import dagster as dg

from phi_assets.assets.common import OWNERS, explained, reads
from phi_assets.metadata import dataset_metadata, sample_metadata, split_metadata
from phi_assets.recipe import SPLITS
from phi_assets.refs import DatasetRef, SampleRef, SplitRef
from phi_assets.resources.recipe import RecipeResource
from phi_assets.resources.ultrachat import UltrachatSource

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


def _sampled(split: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=["sampled", split],
        group_name=GROUP,
        ins={"raw": dg.AssetIn(key=["raw", split])},
        kinds={"polars", "parquet"},
        owners=OWNERS,
        code_version="1",
        metadata=reads("sample"),
        description=f"The recipe's sample of `{split}`, as JSON Lines for Azure ML and as Parquet for people.",
    )
    def sampled(
        context: dg.AssetExecutionContext, raw: SplitRef, ultrachat: UltrachatSource, recipe: RecipeResource
    ) -> dg.MaterializeResult[SampleRef]:
        sample = recipe.value.sample
        ref = ultrachat.sample(raw, sample, context.log.info)
        why = explained(context, {"raw data": raw.sha256[:12], **sample.model_dump(mode="json")})
        return dg.MaterializeResult(
            value=ref, data_version=dg.DataVersion(ref.sha256), metadata=sample_metadata(ref) | why
        )

    return sampled


raw_splits = [_raw(split) for split in SPLITS]
sampled_splits = [_sampled(split) for split in SPLITS]
