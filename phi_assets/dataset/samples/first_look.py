"""What is known of a recipe's data by its first rows, in seconds, before any of it is fetched as a whole."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from phi_assets.config.dataset import SPLITS, DatasetSection, SampleSection
from phi_assets.config.recipe import Recipe
from phi_assets.dataset.contract.tokenizers import ModelTokenizer, model_tokenizer
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.dataset.reports.report import Profile, SplitReport, read_report
from phi_assets.dataset.samples.heads import Head, UnreadInPartError, head_of
from phi_assets.dataset.samples.held_out import prompt_counter
from phi_assets.dataset.samples.mixture import mixed_rows
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.samples.usable import NoneUsableError
from phi_assets.dataset.sources.fields import described
from phi_assets.dataset.sources.raw_splits import latest_revision

Log = Callable[[str], None]

_MOST_SECONDS = 5.0
"""A pause that the hub asks for and that is longer is not waited for."""


@dataclass(frozen=True)
class SplitLook:
    """What is known of one split."""

    split: str
    head: Head | None = None
    """None where it cannot be read."""
    report: SplitReport | None = None
    """Of the first rows; None where none of them can be used."""
    problem: str = ""
    """Why it cannot be trained on or tested with, as a message for people; empty where nothing is known against it."""
    unknown: str = ""
    """Why its rows cannot be looked at before all of it is there; empty where they were."""
    source: str = ""
    """Which source of a mixture it is of."""
    tokens: tuple[int, ...] = ()
    """Of each of the first rows that keep the contract."""

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.source}/{self.split}" if self.source else self.split

    @property
    def profile(self) -> Profile | None:
        """Of the first rows."""
        return self.report.samples[self.split] if self.report else None

    @property
    def in_words(self) -> str:
        """Its size, format, columns, and what the first rows are like."""
        if self.head is None:
            return self.problem or self.unknown
        head, profile = self.head, self.profile
        about = "" if head.is_counted else "about "
        rows = "an unknown number of rows" if head.rows is None else f"{about}{head.rows:,} rows"
        size = f"{rows} in {head.files:,} file(s), {head.size_bytes / 1e6:,.1f} MB"
        said = [f"{size}, format {head.format} (columns {', '.join(head.columns)})"]
        if head.part != "all":
            said.append(f"cut into rows to train on and to test with, of which this is the {head.part} part")
        if profile is not None:
            said.append(
                f"of the first {head.raw.rows:,} rows {profile.rows:,} keep the contract, "
                f"{profile.tokens / max(profile.rows, 1):,.0f} tokens each ({profile.token_counter})"
            )
        if head.raw.not_carried:
            said.append(f"in no conversation are {described(head.raw.not_carried)}")
        return "; ".join(said)


@dataclass(frozen=True)
class DataLook:
    """What is known of all splits of a recipe."""

    source: str
    """Where they are from, as a person writes it."""
    splits: tuple[SplitLook, ...] = ()
    problem: str = ""
    """Why they cannot be had; empty where nothing is known against it."""
    unknown: str = ""
    """Why nothing is known of them yet; empty otherwise."""
    warnings: tuple[str, ...] = ()
    """What may turn out to be a hindrance."""

    @property
    def problems(self) -> list[str]:
        """Each thing that has to be put right first, once, after the names of the splits that it is about."""
        found: dict[str, list[str]] = {}
        for look in self.splits:
            if look.problem:
                found.setdefault(look.problem, []).append(look.name)
        named = [f"{', '.join(splits)}: {problem}" for problem, splits in found.items()]
        return [*([self.problem] if self.problem else []), *named]

    def of(self, split: str, source: str = "") -> SplitLook | None:
        """The look at that split, of the source where several are mixed."""
        return next((look for look in self.splits if (look.split, look.source) == (split, source)), None)


def look_at_data(
    recipe: Recipe,
    dataset: DatasetSection,
    data_dir: Path,
    log: Log,
    registry: Callable[[], bytes] | None = None,
    storage: DataStorage | None = None,
) -> DataLook:
    """The first rows of each split have been read, converted and judged as a materialization does it.

    `dataset` is the recipe's, or the folder in which what another asset has handed over lies. Nothing is kept but lists
    of files of a hub's commit, below `data_dir`, where downloads are looked for as well. `registry`
    reads the model's tokenizer: see `model_tokenizer`. `storage` knows the URLs that a source may have.
    """
    name = {"hub": dataset.repo, "bundled": "bundled conversations"}.get(dataset.source, str(dataset.path))
    try:
        revision = latest_revision(dataset, longest_pause_seconds=_MOST_SECONDS, storage=storage)
    except DatasetError as error:
        return DataLook(name, problem=str(error))
    if dataset.source == "hub":
        name, dataset = f"{name}@{revision}", dataset.model_copy(update={"revision": revision})
    with TemporaryDirectory() as scratch:
        tokenizer = model_tokenizer(recipe, data_dir, log, registry)
        looks = tuple(
            _look(recipe, dataset, split, data_dir, Path(scratch) / split, tokenizer, log, storage) for split in SPLITS
        )
    return DataLook(name, looks, warnings=tuple(_warnings(recipe, looks)))


def look_at_mixture(recipe: Recipe, looks: Mapping[str, DataLook]) -> DataLook:
    """What is known of all sources of a mixture, by their names; a source with too few rows is a problem."""
    mixed = DataLook(
        ", ".join(f"{name} ({look.source})" for name, look in looks.items()),
        tuple(replace(split, source=name) for name, look in looks.items() for split in look.splits),
        "; ".join(f"{name}: {look.problem}" for name, look in looks.items() if look.problem),
        "; ".join(f"{name}: {look.unknown}" for name, look in looks.items() if look.unknown),
        tuple(f"{name}: {warning}" for name, look in looks.items() for warning in look.warnings),
    )
    try:
        rows_by_source(recipe, mixed)
    except DatasetError as error:
        trains = [split.head for split in mixed.splits if split.split == "train_sft"]
        if all(head and head.is_counted and head.part == "all" for head in trains):
            return replace(mixed, problem="; ".join(filter(None, [mixed.problem, str(error)])))
        return replace(mixed, warnings=(*mixed.warnings, f"by what is known now, {error}"))
    return mixed


def rows_to_train_on(recipe: Recipe, look: DataLook) -> int | None:
    """About how many rows the recipe trains on in an epoch; None where nobody can tell yet."""
    rows = rows_by_source(recipe, look)
    return None if rows is None else sum(rows.values())


def rows_by_source(recipe: Recipe, look: DataLook) -> dict[str, int] | None:
    """About how many rows of each source the recipe trains on in an epoch, by the name that it has where several are
    mixed; None where nobody can tell yet.

    Raises:
        DatasetError: a source has too few.
    """
    sample, dataset = recipe.sample, recipe.dataset
    rows: dict[str, float] = {}
    for name in dataset.mixture or ("",):
        train, member = look.of("train_sft", name), dataset.mixture.get(name)
        if train is None or train.head is None or train.head.rows is None:
            return None
        share = 1 if member and (member.rows or dataset.total_rows) else sample.percent / 100
        rows[name] = train.head.rows * share * (1 - sample.test_percent / 100 if train.head.part == "train" else 1)
    if dataset.mixture:
        rows = dict(mixed_rows(dataset, {name: round(each) for name, each in rows.items()}))
    return {name: max(round(each * (1 - sample.validation_percent / 100)), 1) for name, each in rows.items()}


def _look(
    recipe: Recipe,
    dataset: DatasetSection,
    split: str,
    data_dir: Path,
    scratch: Path,
    tokenizer: ModelTokenizer | None,
    log: Log,
    storage: DataStorage | None,
) -> SplitLook:
    head = None
    try:
        head = head_of(dataset, split, data_dir, scratch, log, storage)
        everything, out = SampleSection(percent=100, seed=recipe.sample.seed), scratch / "sample"
        (sample,) = prepare_split(head.raw, everything, recipe.contract, out, lambda _: None, tokenizer=tokenizer)
    except UnreadInPartError as error:
        return SplitLook(split, unknown=str(error))
    except NoneUsableError as error:
        return SplitLook(split, head, problem=error.problem)
    except DatasetError as error:
        return SplitLook(split, head, problem=str(error))
    rows = pl.read_parquet(Path(sample.parquet), columns=["messages"])["messages"]
    sizes = rows.list.eval(pl.element().struct.field("content").str.len_bytes()).list.sum()
    tokens = prompt_counter(recipe.contract, tokenizer).count(rows, sizes) if len(rows) else ()
    return SplitLook(split, head, read_report(Path(sample.report)), tokens=tuple(tokens))


def _warnings(recipe: Recipe, looks: tuple[SplitLook, ...]) -> Iterator[str]:
    contract = recipe.contract
    for look in looks:
        if look.unknown:
            yield f"{look.split}: {look.unknown}"
        if look.report is None or look.profile is None:
            continue
        first = look.report.rows_total
        percent = 100 * look.report.rows_quarantined / first
        if percent > contract.max_quarantined_percent:
            broken = ", ".join(f"{each.rule} {each.rows:,}" for each in look.report.violations if each.rows)
            yield (
                f"{look.split}: of the first {first:,} rows {percent:.1f} % break the contract ({broken}), more than "
                f"contract.max_quarantined_percent ({contract.max_quarantined_percent:g})"
            )
        if 100 * look.profile.truncated_share > contract.max_truncated_percent:
            yield (
                f"{look.split}: of the first {first:,} rows {look.profile.truncated_share:.1%} are longer than "
                f"contract.context_tokens ({contract.context_tokens:,}; {look.profile.token_counter}), more than "
                f"contract.max_truncated_percent ({contract.max_truncated_percent:g})"
            )
    train = next(look for look in looks if look.split == "train_sft")
    if train.head and train.head.rows is not None:
        sampled = round(train.head.rows * recipe.sample.percent / 100)
        if sampled < contract.minimum_rows:
            yield (
                f"train_sft: {recipe.sample.percent:g} % of about {train.head.rows:,} rows are {sampled:,}, fewer than "
                f"contract.minimum_rows ({contract.minimum_rows:,}): raise sample.percent"
            )
