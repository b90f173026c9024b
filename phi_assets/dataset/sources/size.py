"""How much there is to train on, as far as that can be told without fetching anything."""

from dataclasses import dataclass

from phi_assets.config.dataset import DatasetSection, Part
from phi_assets.config.recipe import Recipe
from phi_assets.dataset.sources.local import split_files

_BYTES_PER_TOKEN = 4.4
"""Of English text."""
_ULTRACHAT = "HuggingFaceH4/ultrachat_200k"
_ULTRACHAT_ROWS, _ULTRACHAT_BYTES = 207_865, 1_397_058_554
"""Of `train_sft`; the data set's card."""


@dataclass(frozen=True)
class TrainingSize:
    """Rows that are trained on in an epoch, and how long they are on average."""

    rows: int
    tokens_per_row: float


def training_size(recipe: Recipe) -> TrainingSize | None:
    """What the recipe samples of `train_sft` and does not keep for validation; None where nobody knows yet.

    Raises:
        DatasetError: the recipe names a folder without that split.
    """
    known = _of_split(recipe.dataset)
    if known is None:
        return None
    rows, size, part = known
    sample = recipe.sample
    sampled = rows * sample.percent / 100 * (1 - sample.validation_percent / 100)
    if part == "train":
        sampled *= 1 - sample.test_percent / 100
    return TrainingSize(max(round(sampled), 1), size / max(rows, 1) / _BYTES_PER_TOKEN)


def _of_split(dataset: DatasetSection) -> tuple[int, int, Part] | None:
    """Rows and bytes of text of `train_sft`: of Parquet files their own numbers, of UltraChat those of its card."""
    if dataset.source == "asset":
        return None
    if dataset.source == "hub":
        return (_ULTRACHAT_ROWS, _ULTRACHAT_BYTES, "all") if dataset.repo == _ULTRACHAT else None
    files, part = split_files(dataset, "train_sft")
    if any(path.suffix.lower() != ".parquet" for path in files):
        return None
    import pyarrow.parquet as pq

    footers = [pq.read_metadata(path) for path in files]
    size = sum(footer.row_group(group).total_byte_size for footer in footers for group in range(footer.num_row_groups))
    return sum(footer.num_rows for footer in footers), size, part
