"""What the steps of a preparation run: this package's own source, and the libraries in the versions that are here."""

import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from phi_assets.config.dataset import ContractSection
from phi_assets.fingerprint import canonical_json, file_sha256, fingerprint

_SOURCES = ("__init__.py", "fingerprint.py", "redaction.py", "refs.py", "config/**/*.py", "dataset/**/*.py")
"""What `phi_assets.dataset.sharded` imports: a change elsewhere makes no step another one."""

_LIBRARIES = (
    "filelock",
    "numpy",
    "orjson",
    "polars",
    "pyarrow",
    "pydantic",
    "python-dotenv",
    "tqdm",
    "xxhash",
)
# https://learn.microsoft.com/azure/machine-learning/concept-prebuilt-docker-images-inference says how images are named.
_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"


def write_source(folder: Path) -> str:
    """The folder holds the source that the steps need; SHA-256 of all of it."""
    root = Path(__file__).parents[2]
    files = sorted({path for pattern in _SOURCES for path in root.glob(pattern)})
    for file in files:
        target = folder / root.name / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return fingerprint([[str(file.relative_to(root)), file_sha256(file)] for file in files])


def environment_of(contract: ContractSection, *, counts_tokens: bool) -> dict[str, Any]:
    """The environment of the steps, as the SDK takes it: an image, and libraries pinned to the versions that are here.

    Equal versions make equal bytes: a Parquet file names the library that wrote it, and the hashes by which rows are
    compared are equal within one version of polars.
    <https://docs.pola.rs/api/python/stable/reference/expressions/api/polars.Expr.hash.html>
    """
    wanted = [
        *_LIBRARIES,
        *(["tokenizers"] if counts_tokens else []),
        *(["datafog-core"] if contract.personal_data else []),
    ]
    pins = [f"{name}=={metadata.version(name)}" for name in sorted(wanted)]
    conda = {
        "name": "phi-prepare",
        "channels": ["conda-forge"],
        "dependencies": [f"python={platform.python_version()}", "pip", {"pip": pins}],
    }
    return {
        "name": "phi-prepare",
        "version": fingerprint([_IMAGE, canonical_json(conda)])[:12],
        "image": _IMAGE,
        "conda_file": conda,
    }
