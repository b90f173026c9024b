"""The foundation model and the cluster that may fine-tune it."""

import dagster as dg

from phi_assets.azureml.compute.clusters import ensure_compute
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.graph.explanation import explained, read
from phi_assets.graph.foundation.metadata import compute_metadata, model_metadata
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.preflight.assets import PREFLIGHT
from phi_assets.graph.presentation import presented
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.refs import ComputeRef, ModelRef


def foundation_assets(lineage: Lineage) -> list[dg.AssetsDefinition]:
    """`foundation_model` and `finetune_compute`."""
    return [_foundation_model(lineage), _finetune_compute(lineage)]


def _foundation_model(lineage: Lineage) -> dg.AssetsDefinition:
    @lineage.asset("foundation_model", "model", deps=[PREFLIGHT], kinds={"azureml"})
    def foundation_model(
        context: dg.AssetExecutionContext, azureml: AzureMLWorkspace
    ) -> dg.MaterializeResult[ModelRef]:
        """A registry model is pinned to a version that may be fine-tuned, with its compute lists and its defaults."""
        with azureml.session() as ws:
            ref = get_foundation_model(ws, lineage.recipe.model, context.log.info)
        inputs = {"model": ref.id, "model content": ref.content_hash[:12]}
        why = read(
            context, inputs, "pinned", f"Model {ref.name}:{ref.version} of registry {lineage.recipe.model.registry}."
        )
        return dg.MaterializeResult(
            value=ref,
            data_version=dg.DataVersion(f"{ref.id}@{ref.content_hash[:12]}"),
            metadata=presented(why | model_metadata(ref)),
        )

    return foundation_model


def _finetune_compute(lineage: Lineage) -> dg.AssetsDefinition:
    needs = lineage.ins("foundation_model")

    @lineage.asset("finetune_compute", "compute", needs=needs, deps=[PREFLIGHT], kinds={"azureml"})
    def finetune_compute(
        context: dg.AssetExecutionContext, foundation_model: ModelRef, azureml: AzureMLWorkspace
    ) -> dg.MaterializeResult[ComputeRef]:
        """A provisioned cluster whose VM size may fine-tune the model; its number of GPUs per node is known."""
        wanted, accepted = lineage.recipe.compute, lineage.recipe.preflight.accept
        owner = azureml.owner(lineage.recipe.name)
        with azureml.session() as ws:
            ref = ensure_compute(ws, wanted, foundation_model, context.log.info, owner=owner, accepted=accepted)
        why = explained(context, {"model": foundation_model.id, **wanted.model_dump(mode="json")}, ref.reason)
        return dg.MaterializeResult(
            value=ref,
            data_version=dg.DataVersion(f"{ref.size}x{ref.gpus}x{ref.tier}"),
            metadata=presented(compute_metadata(ref) | why),
        )

    return finetune_compute
