"""The samples of a raw split, made by a job beside the data, exactly once; only their refs and the report come back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

from phi_assets.azureml.compute.clusters import ensure_cpu_compute
from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.connection.errors import OutputMissing
from phi_assets.azureml.connection.retry import Log, find, silent
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.connection.writes import write
from phi_assets.azureml.preparation.package import environment_of, write_source
from phi_assets.azureml.preparation.pipeline import Materials, build_pipeline, verified_in
from phi_assets.azureml.preparation.places import put_folder, read_file
from phi_assets.azureml.preparation.request import PreparationRequest, SampleFound, look_at_sample
from phi_assets.azureml.training.jobs import Handling, ensure_success
from phi_assets.azureml.training.lookup import get_job
from phi_assets.azureml.training.submission import OnName, Submission, submitted
from phi_assets.config.dataset import ContractSection, SampleSection
from phi_assets.config.recipe import PreparationSection
from phi_assets.dataset.contract.tokenizers import ModelTokenizer
from phi_assets.dataset.files.manifest import PATHS, refs_of_manifest
from phi_assets.dataset.samples.findings import findings_name, keys_name
from phi_assets.dataset.samples.mixture import Raw, identity_of, ref_of, refs_of
from phi_assets.dataset.sharded.request import Plan, Request, plan_of, request_of
from phi_assets.dataset.sharded.write import hashes_name
from phi_assets.fingerprint import file_sha256, fingerprint
from phi_assets.refs import Action, ComputeRef, DataFile, SampleRef

_PLAN = "plan.json"


@dataclass(frozen=True)
class Place:
    """Where the data of a preparation lies, as datastore uris."""

    files: Sequence[str]
    """The raw shards of all sources, in their order."""
    rows: Sequence[int]
    """Of each of them."""
    root: str
    """Folder for samples, and for what steps are told."""
    test: str | None = None
    """Parquet file of the test sample, where there is one."""
    with_lines: bool = False
    """Whether some raw row is more than its columns say; see `carries_more`."""


@dataclass(frozen=True)
class PreparedBeside:
    """Samples that lie in the workspace's storage."""

    refs: tuple[SampleRef, ...]
    """Their files are datastore uris, with size and hash."""
    action: Action
    reason: str
    job: str = ""
    """The job that has made them, where this call has met it,"""
    compute: ComputeRef | None = None
    """and its cluster."""


def ensure_samples(
    ws: Workspace,
    section: PreparationSection,
    raw: Raw,
    sample: SampleSection,
    contract: ContractSection,
    place: Place,
    log: Log = silent,
    *,
    recipe: str = "",
    accepted: Sequence[str] = (),
    validation: bool = False,
    against: SampleRef | None = None,
    tokenizer: ModelTokenizer | None = None,
    on_name: OnName | None = None,
    **handling: Unpack[Handling],
) -> PreparedBeside:
    """The samples lie in a folder below `place.root` that is named by content and choices, as `prepare_split` makes
    them, byte by byte.

    Where they are there, nothing runs. Else a job is found by its computed name, waited for, or submitted, as
    `ensure_job` does it; a job that comes after a failed one takes over the steps that this has done. `recipe` is on
    whose behalf, and `accepted` are the codes of preflight that it accepts.

    Raises:
        DatasetError: a file of the contract cannot be read.
        AzureMLError: whatever `ensure_cpu_compute` and `ensure_job` raise. What is wrong with the data is in the
            message of `JobFailed`.
    """
    split = ref_of(raw).split
    identity = identity_of(raw, sample, contract, validation=validation, against=against, tokenizer=tokenizer)
    destination = f"{place.root.rstrip('/')}/sampled/{fingerprint(identity)[:12]}/"
    found = look_at_sample(ws, destination, split, identity, log)
    if found.is_complete:
        log(f"{split}: {found.in_words}; nothing runs.")
        return _prepared(ws, found, split, "reused", "The sample is there already, unchanged.")
    owner = ws.owner(recipe)
    with TemporaryDirectory() as scratch:
        told = Path(scratch) / "request"
        told.mkdir()
        request = request_of(
            raw, sample, contract, told, validation=validation, is_compared=against is not None, tokenizer=tokenizer
        )
        plan = plan_of(
            raw,
            request,
            identity,
            dict(zip(_files(raw), place.rows, strict=True)).__getitem__,
            with_lines=place.with_lines,
        )
        code = Path(scratch) / "code"
        source = write_source(code)
        environment = environment_of(contract, counts_tokens=bool(request.tokenizer or contract.tokenizer))
        wanted = PreparationRequest(
            split=split,
            inputs={
                "identity": identity,
                "files": list(place.files),
                "test": place.test,
                "destination": destination,
                "source": source,
                "environment": environment["version"],
            },
            labelled_inputs=_labelled(raw, sample, against, source),
            settings=section,
            owner=owner,
        )
        compute = ensure_cpu_compute(ws, section, log, owner=owner, accepted=accepted)
        sent: list[Materials] = []

        def submit(attempt: int, *, forced_by: str = "") -> Submission:
            if not sent:
                sent.append(_sent(ws, place, told, request, plan, log))
                _ensure_environment(ws, environment, log)
            name = wanted.job_name(attempt)
            before = get_job(ws, wanted.job_name(attempt - 1), log) if attempt > 1 else None
            has_completed = before is not None and JobStatus.of(before) is JobStatus.COMPLETED
            if on_name is not None:
                on_name(name)

            def send(_: object) -> None:
                job: Any = build_pipeline(
                    sent[0],
                    code=code,
                    environment=f"azureml:{environment['name']}:{environment['version']}",
                    compute=compute.name,
                    title=wanted.display_name(attempt),
                    destination=destination,
                )
                # What a Completed job has written is gone: steps that were taken over from it would write nothing.
                job.settings.force_rerun = has_completed
                job.name = name
                job.tags = wanted.tags(attempt, forced_by)
                ws.ml.jobs.create_or_update(job, experiment_name="phi-prepare")

            return submitted(ws, wanted, attempt, send, log)

        ensured = ensure_success(
            ws,
            wanted,
            submit,
            lambda _, __, say: look_at_sample(ws, destination, split, identity, say),
            log=log,
            on_name=on_name,
            **handling,
        )
    made = ensured.proof
    assert isinstance(made, SampleFound)
    decision = ensured.decision
    prepared = _prepared(ws, made, split, decision.action, decision.reason)
    return replace(prepared, job=ensured.job.name, compute=compute)


def _files(raw: Raw) -> list[DataFile]:
    return [file for ref in refs_of(raw).values() for file in ref.files]


def _sent(ws: Workspace, place: Place, told: Path, request: Request, plan: Plan, log: Log) -> Materials:
    """What the steps are told lies in the storage: the request by what it says, the plan by what it says."""
    content = [[str(path.relative_to(told)), file_sha256(path)] for path in sorted(told.rglob("*")) if path.is_file()]
    folder = f"{place.root.rstrip('/')}/requests/{fingerprint(content)[:12]}/"
    put_folder(ws, told, folder, log)
    with TemporaryDirectory() as scratch:
        (Path(scratch) / _PLAN).write_text(plan.model_dump_json(indent=1), encoding="utf-8")
        plans = f"{place.root.rstrip('/')}/plans/{file_sha256(Path(scratch) / _PLAN)[:12]}/"
        put_folder(ws, Path(scratch), plans, log)
    return Materials(
        request=folder,
        plan=f"{plans}{_PLAN}",
        shards=[(shard, place.files[number]) for shard, number in zip(plan.shards, plan.files, strict=True)],
        files=place.files,
        test=place.test,
        is_calibrated=bool(request.tokenizer),
    )


def _ensure_environment(ws: Workspace, wanted: Mapping[str, Any], log: Log) -> None:
    name, version = wanted["name"], wanted["version"]
    write(
        f"Environment {name}:{version}",
        look=lambda: find(lambda: ws.ml.environments.get(name, version=version), f"environment {name}", log),
        send=lambda _: ws.ml.environments.create_or_update(sdk().entities.Environment(**wanted)),
        is_done=lambda found: found is not None,
        log=log,
    )


def _prepared(ws: Workspace, found: SampleFound, split: str, action: Action, reason: str) -> PreparedBeside:
    content = read_file(ws, found.uri, hashes_name(split))
    if content is None or found.manifest is None:
        raise OutputMissing(f"{hashes_name(split)} has gone from {found.uri}: delete that folder, and run again.")
    verified = verified_in(found.uri)
    # Jobs of earlier versions have not verified what they have made.
    files = _files_in(found, found.uri, content) | _files_in(
        found, verified, read_file(ws, verified, hashes_name(split)) or b"{}"
    )

    def named(ref: SampleRef) -> SampleRef:
        made = {field: files[str(getattr(ref, field))] for field in PATHS if getattr(ref, field)}
        seen = {
            "findings": files.get(f"{verified}{findings_name(ref.split)}"),
            "keys": files.get(f"{verified}{keys_name(ref.split)}"),
        }
        return ref.model_copy(update=made | {field: file for field, file in seen.items() if file})

    refs = refs_of_manifest(found.manifest, found.uri)
    return PreparedBeside(tuple(map(named, refs)), action, reason)


def _files_in(found: SampleFound, folder: str, hashes: bytes) -> dict[str, DataFile]:
    """Those of the hashed files of a folder, at or below the sample's, that are there; by their uris."""
    uris = {f"{folder}{name}": sha256 for name, sha256 in json.loads(hashes).items()}
    return {
        uri: DataFile(name=uri, size=found.sizes[uri.removeprefix(found.uri)], sha256=sha256)
        for uri, sha256 in uris.items()
        if uri.removeprefix(found.uri) in found.sizes
    }


def _labelled(raw: Raw, sample: SampleSection, against: SampleRef | None, source: str) -> dict[str, str]:
    return {
        **{f"raw data of {name}" if name else "raw data": each.sha256[:12] for name, each in refs_of(raw).items()},
        **({"test data": against.sha256[:12]} if against else {}),
        **{key: str(value) for key, value in sample.model_dump(mode="json").items()},
        "source": source[:12],
    }
