"""Is the sample fit to train on?"""

from collections.abc import Iterator

import dagster as dg

from phi_assets.config.dataset import SAMPLED_SPLITS, ContractSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.dataset.samples.findings import AGAINST, TRAINED, findings_of, keys_of
from phi_assets.dataset.samples.verify import Common, common, examples
from phi_assets.graph.dataset.verdicts import (
    NOT_BLOCKING,
    asset_name,
    contract_result,
    examples_table,
    leakage_result,
    minimum_rows_result,
    no_warnings_result,
    schema_result,
    subject_of,
    truncated_share_result,
)
from phi_assets.graph.lineage import Lineage
from phi_assets.refs import DataFile, SampleRef

_ASKS = {
    "schema": "The files hold the columns, rows and bytes that the sample's ref promises.",
    "minimum_rows": "There is something to work with; in `train_sft`, as many rows as `contract.minimum_rows`.",
    "contract": "No row breaks a rule whose policy is `drop` or `fail`, and few enough rows are in quarantine.",
    "leakage": "No prompt_id and no normalized question is in a sample that this one is measured with.",
    "truncated_share": "Few enough conversations are longer than the model's context.",
    "no_warnings": "Nothing that the recipe only warns about.",
}


def sample_checks(lineage: Lineage) -> list[dg.AssetChecksDefinition]:
    """The checks of the recipe's samples."""
    return [*(_sample_checks(lineage, split) for split in SAMPLED_SPLITS), _prompts_unseen(lineage)]


def _sample_checks(lineage: Lineage, split: str) -> dg.AssetChecksDefinition:
    against = AGAINST.get(split, ())
    names = [name for name in _ASKS if name != "leakage" or against]
    key, others = lineage.key(asset_name(split)), lineage.keys(*map(asset_name, against))
    contract = lineage.recipe.contract

    # Dagster tells the types of inputs from the names and annotations of parameters, so every number of them is a
    # function.
    def of_one(context: dg.AssetCheckExecutionContext, sample: SampleRef) -> Iterator[dg.AssetCheckResult]:
        yield from _results(context, contract, sample)

    def of_two(
        context: dg.AssetCheckExecutionContext, sample: SampleRef, other: SampleRef
    ) -> Iterator[dg.AssetCheckResult]:
        yield from _results(context, contract, sample, other)

    def of_three(
        context: dg.AssetCheckExecutionContext, sample: SampleRef, other: SampleRef, another: SampleRef
    ) -> Iterator[dg.AssetCheckResult]:
        yield from _results(context, contract, sample, other, another)

    defined = dg.multi_asset_check(
        name=lineage.node(f"sampled_{split}_checks"),
        description=f"The files of the sample of `{split}` are read again.",
        specs=[
            dg.AssetCheckSpec(
                name,
                asset=key,
                description=_ASKS[name],
                blocking=name not in NOT_BLOCKING,
                additional_deps=others,
            )
            for name in names
        ],
        ins={
            "sample": dg.AssetIn(key),
            **{name: dg.AssetIn(other) for name, other in zip(("other", "another"), others, strict=False)},
        },
        can_subset=True,
    )
    return defined((of_one, of_two, of_three)[len(against)])


def _results(
    context: dg.AssetCheckExecutionContext, contract: ContractSection, sample: SampleRef, *others: SampleRef
) -> Iterator[dg.AssetCheckResult]:
    wanted = {key.name for key in context.selected_asset_check_keys}
    judges = {"contract": contract_result, "leakage": leakage_result, "no_warnings": no_warnings_result}
    findings = findings_of(sample, contract, others) if wanted & {"schema", *judges} else None
    if findings and "schema" in wanted:
        yield schema_result(sample, findings)
        if findings.judged is None:
            # Its rows cannot be judged: the other checks stay without a result, and this one fails the step.
            return
    if "minimum_rows" in wanted:
        yield minimum_rows_result(sample, contract)
    if "truncated_share" in wanted:
        yield truncated_share_result(sample, contract)
    if findings and wanted & judges.keys():
        if findings.judged is None:
            raise DatasetError(f"{'; '.join(findings.problems)}. Materialize {asset_name(sample.split)} again.")
        subject = subject_of(sample, contract, findings.judged)
        yield from (judge(subject) for name, judge in judges.items() if name in wanted)


# Only ordered after the training samples: with their refs as inputs, `sampled_test_gen` alone could not be materialized
# before they were.
def _prompts_unseen(lineage: Lineage) -> dg.AssetChecksDefinition:
    training = {split: lineage.key(asset_name(split)) for split in TRAINED}

    @dg.asset_check(
        asset=lineage.key("sampled_test_gen"),
        additional_deps=list(training.values()),
        description="The model has not been trained on a prompt that it will be asked: such an answer proves nothing.",
    )
    def prompts_unseen(context: dg.AssetCheckExecutionContext, sample: SampleRef) -> dg.AssetCheckResult:
        prompts = keys_of(sample.parquet, sample.keys)
        seen: dict[str, Common] = {}
        for split, key in training.items():
            parquet, saved = _latest_files(context.instance, key, lineage.storage)
            if parquet.is_there:
                seen[split] = common(prompts, keys_of(parquet, saved))
        rows = {row for found in seen.values() for row in found.rows}
        compared = " and ".join(map(asset_name, seen)) or "nothing, as no training data has been sampled here"
        return dg.AssetCheckResult(
            passed=not rows,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{len(rows):,} of {sample.rows:,} prompts are in {compared} as well: good answers to them "
            "prove nothing. Score on other prompts, or use a data set whose splits are disjoint."
            if rows
            else f"{sample.rows:,} prompts compared with {compared}.",
            metadata={
                "rows": sample.rows,
                **{f"{split}/rows": len(found.rows) for split, found in seen.items()},
                **examples_table(examples(sample.parquet, sorted(rows))),
            },
        )

    return prompts_unseen


def _latest_files(instance: dg.DagsterInstance, sample: dg.AssetKey, storage: DataStorage) -> tuple[DataFile, DataFile]:
    """The rows of a sample's last materialization and their keys, where there are such files."""
    event = instance.get_latest_materialization_event(sample)
    metadata = event.asset_materialization.metadata if event and event.asset_materialization else {}

    def named(name: str) -> DataFile:
        value = metadata.get(name)
        return storage.file_at(str(value.path)) if isinstance(value, dg.PathMetadataValue) else DataFile()

    return named("parquet"), named("keys")
