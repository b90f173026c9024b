"""The runs of one job's steps and pipeline nodes, and the places that its outputs go to."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from phi_assets.emulator.runner.pipeline.graph import Binding, Graph, Literal, Step, StepOutput, Uri
from phi_assets.emulator.runner.pipeline.reuse import step_identity
from phi_assets.emulator.runner.pipeline.substitution import command_line
from phi_assets.emulator.runner.records import Records, Run
from phi_assets.emulator.runner.references import WorkspaceResources
from phi_assets.emulator.store.blobs import DEFAULT_CONTAINER, datastore_uri


class JobRuns:
    """Creates runs as the steps of `graph` come up; `enter` moves a run to a status."""

    def __init__(
        self,
        job: str,
        graph: Graph,
        job_outputs: Mapping[str, Any],
        records: Records,
        resources: WorkspaceResources,
        enter: Callable[[str, str], None],
    ):
        self._job = job
        self._graph = graph
        self._job_outputs = job_outputs
        self._records = records
        self._resources = resources
        self._enter = enter
        # Those of a job that goes on after the emulator was started anew are there already.
        self._runs: dict[str, Run] = {run["key"]: run for run in records.family(job) if run.get("key")}
        self._uris: dict[tuple[str, str], str] = {}
        self._places: dict[str, list[Path]] = {}
        self._makers: dict[str, str] = {}
        """The runs that have written the outputs of steps: their own, or those that were taken over."""

    def create(self, step: Step) -> Run:
        """The step's run below its pipeline node, which is Running; NotStarted, unless it was there before."""
        if step.key not in self._runs and self._graph.is_single:
            fields = {"compute": step.compute, "key": step.key}
            self._records.change_run(self._job, **fields)
            self._runs[step.key] = self._parent(None) | fields
        if step.key not in self._runs:
            run = self._records.create_child(
                self._parent(step.group),
                step.name,
                step.component.id,
                compute=step.compute,
                inputs=_described_inputs(step.inputs, self._uris),
                key=step.key,
            )
            self._records.log(self._job, f"Submitting 1 run: {step.name} ({run['run_id']}) on {step.compute}")
            self._runs[step.key] = run
        run = self._runs[step.key]
        for name, place in step.outputs.items():
            chosen = (self._job_outputs.get(place.job_output or "") or {}).get("uri")
            written = (run["outputs"].get(name) or {}).get("uri")
            self._uris[step.key, name] = written or _output_uri(run["run_id"], name, place.type, chosen)
        self._makers[step.key] = run["properties"].get("azureml.reusedrunid") or run["run_id"]
        return run

    def take_over(self, step: Step) -> bool:
        """Whether an equal step has been done, of this or another job; the step's run has its outputs then."""
        identity = step_identity(step, self._makers)
        maker = self._records.maker_of(identity) if identity else None
        if maker is None or maker["outputs"].keys() != step.outputs.keys():
            return False
        run_id = self._runs[step.key]["run_id"]
        self._records.mark_reused(run_id, maker)
        self._uris |= {(step.key, name): output["uri"] for name, output in maker["outputs"].items()}
        self._makers[step.key] = maker["run_id"]
        self._records.log(self._job, f"Reusing {step.name} of run {maker['run_id']}")
        return True

    def remember(self, step: Step) -> None:
        """Equal steps may take over what this one, which is Completed, has written."""
        if identity := step_identity(step, self._makers):
            self._records.remember_maker(identity, self._makers[step.key])

    def of_group(self, key: str) -> str:
        """Run id of a pipeline node that has begun."""
        return self._runs[key]["run_id"]

    def is_warm(self, step: Step) -> bool:
        """Whether another step of the job has used the step's compute."""
        return any(run["compute"] == step.compute for key, run in list(self._runs.items()) if key != step.key)

    def command(self, step: Step) -> str:
        """What the shell runs for the step, with the folders of its outputs there to be written into."""
        inputs: dict[str, str] = {}
        places = {name: self._output_path(step, name) for name in step.outputs}
        self._places[step.key] = list(places.values())
        for name, binding in step.inputs.items():
            where = f"Input '{name}' of step {_title(step)}"
            if isinstance(binding, Literal):
                inputs[name] = binding.text
                continue
            if isinstance(binding, Uri):
                place = self._resources.local_path(binding.uri, binding.type, where)
            else:
                place = self._resources.local_path(self._uris[binding.step, binding.output], "uri_folder", where)
            self._places[step.key].append(place)
            inputs[name] = str(place)
        outputs = {name: str(place) for name, place in places.items()}
        return command_line(str(step.component.spec["command"]), inputs, outputs)

    def accept_written(self, step: Step) -> None:
        """What the step, which has ended, has written into its places is no damage of what was there."""
        for place in self._places.get(step.key, []):
            self._resources.accept_written(place)

    def outputs_of(self, step: Step) -> dict[str, Any]:
        """What the step's run shows as its outputs."""
        return {name: {"uri": self._uris[step.key, name], "type": place.type} for name, place in step.outputs.items()}

    def outputs(self) -> dict[str, Any]:
        """What the job shows as its outputs; each is the asset that its step made, under that step's name for it."""
        found = {}
        for name, source in self._graph.outputs.items():
            declared = (self._job_outputs.get(name) or {}).get("jobOutputType")
            place = self._graph.step(source.step).outputs[source.output]
            found[name] = {
                "uri": self._uris[source.step, source.output],
                "type": declared or place.type,
                "made_by": {"run": self._makers[source.step], "output": source.output},
            }
        return found

    def _output_path(self, step: Step, name: str) -> Path:
        path = self._resources.writable_path(self._uris[step.key, name])
        (path.parent if step.outputs[name].type == "uri_file" else path).mkdir(parents=True, exist_ok=True)
        return path

    def _parent(self, key: str | None) -> Run:
        if key is None:
            run = self._records.run(self._job)
            assert run is not None, f"run {self._job} was deleted while it was executing"
            return run
        if key not in self._runs:
            group = self._graph.groups[key]
            self._runs[key] = self._records.create_child(
                self._parent(group.parent),
                group.name,
                group.component.id,
                inputs=_described_inputs(group.inputs, self._uris),
                key=key,
            )
            self._enter(self._runs[key]["run_id"], "Running")
        return self._runs[key]


def _output_uri(folder: str, output: str, type_: str, uri: str | None = None) -> str:
    """Where an output is written: `azureml/{folder}/{output}/` of the default datastore unless `uri` is given.

    `folder` is the run id of the step and `output` its component's own name for it, also where it is an output of the
    pipeline: as recorded.
    """
    if uri:
        return uri.replace("${{name}}", folder).replace("${{output_name}}", output)
    end = "" if type_ == "uri_file" else "/"
    return datastore_uri(DEFAULT_CONTAINER, f"azureml/{folder}/{output}{end}")


def _described_inputs(step_inputs: Mapping[str, Binding], uris: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """Inputs as the run's document keeps them: `{"value"}` or `{"uri", "type"}`."""
    described: dict[str, Any] = {}
    for name, binding in step_inputs.items():
        if isinstance(binding, Literal):
            described[name] = {"value": binding.text}
        elif isinstance(binding, Uri):
            described[name] = {"uri": binding.uri, "type": binding.type}
        elif isinstance(binding, StepOutput) and (binding.step, binding.output) in uris:
            described[name] = {"uri": uris[binding.step, binding.output], "type": "uri_folder"}
    return described


def _title(step: Step) -> str:
    """How messages name a step."""
    return f"'{step.name}' ({step.component.name}:{step.component.version})"
