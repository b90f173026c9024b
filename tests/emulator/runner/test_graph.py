"""From a job's body to its steps: bindings, defaults, order, and everything that is refused."""

import subprocess
from typing import Any

import pytest

from phi_assets.emulator.routes.parts import Parts
from phi_assets.emulator.runner.pipeline.graph import Graph, Literal, StepOutput, Uri
from phi_assets.emulator.runner.pipeline.substitution import command_line
from phi_assets.emulator.runner.steps import shell_command
from phi_assets.emulator.wire.errors import ServiceError
from tests.emulator.testing_registry import COPY, NESTED, TWO_COPIES, WAIT, data, literal, pipeline, without_server

STORE = "azureml://datastores/workspaceblobstore/paths"
FILE = f"{STORE}/LocalUpload/abc/file.txt"
COMPONENTS = "azureml://registries/testing/components"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    parts = without_server(tmp_path_factory.mktemp("graph"))
    ready = {"name": "Cluster-1", "properties": {"provisioningState": "Succeeded"}}
    broken = {"name": "broken", "properties": {"provisioningState": "Failed"}}
    parts.emulator.store.put("compute", "cluster-1", ready)
    parts.emulator.store.put("compute", "broken", broken)
    return parts


def resolve(parts: Parts, properties: dict) -> Graph:
    return parts.runner.validate(properties)


def node(component: str, outputs: dict[str, str] | None = None, compute: str | None = None, **inputs: Any) -> dict:
    bound = {
        name: {"type": "literal", "value": f"${{{{parent.outputs.{to}}}}}"} for name, to in (outputs or {}).items()
    }
    return {"componentId": component, "inputs": inputs, "outputs": bound, "computeId": compute}


class TestResolved:
    def test_a_pipeline_component_becomes_its_steps_in_order(self, parts: Parts) -> None:
        properties = pipeline(
            pair=node(TWO_COPIES, {"result": "answer"}, source=data(FILE), compute_copy=literal("cluster-1"))
        )
        graph = resolve(parts, properties | {"outputs": {"answer": {"jobOutputType": "mlflow_model"}}})
        assert [step.key for step in graph.steps] == ["pair/first", "pair/second"]
        first, second = graph.steps
        assert first.inputs["source"] == Uri(FILE, "uri_file")
        assert second.inputs["source"] == StepOutput("pair/first", "target")
        assert "suffix" not in first.inputs
        assert (first.inputs["times"], second.inputs["times"]) == (Literal("1"), Literal("2"))
        assert {step.compute for step in graph.steps} == {"Cluster-1"}
        assert second.outputs["target"].job_output == "answer"
        assert first.outputs["target"].job_output is None
        assert graph.outputs == {"answer": StepOutput("pair/second", "target")}
        assert graph.groups["pair"].parent is None

    def test_outputs_of_a_pipeline_in_a_pipeline_are_found(self, parts: Parts) -> None:
        properties = pipeline(all=node(NESTED, {"result": "answer"}, source=data(FILE)))
        graph = resolve(parts, properties | {"outputs": {"answer": {"jobOutputType": "uri_folder"}}})
        assert [step.key for step in graph.steps] == ["all/inner/first", "all/inner/second", "all/last"]
        assert graph.step("all/last").inputs["source"] == StepOutput("all/inner/second", "target")
        assert graph.step("all/inner/first").inputs["suffix"] == Literal("+in")
        assert graph.groups["all/inner"].parent == "all"

    def test_inputs_of_the_job_reach_its_nodes(self, parts: Parts) -> None:
        properties = pipeline(
            later=node(
                COPY, source=literal("${{parent.jobs.first.outputs.target}}"), suffix=literal("a-${{parent.inputs.x}}")
            ),
            first=node(COPY, source=literal("${{parent.inputs.file}}")),
        )
        inputs = {"file": {"jobInputType": "uri_file", "uri": FILE}, "x": {"jobInputType": "literal", "value": "b"}}
        graph = resolve(parts, properties | {"inputs": inputs})
        assert [step.key for step in graph.steps] == ["first", "later"]
        assert graph.step("later").inputs["suffix"] == Literal("a-b")

    def test_a_registered_pipeline_component_can_be_the_job(self, parts: Parts) -> None:
        properties = {
            "jobType": "Pipeline",
            "componentId": TWO_COPIES,
            "inputs": {"source": {"jobInputType": "uri_file", "uri": FILE}},
            "outputs": {"result": {"jobOutputType": "mlflow_model"}},
        }
        graph = resolve(parts, properties)
        assert len(graph.steps) == 2
        assert graph.outputs["result"].output == "target"

    def test_computes_may_come_as_arm_ids_and_from_the_job(self, parts: Parts) -> None:
        arm = f"{parts.emulator.workspace_path}/computes/Cluster-1"
        properties = pipeline(a=node(COPY, source=data(FILE)), b=node(COPY, compute="serverless", source=data(FILE)))
        graph = resolve(parts, properties | {"computeId": arm})
        assert [step.compute for step in graph.steps] == ["Cluster-1", "serverless"]

    def test_registry_models_are_inputs(self, parts: Parts) -> None:
        model = data("azureml://registries/testing/models/tiny/versions/10", "mlflow_model")
        graph = resolve(parts, pipeline(pair=node(TWO_COPIES, source=data(FILE), base_model=model)))
        assert len(graph.steps) == 2


REFUSED = {
    "unknown component": (
        node(f"{COMPONENTS}/nobody/versions/1"),
        404,
        ["nobody", "testing"],
    ),
    "unknown version": (
        node(f"{COMPONENTS}/copy_file/versions/9"),
        404,
        ["copy_file:9", "1, 2"],
    ),
    "workspace component": (node("/subscriptions/s/workspaces/w/components/c/versions/1"), 404, ["Component 'c:1'"]),
    "neither registry nor workspace": (node("azureml://elsewhere/c"), 400, ["registry", "workspace"]),
    "missing input": (node(TWO_COPIES), 400, ["'source'", "node 'n'", "two_copies:1", "required"]),
    "unknown input": (node(TWO_COPIES, source=data(FILE), sufix=literal("x")), 400, ["'sufix'", "Did you mean suffix"]),
    "bad enum": (
        node(TWO_COPIES, source=data(FILE), style=literal("Plain")),
        400,
        ["'style'", "Plain", "plain, fancy"],
    ),
    "not an integer": (node(COPY, source=data(FILE), times=literal("two")), 400, ["'times'", "integer", "two"]),
    "below the minimum": (node(COPY, source=data(FILE), times=literal("0")), 400, ["'times'", "minimum is 1"]),
    "above the maximum": (node(COPY, source=data(FILE), times=literal("6")), 400, ["'times'", "maximum is 5"]),
    "not a number": (node(TWO_COPIES, source=data(FILE), rate=literal("nan")), 400, ["'rate'", "number", "nan"]),
    "not a boolean": (node(TWO_COPIES, source=data(FILE), verbose=literal("yes")), 400, ["'verbose'", "boolean"]),
    "data for a literal": (node(COPY, source=data(FILE), suffix=data(FILE)), 400, ["'suffix'", "literal"]),
    "unknown compute": (node(COPY, compute="nobody", source=data(FILE)), 400, ["'nobody'", "Cluster-1", "serverless"]),
    "unknown compute input": (
        node(TWO_COPIES, source=data(FILE), compute_copy=literal("nobody")),
        400,
        ["compute_copy", "'nobody'", "Cluster-1"],
    ),
    "broken compute": (node(COPY, compute="broken", source=data(FILE)), 400, ["broken", "provisioned"]),
    "unknown registry model": (
        node(
            TWO_COPIES,
            source=data(FILE),
            base_model=data("azureml://registries/testing/models/tiny/versions/3", "mlflow_model"),
        ),
        404,
        ["tiny:3", "10, 2"],
    ),
    "unknown data asset": (node(COPY, source=data("azureml:nothing:1")), 404, ["nothing:1"]),
    "unknown datastore": (node(COPY, source=data("azureml://datastores/mine/paths/a")), 404, ["mine"]),
    "unknown job": (node(COPY, source=data("azureml://jobs/nobody/outputs/x")), 404, ["nobody"]),
    "climbing": (
        node(COPY, source=data("azureml://datastores/workspaceblobstore/paths/../../state.sqlite")),
        400,
        ["URI"],
    ),
    "local path": (node(COPY, source=data("/etc/passwd")), 400, ["/etc/passwd"]),
    "unknown output": (node(COPY, {"targets": "answer"}, source=data(FILE)), 400, ["'targets'", "target"]),
    "unknown binding": (node(COPY, source=literal("${{parent.inputs.nothing}}")), 400, ["'nothing'"]),
    "malformed binding": (node(COPY, source=literal("${{inputs.nothing}}")), 400, ["inputs.nothing"]),
    "no component": ({"inputs": {}}, 400, ["no component"]),
}


@pytest.mark.parametrize(("bad", "status", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_a_message_that_names_it(parts: Parts, bad: dict, status: int, words: list[str]) -> None:
    with pytest.raises(ServiceError) as caught:
        resolve(parts, pipeline(n=bad))
    assert caught.value.status == status, caught.value.message
    for word in words:
        assert word in caught.value.message


def test_nodes_that_wait_for_each_other_are_refused(parts: Parts) -> None:
    properties = pipeline(
        a=node(COPY, source=literal("${{parent.jobs.b.outputs.target}}")),
        b=node(COPY, source=literal("${{parent.jobs.a.outputs.target}}")),
    )
    with pytest.raises(ServiceError, match="wait for each other"):
        resolve(parts, properties)


def test_an_output_that_nothing_writes_is_refused(parts: Parts) -> None:
    properties = pipeline(a=node(WAIT)) | {"outputs": {"answer": {"jobOutputType": "uri_folder"}}}
    with pytest.raises(ServiceError, match="answer"):
        resolve(parts, properties)


def test_a_job_without_nodes_is_refused(parts: Parts) -> None:
    with pytest.raises(ServiceError, match="no nodes"):
        resolve(parts, pipeline())


def test_the_packaged_pipeline_resolves(parts: Parts) -> None:
    component = parts.emulator.catalog.get("components", "azureml", "chat_completion_pipeline", "0.0.82")
    inputs: dict[str, Any] = {
        "train_file_path": data(FILE),
        "task_name": literal("ChatCompletion"),
        "num_train_epochs": literal("3"),
        "learning_rate": literal("5e-06"),
        "apply_lora": literal("true"),
        "precision": literal("16"),
        "number_of_gpu_to_use_finetuning": literal("8"),
        "compute_finetune": literal("cluster-1"),
    }
    properties = pipeline(p=node(component.id, {"mlflow_model_folder": "trained_model"}, **inputs))
    graph = resolve(parts, properties | {"outputs": {"trained_model": {"jobOutputType": "mlflow_model"}}})
    names = [step.name for step in graph.steps]
    assert names.index("chat_completion_datapreprocess") < names.index("chat_completion_finetune")
    assert names[-1] == "ft_nlp_model_converter"
    finetune = next(step for step in graph.steps if step.name == "chat_completion_finetune")
    assert finetune.compute == "Cluster-1"
    assert finetune.inputs["num_train_epochs"] == Literal("3")


class TestCommandLine:
    @staticmethod
    def arguments(command: str, inputs: dict[str, str], outputs: dict[str, str]) -> list[str]:
        """What the shell gives to `python`."""
        line = 'python() { printf "%s\\0" "$@"; }\n' + command_line(command, inputs, outputs)
        done = subprocess.run(shell_command(line), capture_output=True, text=True, check=True, cwd="/")
        return done.stdout.split("\0")[:-1]

    @pytest.mark.parametrize(
        "value", ["a 'b' $(c); d", '"x" `y` \\ \\\\ $HOME', "*", "# no comment", "", "a\nb", "${{inputs.name}}"]
    )
    @pytest.mark.parametrize(
        "place", ["${{inputs.name}}", "'${{inputs.name}}'", '"${{ inputs.name }}"', "x='${{inputs.name}}'"]
    )
    def test_values_stay_one_argument_whatever_is_in_them(self, value: str, place: str) -> None:
        command = (
            f"python --it\\'s --name {place} \\\n --to ${{{{ outputs.to }}}} # it's\npython last ${{{{inputs.name}}}}"
        )
        found = self.arguments(command, {"name": value}, {"to": "/tmp/with space"})
        shown = f"x={value}" if place.startswith("x") else value
        assert found == ["--it's", "--name", shown, "--to", "/tmp/with space", "last", value]

    def test_optional_parts_go_when_their_input_has_no_value(self) -> None:
        command = "python x.py $[[--a '${{inputs.a}}']] $[[--b ${{inputs.b}}]] --c"
        assert self.arguments(command, {"b": "2"}, {}) == ["x.py", "--b", "2", "--c"]

    def test_a_missing_value_is_an_error(self) -> None:
        with pytest.raises(ServiceError, match=r"inputs\.a"):
            command_line("python x.py ${{inputs.a}}", {}, {})
