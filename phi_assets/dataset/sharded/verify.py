"""Looking at the samples that were put together, where they lie: the rows are read by who is beside them."""

import json
from pathlib import Path

from phi_assets.dataset.files.manifest import manifest_name, refs_of_manifest
from phi_assets.dataset.progress import Log
from phi_assets.dataset.samples.findings import AGAINST, TRAINED, findings_name, keys_name, look, save_keys
from phi_assets.dataset.sharded.request import Plan, Request
from phi_assets.dataset.sharded.write import hashes_name
from phi_assets.fingerprint import file_sha256
from phi_assets.refs import DataFile, SampleRef

_COMPARED = ("test_gen", *TRAINED)
"""Samples whose prompts are compared once all of them are there."""


def verify_samples(folder: Path, plan: Plan, merged: Path, out: Path, *, test: Path | None, log: Log) -> None:
    """`out` has the findings about each sample of the split, the keys of those that are compared later, and the SHA-256
    of all of these.

    Args:
        folder: of the request.
        merged: what `merge_shards` has written.
        test: the Parquet file of the test sample, where there is one.

    Raises:
        DatasetError: a file cannot be read.
    """
    request = Request.read(folder)
    manifest = json.loads((merged / manifest_name(request.split)).read_text(encoding="utf-8"))
    samples = {ref.split: ref for ref in refs_of_manifest(manifest, f"{merged}/")}
    known = {**samples, **_test(request, plan, test)}
    out.mkdir(parents=True, exist_ok=True)
    for split, ref in samples.items():
        found = look(ref, request.contract, [known[other] for other in AGAINST.get(split, ())])
        # Where they lie in this step is nobody's matter later.
        named = tuple(problem.replace(f"{merged}/", "") for problem in found.problems)
        said = found.model_copy(update={"problems": named}).model_dump_json(indent=1)
        (out / findings_name(split)).write_text(said, encoding="utf-8")
        if split in _COMPARED:
            save_keys(Path(ref.parquet), out / keys_name(split))
        log(f"{split}: {'; '.join(named) or f'{ref.rows:,} rows verified'}")
    hashes = {file.name: file_sha256(file) for file in sorted(out.iterdir())}
    (out / hashes_name(request.split)).write_text(json.dumps(hashes, indent=1), encoding="utf-8")


def _test(request: Request, plan: Plan, parquet: Path | None) -> dict[str, SampleRef]:
    """The test sample, as far as it is known here: its rows, and what names them."""
    if parquet is None:
        return {}
    split = AGAINST[request.split][0]
    sha256 = plan.identity["against_sha256"]
    ref = SampleRef(
        split=split,
        jsonl=DataFile(),
        parquet=DataFile.at(parquet),
        rows=0,
        rows_total=0,
        size_bytes=0,
        sha256=sha256,
    )
    return {split: ref}
