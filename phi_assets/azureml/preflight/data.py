"""Whether the data can be trained on, as far as its first rows tell."""

from collections.abc import Mapping
from typing import Any

from azure.core.exceptions import AzureError

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import one_line
from phi_assets.azureml.preflight.findings import Findings
from phi_assets.azureml.preparation.places import in_datastore
from phi_assets.config.recipe import Recipe
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.samples.first_look import DataLook

_BESIDE = "`python -m phi_assets docs data-beside` has the steps."
_CLOSER = "`python -m phi_assets validate` reads and judges all of its rows."


def judge_data(look: DataLook | None, found: Findings) -> None:
    """The source is reachable, has the splits, and its first rows become conversations that keep the contract."""
    if look is None:
        return
    found.looked_at.append("data")
    found.facts["data"] = f"{look.source}: {look.unknown}" if look.unknown else look.source
    found.facts |= {f"data/{each.name}": each.in_words for each in look.splits}
    subject = f"Data of {look.source}"
    for problem in look.problems:
        code = "data_unusable" if look.splits else "data_unreachable"
        found.error("data", code, subject, f"cannot be used: {problem.rstrip('.')}", _CLOSER)
    for warning in look.warnings:
        found.warning("data", "data_doubtful", subject, f"may not do: {warning}", _CLOSER)


def look_at_place(ws: Workspace, recipe: Recipe, root: str, found: Findings) -> None:
    """What is kept at `root`, which is `PHI_DATA`, lies in a datastore where a cluster prepares data."""
    if recipe.dataset.prepare != "cluster":
        return
    try:
        in_datastore(ws, root)
    except DatasetError as error:
        found.error("data", "data_in_no_datastore", "PHI_DATA", f"does not do: {error}", _BESIDE)
    except AzureError as error:
        cause = f"may be in no datastore: they cannot be listed ({one_line(error)})"
        found.warning("data", "datastores_unknown", "PHI_DATA", cause, "Run again.")


def judge_lengths(look: DataLook | None, recipe: Recipe, parameters: Mapping[str, Any], found: Findings) -> None:
    """Few of the first rows to train on are longer than the component's `max_seq_length`, which cuts them."""
    trains = [each for each in look.splits if each.split == "train_sft" and each.tokens] if look else []
    tokens = [count for each in trains for count in each.tokens]
    # -1 is the model's own length.
    limit = int(parameters.get("max_seq_length", -1))
    if not tokens or limit < 1:
        return
    longer = sum(count > limit for count in tokens)
    counters = {each.profile.token_counter for each in trains if each.profile}
    said = (
        f"{longer:,} of the first {len(tokens):,} rows to train on are longer, the longest with "
        f"{max(tokens):,} tokens ({', '.join(sorted(counters))})"
    )
    found.facts["data/max_seq_length"] = f"{limit:,}: {said}"
    # What is longer than `contract.context_tokens` is told of the data itself.
    contract, percent = recipe.contract, 100 * longer / len(tokens)
    if limit < contract.context_tokens and percent > contract.max_truncated_percent:
        found.warning(
            "data",
            "rows_truncated",
            f"max_seq_length {limit:,}",
            f"is too short: {said}; the component cuts them, and how they end is not learned",
            "Raise finetune.parameters.max_seq_length, or set contract.context_tokens to it and "
            "contract.policies.too_long to drop.",
        )
