"""The tokenizer of a recipe's model, where it can be had without more than one file: from the Hugging Face hub."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from phi_assets.config.recipe import Recipe
from phi_assets.redaction import without_secrets

Log = Callable[[str], None]

_SECONDS = 5.0
"""So long the hub may take for an answer: without it, tokens are estimated."""


class ModelTokenizer(NamedTuple):
    """A tokenizer of a model, and whose it is."""

    path: Path
    repo: str


def repository_of(recipe: Recipe) -> str:
    """The hub's repository with the tokenizer of the recipe's model; empty where none is known."""
    if (named := recipe.contract.tokenizer_repo) is not None:
        return named
    # Azure's registry and the hub call Microsoft's models alike: https://huggingface.co/microsoft
    return f"microsoft/{recipe.model.name}" if recipe.model.name.lower().startswith("phi-") else ""


def kept_tokenizer(recipe: Recipe, data_dir: Path) -> ModelTokenizer | None:
    """The tokenizer of the recipe's model, where it lies below `data_dir` and the recipe names no other; else None."""
    repo = repository_of(recipe)
    if recipe.contract.tokenizer is not None or not repo:
        return None
    path = _path(data_dir, repo)
    return ModelTokenizer(path, repo) if path.is_file() else None


def model_tokenizer(recipe: Recipe, data_dir: Path, log: Log) -> ModelTokenizer | None:
    """The tokenizer of the recipe's model lies below `data_dir`, downloaded unless it was there.

    None where the recipe names a tokenizer of its own, where no repository is known, or where the hub does not give the
    file, which is said to `log`: what is counted with it is estimated then. With `HF_HUB_OFFLINE` nothing is asked for.
    """
    repo = repository_of(recipe)
    if recipe.contract.tokenizer is not None or not repo:
        return None
    path = _path(data_dir, repo)
    if not path.is_file() and (problem := _fetch(repo, path)):
        log(
            f"Tokens are estimated: the tokenizer of {repo} could not be had ({problem}). Put it at {path}, or name a "
            "tokenizer.json in contract.tokenizer"
        )
        return None
    return ModelTokenizer(path, repo)


def _path(data_dir: Path, repo: str) -> Path:
    return data_dir / "tokenizers" / f"{repo.replace('/', '--')}.json"


@cache
def _fetch(repo: str, path: Path) -> str:
    """The file lies at `path`, or why it does not: once in a process, so that nobody waits twice."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set"
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    try:
        url = hf_hub_url(repo, "tokenizer.json")
        response = get_session().get(url, headers=build_hf_headers(), timeout=_SECONDS, follow_redirects=True)
        hf_raise_for_status(response)
    # The client raises what it likes; all of it means that there is no tokenizer.
    except Exception as error:
        return without_secrets(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(response.content)
    os.replace(partial, path)
    return ""
