"""The tokenizer of a recipe's model: one file, of the registry that has the model, or of the Hugging Face hub."""

import os
from collections.abc import Callable
from functools import partial
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
    source: str


def kept_tokenizer(recipe: Recipe, data_dir: Path) -> ModelTokenizer | None:
    """The tokenizer of the recipe's model, where it lies below `data_dir` and the recipe names no other; else None."""
    return next((kept for kept in tokenizer_places(recipe, data_dir) if kept.path.is_file()), None)


def model_tokenizer(
    recipe: Recipe, data_dir: Path, log: Log, registry: Callable[[], bytes] | None = None
) -> ModelTokenizer | None:
    """The tokenizer of the recipe's model lies below `data_dir`: it was there, or is the registry's, or the hub's.

    `registry` reads the `tokenizer.json` that lies in the registry beside the model, where there is a way to it. None
    where the recipe names a tokenizer of its own, or none, and where nobody has the file, which is said to `log`: what
    is counted with it is estimated then. With `HF_HUB_OFFLINE` the hub is not asked.
    """
    if (kept := kept_tokenizer(recipe, data_dir)) is not None:
        return kept
    problems: list[str] = []
    for place in tokenizer_places(recipe, data_dir):
        read = partial(_from_hub, place.source) if place.source == _repository_of(recipe) else registry
        if read is None:
            continue
        if not (problem := _keep(place, read)):
            return place
        problems.append(f"the tokenizer of {place.source} could not be had ({problem})")
    if problems:
        log(
            f"Tokens are estimated: {'; '.join(problems)}. Put it at {tokenizer_places(recipe, data_dir)[-1].path}, or "
            "name a tokenizer.json in contract.tokenizer"
        )
    return None


def tokenizer_places(recipe: Recipe, data_dir: Path) -> list[ModelTokenizer]:
    """Where a tokenizer of the recipe's model is kept and whose it is, the best first; empty where none is wanted."""
    model, contract = recipe.model, recipe.contract
    if contract.tokenizer is not None or contract.tokenizer_repo == "":
        return []
    folder = data_dir / "tokenizers"
    places: list[ModelTokenizer] = []
    if contract.tokenizer_repo is None:
        own = "--".join(("registry", model.registry, model.name, model.version))
        places.append(ModelTokenizer(folder / f"{own}.json", f"{model.name} in registry {model.registry}"))
    if repo := _repository_of(recipe):
        places.append(ModelTokenizer(folder / f"{repo.replace('/', '--')}.json", repo))
    return places


def _repository_of(recipe: Recipe) -> str:
    """The hub's repository with the tokenizer of the recipe's model; empty where none is known."""
    if (named := recipe.contract.tokenizer_repo) is not None:
        return named
    # Azure's registry and the hub call Microsoft's models alike: https://huggingface.co/microsoft
    return f"microsoft/{recipe.model.name}" if recipe.model.name.lower().startswith("phi-") else ""


_failed: dict[Path, str] = {}
"""Why a file could not be had, by its place: nobody asks for it twice in a process."""


def _keep(place: ModelTokenizer, read: Callable[[], bytes]) -> str:
    """The file lies at its place, or why it does not."""
    if place.path in _failed:
        return _failed[place.path]
    try:
        content = read()
    # Clients of registries and hubs raise what they like; all of it means that there is no tokenizer.
    except Exception as error:
        problem = without_secrets(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        return _failed.setdefault(place.path, problem)
    place.path.parent.mkdir(parents=True, exist_ok=True)
    partial_file = place.path.with_name(f".{place.path.name}.{os.getpid()}")
    partial_file.write_bytes(content)
    os.replace(partial_file, place.path)
    return ""


def _from_hub(repo: str) -> bytes:
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.errors import OfflineModeIsEnabled
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise OfflineModeIsEnabled("HF_HUB_OFFLINE is set")
    url = hf_hub_url(repo, "tokenizer.json")
    response = get_session().get(url, headers=build_hf_headers(), timeout=_SECONDS, follow_redirects=True)
    hf_raise_for_status(response)
    return response.content
