"""Samples that a job of Azure ML makes, where the project's data lies in the workspace's own storage."""

from dataclasses import replace
from typing import Unpack

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log
from phi_assets.azureml.preparation.places import in_datastore
from phi_assets.azureml.preparation.samples import Place, PreparedBeside, ensure_samples
from phi_assets.azureml.training.jobs import Handling
from phi_assets.azureml.training.submission import OnName
from phi_assets.config.recipe import Recipe
from phi_assets.dataset.contract.tokenizers import ModelTokenizer
from phi_assets.dataset.files.manifest import PATHS
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.dataset.samples.mixture import Raw, refs_of
from phi_assets.dataset.sources.schema import has_lines, read_footer
from phi_assets.refs import DataFile, SampleRef


def prepare_beside(
    ws: Workspace,
    recipe: Recipe,
    storage: DataStorage,
    raw: Raw,
    log: Log,
    *,
    validation: bool = False,
    against: SampleRef | None = None,
    tokenizer: ModelTokenizer | None = None,
    on_name: OnName,
    **handling: Unpack[Handling],
) -> PreparedBeside:
    """The samples lie below `PHI_DATA`, made there by a job; see `ensure_samples`. Of the raw data, footers are read.

    Raises:
        DatasetError: `PHI_DATA` is in no datastore of the workspace, or a shard cannot be read.
        AzureMLError: as `ensure_samples`.
    """
    root = in_datastore(ws, storage.root)
    files = [file for ref in refs_of(raw).values() for file in ref.files]
    rows, lines = [], []
    for file in files:
        metadata = read_footer(file)
        rows.append(metadata.num_rows)
        lines.append(has_lines(file, metadata))
    place = Place(
        files=[in_datastore(ws, storage.where(file)) for file in files],
        rows=rows,
        root=root,
        test=in_datastore(ws, storage.where(against.parquet)) if against else None,
        with_lines=any(lines),
    )
    made = ensure_samples(
        ws,
        recipe.preparation,
        raw,
        recipe.sample,
        recipe.contract,
        place,
        log,
        recipe=recipe.name,
        accepted=recipe.preflight.accept,
        validation=validation,
        against=against,
        tokenizer=tokenizer,
        on_name=on_name,
        **handling,
    )
    log(made.reason)
    return replace(made, refs=tuple(_kept(ref, root, storage) for ref in made.refs))


def _kept(ref: SampleRef, root: str, storage: DataStorage) -> SampleRef:
    """The sample with its files named as all that lies below `PHI_DATA`."""

    def named(file: DataFile) -> DataFile:
        name = file.name.removeprefix(f"{root.rstrip('/')}/")
        return file.model_copy(update={"name": name}).kept_by(storage)

    return ref.model_copy(update={field: named(file) for field in PATHS if (file := getattr(ref, field))})
