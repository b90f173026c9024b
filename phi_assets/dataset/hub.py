"""Splits of a Hugging Face dataset repository: `datasets` says which files, `huggingface_hub` brings them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.write import publish, staging
from phi_assets.recipe import DatasetSection

Log = Callable[[str], None]
T = TypeVar("T")

ATTEMPTS = 4
_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 30.0

_COMMIT = re.compile(r"^[0-9a-f]{40}$")
_TRANSIENT_STATUS = (408, 429, 500, 502, 503, 504)
_ELSEWHERE = "use `source: local` with a `path` that holds the shards, or `source: bundled`"


def fetch_shards(dataset: DatasetSection, split: str, directory: Path, log: Log) -> tuple[list[Path], str]:
    """The split's Parquet files lie below `directory`; also says where they are from, as `<repo>@<commit>`.

    A split of a pinned commit that has been fetched once is found again without any request.

    Raises:
        DatasetError: repository, revision or split do not exist, the split is not Parquet, or no hub answers.
    """
    commit = resolve_commit(dataset)
    splits = _cached_splits(dataset.repo, commit, directory)
    if split not in splits:
        raise DatasetError(f"{dataset.repo}@{commit} has no split {split!r}: there are {', '.join(sorted(splits))}")
    strangers = [name for name in splits[split] if not name.endswith(".parquet")]
    if strangers:
        raise DatasetError(
            f"Split {split!r} of {dataset.repo}@{commit} is not Parquet ({strangers[0]}): convert it and {_ELSEWHERE}"
        )
    return [_download(dataset.repo, commit, name, directory, log) for name in splits[split]], f"{dataset.repo}@{commit}"


def resolve_commit(dataset: DatasetSection) -> str:
    """The commit that `dataset.revision` means now, 40 hexadecimal digits; a full commit is not asked about.

    Raises:
        DatasetError: repository or revision do not exist, or the hub cannot be reached.
    """
    return dataset.revision if _COMMIT.match(dataset.revision) else _ask_for_commit(dataset.repo, dataset.revision)


def _ask_for_commit(repo: str, revision: str) -> str:
    def ask() -> str:
        from huggingface_hub import HfApi

        commit = HfApi().dataset_info(repo, revision=revision).sha
        if commit is None:
            raise DatasetError(f"The hub does not say which commit {repo}@{revision} is: give a commit instead")
        return commit

    return _explained(lambda: _retrying(ask), repo, revision)


def _cached_splits(repo: str, commit: str, directory: Path) -> dict[str, list[str]]:
    """File names of each split in the repository's default configuration, kept once known: a commit is final."""
    cache = directory / "splits" / f"{repo.replace('/', '--')}@{commit}.json"
    if cache.is_file():
        return json.loads(cache.read_text(encoding="utf-8"))
    # First: it fails in seconds where the libraries below would go on trying for minutes.
    if (served := _ask_for_commit(repo, commit)) != commit:
        raise DatasetError(_stale(repo, commit, served))
    splits = _explained(lambda: _retrying(lambda: _resolve_splits(repo, commit, directory)), repo, commit)
    cache.parent.mkdir(parents=True, exist_ok=True)
    with staging(cache.parent, cache.stem) as folder:
        staged = folder / cache.name
        staged.write_text(json.dumps(splits, indent=1), encoding="utf-8")
        publish(staged, cache.parent)
    return splits


def _resolve_splits(repo: str, commit: str, directory: Path) -> dict[str, list[str]]:
    import datasets

    # With the scheme, a folder of the same name in the working directory is not taken for the repository.
    builder = datasets.load_dataset_builder(
        f"hf://datasets/{repo}", revision=commit, cache_dir=str(directory / "datasets")
    )
    prefix = f"hf://datasets/{repo}@{commit}/"
    return {
        str(split): [str(file).removeprefix(prefix) for file in files]
        for split, files in (builder.config.data_files or {}).items()
    }


def _download(repo: str, commit: str, name: str, directory: Path, log: Log) -> Path:
    def get() -> Path:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache

        cached = try_to_load_from_cache(repo, name, cache_dir=directory, revision=commit, repo_type="dataset")
        if isinstance(cached, str):
            return Path(cached)
        log(f"Downloading {name} of {repo}@{commit[:8]}")
        return Path(hf_hub_download(repo, name, repo_type="dataset", revision=commit, cache_dir=directory))

    # It tries again by itself, and goes on where a download broke off.
    path = _explained(get, repo, commit)
    if commit not in path.parts:
        raise DatasetError(_stale(repo, commit, str(path)))
    return path


def _stale(repo: str, commit: str, served: str) -> str:
    return (
        f"The hub answered with another revision of {repo} than {commit}: {served}. A mirror or proxy is stale: "
        f"set HF_ENDPOINT to the hub itself, or {_ELSEWHERE}"
    )


def _retrying(ask: Callable[[], T]) -> T:
    """What `ask` returns, after as many attempts as a busy hub deserves."""
    return Retrying(
        retry=retry_if_exception(_is_transient),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential_jitter(initial=_FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS),
        reraise=True,
    )(ask)


def _explained(ask: Callable[[], T], repo: str, revision: str) -> T:
    """What `ask` returns.

    Raises:
        DatasetError: the one message that explains why it failed.
    """
    try:
        return ask()
    except (OSError, httpx.HTTPError, ValueError) as error:
        raise DatasetError(_explanation(error, repo, revision)) from error


def _is_transient(error: BaseException) -> bool:
    from huggingface_hub import errors

    if any(isinstance(cause, errors.OfflineModeIsEnabled) for cause in _causes(error)):
        return False
    if isinstance(error, errors.HfHubHTTPError):
        return error.response.status_code in _TRANSIENT_STATUS
    # "Not in the cache" is how the hub's client says that it could not reach the hub.
    return isinstance(error, (httpx.TransportError, ConnectionError, errors.LocalEntryNotFoundError))


def _explanation(error: Exception, repo: str, revision: str) -> str:
    from huggingface_hub import constants, errors

    causes = _causes(error)

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    hub = constants.ENDPOINT
    if caused_by(errors.GatedRepoError):
        message = f"{repo} is gated: accept its terms at {hub}/datasets/{repo} and set HF_TOKEN"
    elif caused_by(errors.RevisionNotFoundError):
        message = f"{repo} has no revision {revision!r}: give a branch, a tag or a commit of it as dataset.revision"
    elif caused_by(errors.RepositoryNotFoundError):
        message = f"{hub} has no data set {repo!r}, or it is private: check dataset.repo, or set HF_TOKEN"
    elif caused_by(errors.HFValidationError):
        message = f"dataset.repo {repo!r} is not the name of a repository: expected <owner>/<name>"
    elif caused_by(errors.OfflineModeIsEnabled):
        message = f"{repo}@{revision} has not been downloaded and HF_HUB_OFFLINE is set: unset it, or {_ELSEWHERE}"
    elif _is_transient(error):
        message = (
            f"{hub} cannot be reached for {repo}@{revision} ({_described(causes[-1])}): check network and "
            f"proxy, pin dataset.revision to a commit that has been downloaded, or {_ELSEWHERE}"
        )
    else:
        message = f"Fetching {repo}@{revision} from {hub} failed ({_described(error)}); {_ELSEWHERE}"
    return message


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what led to it, outermost first."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    return causes


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
