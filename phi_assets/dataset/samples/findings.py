"""What looking at the files of a written sample has shown, small enough to be sent from where the rows lie."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from phi_assets.config.dataset import VALIDATION_SPLIT, ContractSection
from phi_assets.dataset.contract.tokens import TokenCounter
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.manifest import judged_by
from phi_assets.dataset.reports.report import read_report
from phi_assets.dataset.samples.likeness import likeness
from phi_assets.dataset.samples.verify import (
    EXAMPLES,
    Example,
    common,
    examine,
    examples,
    file_problems,
    judging_problems,
    keys,
)
from phi_assets.fingerprint import fingerprint
from phi_assets.refs import DataFile, SampleRef

AGAINST = {"train_sft": ("test_sft", VALIDATION_SPLIT), VALIDATION_SPLIT: ("test_sft",), "train_gen": ("test_gen",)}
"""Samples that a sample must have no conversation of, or what is measured on them proves nothing."""

TRAINED = ("train_sft", VALIDATION_SPLIT)
"""What the model that gets the prompts of `test_gen` has been made with."""

_HASHED_BY = b"phi/polars"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rows(_Part):
    """Some rows of a file."""

    rows: int = 0
    first: tuple[Example, ...] = ()
    """The first three of them."""


class Shared(_Part):
    """Rows that occur in another sample as well."""

    ids: Rows
    """Their prompt_id does."""
    questions: Rows
    """Their first question does; case, punctuation and white space aside."""
    rows: int
    """One or the other."""


class Judged(_Part):
    """What the rows of a sample are like."""

    rows: int
    broken: dict[str, Rows]
    """Rows that break a rule which the file tells by itself; every rule of `VERIFIED_RULES` is there."""
    others: dict[str, Shared]
    """Rows that occur in other samples, by the names of those."""
    shared: int
    """Rows that occur in any of them."""
    likeness: dict[str, Rows]
    """Rows that break one of `LIKENESS_RULES`; only rules that apply."""


class Findings(_Part):
    """What the files of a sample are like, seen with other code than that which wrote them."""

    asked: str
    """What they were judged by and compared with; see `asked_of`."""
    problems: tuple[str, ...]
    """Why the files are not what the ref promises, in sentences."""
    judged: Judged | None
    """None where the rows cannot be judged."""


def findings_name(split: str) -> str:
    """File name of the findings about a sample."""
    return f"{split}.findings.json"


def keys_name(split: str) -> str:
    """File name of the keys of a sample's rows."""
    return f"{split}.keys.parquet"


def asked_of(contract: ContractSection, others: Iterable[SampleRef]) -> str:
    """Equal for a contract that judges alike, and others that have the same rows.

    Raises:
        DatasetError: a file of the contract cannot be read.
    """
    return fingerprint([judged_by(contract), {other.split: other.sha256 for other in others}])


def look(sample: SampleRef, contract: ContractSection, others: Sequence[SampleRef]) -> Findings:
    """The sample's files read, its rows judged and compared with those of the others.

    Raises:
        DatasetError: a file of another sample or of the contract cannot be read.
    """
    asked, problems = asked_of(contract, others), tuple(file_problems(sample))
    if judging_problems(sample):
        return Findings(asked=asked, problems=problems, judged=None)
    parquet = Path(sample.parquet)
    report = read_report(Path(sample.report))
    repeated = report.rows_repeated if sample.split == report.split else 0
    examined = examine(parquet, TokenCounter(contract.tokenizer).markup, repeated)
    test = next((other for other in others if other.split != VALIDATION_SPLIT), None)
    found = {other.split: common(examined.keys, keys(Path(other.parquet))) for other in others}

    def some(numbers: Sequence[int]) -> Rows:
        return Rows(rows=len(numbers), first=tuple(examples(sample.parquet, numbers)))

    judged = Judged(
        rows=examined.rows,
        broken={rule: some(numbers) for rule, numbers in examined.broken.items()},
        others={
            split: Shared(ids=some(each.ids), questions=some(each.questions), rows=len(each.rows))
            for split, each in found.items()
        },
        shared=len({row for each in found.values() for row in each.rows}),
        likeness={rule: some(numbers) for rule, numbers in likeness(sample, contract, test).items()},
    )
    return Findings(asked=asked, problems=problems, judged=judged)


def findings_of(sample: SampleRef, contract: ContractSection, others: Sequence[SampleRef]) -> Findings:
    """What looking at the sample has shown: where it was made, if that was asked there and the files are there still;
    else here, and its rows are read.

    Raises:
        DatasetError: as `look`.
    """
    known = _known(sample.findings) if sample.findings else None
    if known is None or known.asked != asked_of(contract, others):
        return look(sample, contract, others)
    gone = [file for file in (sample.parquet, sample.jsonl) if not file.is_there]
    problems = [*known.problems, *(f"{file} has gone, or has another size than was written" for file in gone)]
    judged = None if sample.parquet in gone else known.judged
    return known.model_copy(update={"problems": tuple(problems), "judged": judged})


def first_of(some: Iterable[Rows]) -> list[Example]:
    """The first three of all these rows."""
    together = {example.row: example for each in some for example in each.first}
    return [together[row] for row in sorted(together)[:EXAMPLES]]


def save_keys(parquet: Path, path: Path) -> None:
    """`path` has the `keys` of a sample's rows, 16 bytes a row.

    Raises:
        DatasetError: the sample cannot be read.
    """
    table = keys(parquet).to_arrow().replace_schema_metadata({_HASHED_BY: pl.__version__.encode()})
    pq.write_table(table, path, compression="none", use_dictionary=False)


def keys_of(parquet: DataFile, saved: DataFile) -> pl.DataFrame:
    """The `keys` of a sample's rows: those that were saved with it, else its rows are read.

    Hashes are equal within one version of polars: those of another one are of no use.
    <https://docs.pola.rs/api/python/stable/reference/expressions/api/polars.Expr.hash.html>

    Raises:
        DatasetError: the sample cannot be read.
    """
    if saved and saved.is_there:
        try:
            table = pq.read_table(saved)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{saved} cannot be read: {error}; materialize the sample again") from error
        if (table.schema.metadata or {}).get(_HASHED_BY) == pl.__version__.encode():
            return pl.DataFrame(table)
    return keys(Path(parquet))


def _known(file: DataFile) -> Findings | None:
    """None where they have gone, or another version has written them otherwise."""
    if not file.is_there:
        return None
    try:
        return Findings.model_validate_json(Path(file).read_bytes())
    except ValidationError:
        return None
