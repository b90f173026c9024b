"""Whether data can be trained on: read, converted and judged as a materialization does it, without a network."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from phi_assets.config.dataset import SPLITS, ContractSection, DatasetSection, SampleSection
from phi_assets.config.recipe import Recipe
from phi_assets.dataset.contract.tokenizers import model_tokenizer
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.dataset.reports.report import read_report
from phi_assets.dataset.samples.mixture import Mixture
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.samples.usable import NoneUsableError
from phi_assets.dataset.sources.local import split_names
from phi_assets.dataset.sources.raw_splits import fetch_split
from phi_assets.refs import SampleRef

Log = Callable[[str], None]


def validate_recipe(recipe: Recipe, data_dir: Path, log: Log, storage: DataStorage | None = None) -> list[str]:
    """What stands in the way of training on the recipe's data, in sentences; nothing where nothing does.

    All of its splits are read, sampled and judged, and what they hold is said to `log`. What is downloaded or converted
    lies in `data_dir` or is looked for there; samples are thrown away. `storage` knows the URLs of sources.
    """
    problems: list[str] = []
    sources = recipe.dataset.sources()
    tokenizer = model_tokenizer(recipe, data_dir, log)
    with TemporaryDirectory() as scratch:
        found: dict[str, SampleRef] = {}
        # What is trained on is compared with what is tested with.
        for split in sorted(SPLITS, reverse=True, key=lambda each: each.startswith("test")):
            against = found.get(split.replace("train", "test")) if split.startswith("train") else None
            try:
                raw = {name: fetch_split(section, split, data_dir, log, storage) for name, section in sources.items()}
                refs = prepare_split(
                    Mixture(recipe.dataset, raw) if recipe.dataset.mixture else raw[recipe.dataset.name],
                    recipe.sample,
                    recipe.contract,
                    Path(scratch),
                    log,
                    validation=split == "train_sft",
                    against=against,
                    tokenizer=tokenizer,
                )
            except NoneUsableError as error:
                problems.append(error.problem)
                continue
            except DatasetError as error:
                problems.append(str(error))
                continue
            found |= {ref.split: ref for ref in refs}
            problems += _limits(refs, recipe.contract)
    return problems


def validate_file(file: Path, recipe: Recipe, log: Log) -> list[str]:
    """What stands in the way of training on the rows of this file or folder, by the recipe's contract, in sentences.

    The recipe's `format`, `columns`, `roles` and `drop` say how it is read; all of its rows are judged. A folder holds
    the recipe's splits.
    """
    chosen = recipe.dataset.model_copy(update={"source": "local", "path": file, "mixture": {}})
    everything = SampleSection(percent=100)
    with TemporaryDirectory() as scratch:
        data = Path(scratch) / "out"
        if file.is_dir():
            return validate_recipe(recipe.model_copy(update={"dataset": chosen, "sample": everything}), data, log)
        section = chosen.model_copy(update={"splits": {}})
        try:
            raw = fetch_split(section, _only_split(section), data, log).model_copy(update={"part": "all"})
            raw = raw.model_copy(update={"split": "train_sft", "source": str(file)})
            refs = prepare_split(raw, everything, recipe.contract, data / "sample", log)
        except NoneUsableError as error:
            return [error.problem]
        except DatasetError as error:
            return [str(error).replace(f"{file.resolve().parent}/", "")]
        return _limits(refs, recipe.contract)


def _only_split(section: DatasetSection) -> str:
    """Ours that the file is called, or that it becomes."""
    name = split_names(section)[0]
    return name if name in SPLITS else "train_sft"


def _limits(refs: Sequence[SampleRef], contract: ContractSection) -> list[str]:
    """The limits of the contract that a prepared split exceeds."""
    report = read_report(Path(refs[0].report))
    sampled = report.rows_total - report.rows_not_sampled
    problems = []
    percent = 100 * report.rows_quarantined / sampled
    if percent > contract.max_quarantined_percent:
        broken = ", ".join(f"{violation.rule} {violation.rows:,}" for violation in report.violations if violation.rows)
        problems.append(
            f"{report.split}: {report.rows_quarantined:,} of {sampled:,} rows, {percent:.1f} %, are left out "
            f"({broken}), more than contract.max_quarantined_percent ({contract.max_quarantined_percent:g})"
        )
    if report.split == "train_sft" and refs[0].rows < contract.minimum_rows:
        problems.append(
            f"{report.split}: {refs[0].rows:,} rows are left, fewer than contract.minimum_rows "
            f"({contract.minimum_rows:,}): bring more, or raise sample.percent"
        )
    if 100 * refs[0].truncated_share > contract.max_truncated_percent:
        problems.append(
            f"{report.split}: {refs[0].truncated_share:.1%} of the conversations are longer than "
            f"contract.context_tokens ({contract.context_tokens:,}), more than contract.max_truncated_percent "
            f"({contract.max_truncated_percent:g})"
        )
    return problems
