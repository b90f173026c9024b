"""Splits of a Hugging Face dataset repository: `datasets` says which files, `huggingface_hub` brings them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from phi_assets.config.dataset import DatasetSection, Part
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.disk import room_in
from phi_assets.dataset.files.write import publish, staging
from phi_assets.dataset.sources.hub_client import (
    ELSEWHERE,
    LONGEST_PAUSE_SECONDS,
    OtherRevisionError,
    ask,
    prove_undisturbed,
)

Log = Callable[[str], None]

_SPLIT = re.compile(r"^\w+(\.\w+)*$")
_COMMIT = re.compile(r"^[0-9a-f]{40}$")


def fetch_files(dataset: DatasetSection, split: str, directory: Path, log: Log) -> tuple[list[Path], str, Part]:
    """The split's files lie below `directory`; also says where they are from, as `<repo>@<commit>`, and which part of
    their rows is meant.

    A split of a pinned commit that has been fetched once is found again without any request. `hub_client.ask` says how
    long a hub that does not answer is waited for.

    Raises:
        DatasetError: repository, revision, configuration or split do not exist, no hub answers, or the disk is full.
    """
    commit, names, part = listed_files(dataset, split, directory, log)
    files = [_download(dataset.repo, commit, name, directory, log) for name in names]
    return files, f"{dataset.repo}@{commit}", part


def listed_files(dataset: DatasetSection, split: str, directory: Path, log: Log) -> tuple[str, list[str], Part]:
    """The commit that is meant, the names of the split's files in it, and which part of their rows is meant.

    Raises:
        DatasetError: repository, revision, configuration or split do not exist, or no hub answers.
    """
    commit = resolve_commit(dataset, log)
    splits = _cached_splits(dataset.repo, dataset.config, commit, directory, log)
    part, split = dataset.part_of(split, splits), dataset.source_split(split, splits)
    if split not in splits:
        raise DatasetError(
            f"{dataset.repo}@{commit} has no split {split!r}: there are {', '.join(sorted(splits))}. "
            "Say in the recipe's dataset.splits which of them is meant"
        )
    if abroad := [name for name in splits[split] if "://" in name]:
        raise DatasetError(
            f"Split {split!r} of {dataset.repo}@{commit} lies outside the repository ({abroad[0]}): download it and "
            f"{ELSEWHERE}"
        )
    return commit, splits[split], part


def resolve_commit(
    dataset: DatasetSection, log: Log = lambda _: None, longest_pause_seconds: float = LONGEST_PAUSE_SECONDS
) -> str:
    """The commit that `dataset.revision` means now, 40 hexadecimal digits; a full commit is not asked about.

    Raises:
        DatasetError: repository or revision do not exist, or the hub cannot be reached.
    """
    if _COMMIT.match(dataset.revision):
        return dataset.revision
    return ask(
        lambda: _served_commit(dataset.repo, dataset.revision),
        dataset.repo,
        dataset.revision,
        directory=None,
        log=log,
        longest_pause_seconds=longest_pause_seconds,
    )


def _served_commit(repo: str, revision: str) -> str:
    from huggingface_hub import HfApi

    commit = HfApi().dataset_info(repo, revision=revision).sha
    if commit is None:
        raise DatasetError(f"The hub does not say which commit {repo}@{revision} is: give a commit instead")
    if _COMMIT.match(revision) and commit != revision:
        raise OtherRevisionError(commit)
    return commit


def _cached_splits(repo: str, config: str | None, commit: str, directory: Path, log: Log) -> dict[str, list[str]]:
    """File names of each split in one configuration of the repository, kept once known: a commit is final."""
    folder = directory / "splits"
    stem = f"{repo.replace('/', '--')}@{commit}" + (f"--{quote(config, safe='')}" if config else "")
    cache = folder / f"{stem}.json"
    if cache.is_file():
        return json.loads(cache.read_text(encoding="utf-8"))
    # First: it fails sooner than the libraries below would, and their messages are about other things.
    ask(lambda: _served_commit(repo, commit), repo, commit, directory, log)
    splits = ask(lambda: _resolve_splits(repo, config, commit, directory), repo, commit, directory, log)
    with room_in(folder), staging(folder, stem) as staged:
        written = staged / cache.name
        written.write_text(json.dumps(splits, indent=1), encoding="utf-8")
        publish(written, folder)
    return splits


def _resolve_splits(repo: str, config: str | None, commit: str, directory: Path) -> dict[str, list[str]]:
    import datasets

    try:
        # With the scheme, a folder of the same name in the working directory is not taken for the repository.
        builder = datasets.load_dataset_builder(
            f"hf://datasets/{repo}", name=config, revision=commit, cache_dir=str(directory / "datasets")
        )
    except ValueError as error:
        prove_undisturbed()
        if (message := _configurations(repo, config, commit, str(error))) is None:
            raise
        raise DatasetError(message) from error
    prove_undisturbed()
    prefix = f"hf://datasets/{repo}@{commit}/"
    return {
        str(split): [str(file).removeprefix(prefix) for file in files]
        for split, files in (builder.config.data_files or {}).items()
    }


def _configurations(repo: str, config: str | None, commit: str, complaint: str) -> str | None:
    """What `datasets` says of a configuration, in the recipe's words; None where it speaks of something else."""
    refused = [name for name in re.findall(r"'split': '([^']*)'", complaint) if not _SPLIT.match(name)]
    if refused:
        return (
            f"README.md of {repo}@{commit} names splits that `datasets` does not take, as a name has only letters, "
            f"digits, _ and dots: {', '.join(refused)}. Download the repository and {ELSEWHERE}"
        )
    named = re.search(r"(?:available configs|Available): \[(?P<names>[^]]*)\]", complaint)
    if named is None:
        return None
    names = named["names"].replace("'", "")
    if config is None:
        return f"{repo}@{commit} has several configurations ({names}): choose one in the recipe's dataset.config"
    return f"{repo}@{commit} has no configuration {config!r}: there are {names}"


def downloaded(repo: str, commit: str, name: str, directory: Path) -> Path | None:
    """The file of that commit, where it lies below `directory` already."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(repo, name, cache_dir=directory, revision=commit, repo_type="dataset")
    return Path(cached) if isinstance(cached, str) else None


def _download(repo: str, commit: str, name: str, directory: Path, log: Log) -> Path:
    def get() -> Path:
        from huggingface_hub import hf_hub_download

        if (cached := downloaded(repo, commit, name, directory)) is not None:
            return cached
        log(f"Downloading {name} of {repo}@{commit[:8]}")
        path = Path(hf_hub_download(repo, name, repo_type="dataset", revision=commit, cache_dir=directory))
        if commit not in path.parts:
            raise OtherRevisionError(str(path))
        return path

    return ask(get, repo, commit, directory, log)
