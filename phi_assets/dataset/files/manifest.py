"""What a prepared folder was made from, so that it is found again and trusted only while it is whole."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from phi_assets.config.dataset import ContractSection, SampleSection
from phi_assets.dataset.contract.tokens import TokenCounter
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.write import Written, checksum
from phi_assets.fingerprint import file_sha256, fingerprint
from phi_assets.refs import SampleRef, SplitRef

_FORMAT = 3
"""Raise it when the same rows would be written with other bytes, so that no older sample counts as this one."""

PATHS = ("jsonl", "parquet", "quarantine", "report", "findings", "keys")
"""Fields of a sample that name files."""


def preparation_identity(
    ref: SplitRef,
    sample: SampleSection,
    contract: ContractSection,
    *,
    validation: bool,
    against: SampleRef | None,
    mixture: Mapping[str, Any] | None = None,
    tokenizer: Path | None = None,
) -> dict[str, Any]:
    """Everything that decides the bytes of the prepared files; `mixture` says how sources are mixed, and
    `tokenizer` is the model's, where it counts tokens.

    Raises:
        DatasetError: a file to decontaminate against cannot be read.
    """
    return {
        "format": _FORMAT,
        "split": ref.split,
        "raw_sha256": ref.sha256,
        "sample": sample.model_dump(mode="json", exclude={"test_percent"} if ref.part == "all" else None),
        **judged_by(contract),
        "validation": validation,
        "against_sha256": against.sha256 if against else None,
        **({"model_tokenizer_sha256": TokenCounter(tokenizer).identity} if tokenizer else {}),
        **(mixture or {}),
        # Of the report alone; left out where it is empty, as samples of earlier versions have it.
        **({"not_carried": ref.not_carried} if ref.not_carried else {}),
    }


def judged_by(contract: ContractSection) -> dict[str, Any]:
    """What of the contract decides what becomes of a row; what is asked for by name, only where it is.

    Raises:
        DatasetError: a file to decontaminate against cannot be read.
    """
    said = contract.model_dump(
        mode="json", include={"near_duplicate_threshold", "decontaminate_threshold", "personal_data"}
    )
    files = [[file.name, _sha256(file)] for file in contract.decontaminate]
    return {
        "contract": contract.model_dump(mode="json", include={"policies", "context_tokens"}),
        "tokenizer_sha256": TokenCounter(contract.tokenizer).identity,
        **said,
        **({"decontaminate": files} if files else {}),
    }


def _sha256(file: Path) -> str:
    try:
        return file_sha256(file)
    except OSError as error:
        raise DatasetError(
            f"The recipe's contract.decontaminate names {file}, which cannot be read: {error}"
        ) from error


def manifest_name(split: str) -> str:
    """File name of a prepared split's manifest."""
    return f"{split}.sample.json"


def manifest_json(identity: Mapping[str, Any], refs: tuple[SampleRef, ...], files: Mapping[str, Written]) -> str:
    """The manifest of prepared files, which names them without their folder: that may be moved."""
    content = {
        "identity": fingerprint(dict(identity)),
        "inputs": identity,
        "files": {name: asdict(written) for name, written in files.items()},
        "samples": [_with_paths(ref, "") for ref in refs],
    }
    return json.dumps(content, indent=1)


def existing_samples(folder: Path, split: str, identity: Mapping[str, Any]) -> tuple[SampleRef, ...]:
    """The samples that lie in `folder` already; none unless they are exactly these, whole and unchanged."""
    try:
        manifest = json.loads((folder / manifest_name(split)).read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, json.JSONDecodeError):
        return ()
    if manifest.get("identity") != fingerprint(dict(identity)):
        return ()
    if not all(_is_whole(folder / name, Written(**promised)) for name, promised in manifest["files"].items()):
        return ()
    return refs_of_manifest(manifest, f"{folder}/")


def refs_of_manifest(manifest: Mapping[str, Any], folder: str) -> tuple[SampleRef, ...]:
    """The samples that a manifest names, whose files lie in `folder`: a path or a URL up to and with the slash."""
    known = (SampleRef.model_validate(sample) for sample in manifest["samples"])
    return tuple(SampleRef.model_validate(_with_paths(ref, folder)) for ref in known)


def _with_paths(ref: SampleRef, folder: str) -> dict[str, Any]:
    content = ref.model_dump(mode="json")
    names = {key: Path(content[key]).name for key in PATHS if content.get(key)}
    return content | {key: f"{folder}{name}" for key, name in names.items()}


def _is_whole(path: Path, promised: Written) -> bool:
    return path.is_file() and path.stat().st_size == promised.size and checksum(path) == promised.checksum
