"""The pipeline job that makes a sample: judge each shard, compare all rows, write each shard, merge,
verify.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi_assets.azureml.connection.client import sdk
from phi_assets.dataset.sharded.request import Shard

if TYPE_CHECKING:
    from azure.ai.ml.entities import PipelineJob

SAMPLE_OUTPUT = "sample"
VERIFIED_OUTPUT = "verified"

_PROGRAM = "python -m phi_assets.dataset.sharded"
_OF_ONE = {"request": "uri_folder", "shard": "uri_file", "part": "string", "first_row": "integer", "rows": "integer"}
_OF_ALL = {"request": "uri_folder", "plan": "uri_file"}

_BUILDER = threading.Lock()
"""The SDK collects the steps of a pipeline on one stack per process."""


@dataclass(frozen=True)
class Materials:
    """What the steps are given, as datastore uris."""

    request: str
    """Folder."""
    plan: str
    shards: Sequence[tuple[Shard, str]]
    """Those that are read, with their files."""
    files: Sequence[str]
    """Of all sources, in the plan's order."""
    test: str | None = None
    """Parquet file of the test sample, where there is one."""
    is_calibrated: bool = False
    """Whether the model's tokenizer counts the tokens, of a large sample those of some rows."""


def build_pipeline(
    materials: Materials, *, code: Path, environment: str, compute: str, title: str, destination: str
) -> "PipelineJob":
    """The job, not submitted and without a name; its output `sample` is the folder `destination`, and `verified` the
    folder `verified_in(destination)`.

    Steps that an earlier job has done with the same inputs are taken over, and the failure of one shard's step does not
    keep those of others from being done.
    """
    from azure.ai.ml import dsl

    module, steps = sdk(), _Steps(materials, code, environment)
    pipeline: Any = dsl.pipeline

    @pipeline(name=title, display_name=title)
    def prepare() -> dict[str, Any]:
        calibration = steps.calibrate() if materials.is_calibrated else None
        more = {"calibration": calibration} if calibration is not None else {}
        judged = [steps.judge(number, more) for number in range(len(materials.shards))]
        compared = steps.compare(judged, more)
        written = [steps.write(number, compared) for number in range(len(materials.shards))]
        merged = steps.merge(compared, written)
        return {SAMPLE_OUTPUT: merged, VERIFIED_OUTPUT: steps.verify(merged)}

    with _BUILDER:
        job: Any = prepare()
    job.settings.default_compute = compute
    job.settings.continue_on_step_failure = True
    job.outputs[SAMPLE_OUTPUT] = module.Output(type="uri_folder", path=destination)
    job.outputs[VERIFIED_OUTPUT] = module.Output(type="uri_folder", path=verified_in(destination))
    return job


def verified_in(folder: str) -> str:
    """Folder of what looking at a sample's rows has shown, below the sample's."""
    return f"{folder}{VERIFIED_OUTPUT}/"


class _Steps:
    """Makes the steps of one pipeline while the SDK collects them; each gives what it writes."""

    def __init__(self, materials: Materials, code: Path, environment: str) -> None:
        self._materials = materials
        self._code, self._environment = code, environment

    def calibrate(self) -> Any:
        files = {f"shard_{number}": file for number, file in enumerate(self._materials.files)}
        return self._run("calibrate", "calibrate", _OF_ALL, self._of_all(), lists={"shards": self._files(files)})

    def judge(self, number: int, more: Mapping[str, Any]) -> Any:
        return self._run("judge", f"judge_{number}", _OF_ONE, self._of_one(number), more={**more, **self._test()})

    def compare(self, judged: Sequence[Any], more: Mapping[str, Any]) -> Any:
        folders = {f"judged_{number}": each for number, each in enumerate(judged)}
        return self._run("compare", "compare", _OF_ALL, self._of_all(), more=more, lists={"judged": folders})

    def write(self, number: int, compared: Any) -> Any:
        declared = {**_OF_ONE, "number": "integer", "compared": "uri_folder"}
        given = {**self._of_one(number), "number": number, "compared": compared}
        return self._run("write", f"write_{number}", declared, given)

    def merge(self, compared: Any, written: Sequence[Any]) -> Any:
        folders = {f"written_{number}": each for number, each in enumerate(written)}
        declared, given = {**_OF_ALL, "compared": "uri_folder"}, {**self._of_all(), "compared": compared}
        return self._run("merge", "merge", declared, given, lists={"written": folders})

    def verify(self, merged: Any) -> Any:
        declared, given = {**_OF_ALL, "sample": "uri_folder"}, {**self._of_all(), "sample": merged}
        return self._run("verify", "verify", declared, given, more=self._test())

    def _run(
        self,
        step: str,
        name: str,
        declared: Mapping[str, str],
        given: Mapping[str, Any],
        *,
        more: Mapping[str, Any] | None = None,
        lists: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Any:
        """A step of the program; `more` are inputs that it need not have, `lists` inputs that it has several of."""
        module = sdk()
        from azure.ai.ml import command

        more, lists = more or {}, lists or {}
        several = {
            each: "uri_file" if option == "shards" else "uri_folder" for option, of in lists.items() for each in of
        }
        optional = {each: "uri_file" if each == "test" else "uri_folder" for each in more}
        if step in ("judge", "write"):
            source = self._materials.shards[int(name.rpartition("_")[2])][0].source
            more, optional = (
                ({**more, "source": source}, {**optional, "source": "string"}) if source else (more, optional)
            )
        kinds = {**declared, **several, **optional}
        words = [_PROGRAM, step]
        words += [f"--{each.replace('_', '-')} ${{{{inputs.{each}}}}}" for each in (*declared, *optional)]
        words += [f"--{option} {' '.join(f'${{{{inputs.{each}}}}}' for each in of)}" for option, of in lists.items()]
        component: Any = command(
            name=f"phi_{step}",
            display_name=step,
            inputs={each: module.Input(type=kind) for each, kind in kinds.items()},
            outputs={"out": module.Output(type="uri_folder")},
            command=" ".join([*words, "--out ${{outputs.out}}"]),
            code=str(self._code),
            environment=self._environment,
            is_deterministic=True,
        )
        node = component(**{**given, **more, **{each: value for of in lists.values() for each, value in of.items()}})
        node.name = name
        return node.outputs.out

    def _of_one(self, number: int) -> dict[str, Any]:
        shard, file = self._materials.shards[number]
        return {
            "request": self._folder(self._materials.request),
            "shard": self._file(file),
            "part": shard.part,
            "first_row": shard.first_row,
            "rows": shard.rows,
        }

    def _of_all(self) -> dict[str, Any]:
        return {"request": self._folder(self._materials.request), "plan": self._file(self._materials.plan)}

    def _test(self) -> dict[str, Any]:
        return {"test": self._file(self._materials.test)} if self._materials.test else {}

    def _files(self, uris: Mapping[str, str]) -> dict[str, Any]:
        return {name: self._file(uri) for name, uri in uris.items()}

    @staticmethod
    def _file(uri: str | None) -> Any:
        return sdk().Input(type="uri_file", path=uri)

    @staticmethod
    def _folder(uri: str) -> Any:
        return sdk().Input(type="uri_folder", path=uri)
