"""Preflight: nothing that costs money is asked for before everything that can be looked at is in order."""

from collections.abc import Iterator, Sequence

import dagster as dg

from phi_assets.azureml.preflight.estimate import Training
from phi_assets.azureml.preflight.findings import GROUPS, Finding, Group
from phi_assets.azureml.preflight.run import run_preflight
from phi_assets.config.recipe import Recipe
from phi_assets.dataset.samples.first_look import DataLook, rows_by_source
from phi_assets.graph.explanation import read
from phi_assets.graph.lineage import FIRST, PREFLIGHT, Lineage
from phi_assets.graph.preflight.data import first_look
from phi_assets.graph.preflight.metadata import PREFLIGHT_NUMBERS, findings_table, first_rows, preflight_metadata
from phi_assets.graph.presentation import presented
from phi_assets.graph.resources.prices import PricesResource
from phi_assets.graph.resources.workspace import AzureMLWorkspace

_WHAT_HOLDS: dict[Group, str] = {
    "data": "The data can be reached, has the splits, and its first rows become conversations that keep the contract.",
    "access": "The credential gives a token, and the workspace and its resource provider let that identity in.",
    "model": "The model exists, may be fine-tuned, and is not archived, legacy, deprecated or retired.",
    "parameters": "The component exists and declares every parameter that will be sent, by type, choice and range.",
    "machines": "The model may run on the VM sizes, the region offers them, and the clusters are or can be as wanted.",
    "quota": "The quota has room for the clusters and for a deployment, the service's reserve included.",
    "endpoint": "The endpoint's name is legal and free, or the endpoint is ours.",
    "budget": "By estimate, a run of the recipe keeps its budget of money and GPU hours.",
}

# `all_deps_blocking_checks_passed` takes a blocking check that failed with WARN for failed: automation would stop.
_NO_WARNINGS = "no_warnings"

_READS = (
    "dataset",
    "sample",
    "model",
    "component",
    "budget",
    "preflight",
    "compute",
    "finetune.parameters",
    "finetune.defaults",
    "finetune.timeout_hours",
    "serving",
    "scoring.compare_with_base",
    "contract",
)


def preflight_asset(lineage: Lineage) -> dg.AssetsDefinition:
    """`preflight`, with a check for each group of findings."""
    recipe, key = lineage.recipe, lineage.key(PREFLIGHT)

    @dg.multi_asset(
        name=lineage.node(PREFLIGHT),
        # Raw splits are shared by recipes; they are not fetched where the preflights of the run have failed.
        op_tags=FIRST if lineage.fetches_data else None,
        specs=[
            dg.AssetSpec(
                key,
                kinds={"azureml"},
                description="Everything that can be known to go wrong has been looked at, in seconds and without "
                "changing anything: the first rows of the data, identity, workspace, model, parameters, machines, "
                "quota, endpoint, budget. Errors stop all that costs money; warnings do not.",
                **lineage.attributes(PREFLIGHT, *_READS, *(each.key for each in recipe.cluster_sections[1:])),
            )
        ],
        check_specs=[
            *(dg.AssetCheckSpec(group, asset=key, blocking=True, description=_WHAT_HOLDS[group]) for group in GROUPS),
            dg.AssetCheckSpec(
                _NO_WARNINGS, asset=key, description="Nothing that may turn out to be a hindrance, and need not be one."
            ),
        ],
    )
    def preflight(
        context: dg.AssetExecutionContext, azureml: AzureMLWorkspace, azureml_prices: PricesResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        """Nothing stands in the way of the recipe, or the run fails with all that does.

        The data version names the workspace and nothing else. What depends on preflight does so for the order, and has
        every other input of its own; so a quota that changes, or an edited recipe, makes nothing stale, while another
        workspace makes everything so. It takes no place in a pool: it waits for no job, and writes nothing.
        """
        data = first_look(context, lineage, azureml)
        with azureml.session() as ws:
            found = run_preflight(
                ws,
                recipe,
                credential=azureml.credential if azureml.target == "azure" else "the emulator's managed identity",
                prices=azureml_prices.value_or_none(context.log.warning),
                training=_training(recipe, data),
                data=data,
                root=lineage.storage.root,
            )
        context.log.info(f"Looked ahead in {found.seconds:.1f} s as {found.facts.get('identity', 'nobody')}.")
        shown = preflight_metadata(found) | first_rows(data)
        errors = {group: [each for each in found.of(group) if each.level == "error"] for group in found.looked_at}
        checks = [_outcome(key, group, findings) for group, findings in errors.items()]
        checks.append(_outcome(key, _NO_WARNINGS, found.warnings, dg.AssetCheckSeverity.WARN))
        if found.errors:
            yield from checks
            raise dg.Failure(description=found.in_words, metadata=shown, allow_retries=False)
        for warning in found.warnings:
            context.log.warning(warning.in_words)
        named = ("workspace", "region", "identity", "model", "component")
        inputs = {fact: found.facts[fact] for fact in named if fact in found.facts}
        yield dg.MaterializeResult(
            asset_key=key,
            data_version=dg.DataVersion(found.identity),
            metadata=presented(read(context, inputs, "looked", found.in_words, key) | shown, *PREFLIGHT_NUMBERS),
            check_results=checks,
        )

    return preflight


def _outcome(
    asset: dg.AssetKey,
    check: str,
    findings: Sequence[Finding],
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=check,
        passed=not findings,
        severity=severity,
        description="\n".join(finding.in_words for finding in findings) or None,
        metadata={"findings": findings_table(findings)} if findings else {},
    )


def _training(recipe: Recipe, data: DataLook) -> Training | None:
    """How much there is to train on, by the first rows; None where nobody can tell."""
    if data.problems or (rows := rows_by_source(recipe, data)) is None:
        return None
    profiles = {each.source: each.profile for each in data.splits if each.split == "train_sft"}
    known = {name: profile for name, profile in profiles.items() if profile and profile.rows}
    if known.keys() != rows.keys():
        return None
    total = sum(rows.values())
    return Training(total, sum(rows[name] * known[name].tokens / known[name].rows for name in rows) / total)
