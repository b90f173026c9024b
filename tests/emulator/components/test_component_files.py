"""The registry's component files: the interface of the real components, and commands that the programs understand."""

import importlib
import re
import shlex
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.ai.ml import load_component, load_environment

import phi_assets.emulator
from phi_assets.emulator.components.common import Arguments
from phi_assets.emulator.runner.pipeline.substitution import command_line
from phi_assets.emulator.workspace.catalog import Catalog

REGISTRY = Path(phi_assets.emulator.__file__).parent / "registry"
FOLDER = REGISTRY / "azureml" / "components"
PIPELINE = FOLDER / "chat_completion_pipeline" / "0.0.82.yaml"
CHILDREN = {
    "ft_nlp_common_validation": "0.0.80",
    "chat_completion_model_import": "0.0.81",
    "chat_completion_datapreprocess": "0.0.80",
    "chat_completion_finetune": "0.0.81",
    "ft_nlp_model_converter": "0.0.80",
}

# Interface of version 0.0.82, from
# https://github.com/Azure/azureml-assets/tree/main/assets/training/finetune_acft_hf_nlp/components/pipeline_components
INPUTS = """
instance_type_model_import string optional default=Standard_d12_v2
instance_type_preprocess string optional default=Standard_d12_v2
instance_type_finetune string optional default=Standard_nc24rs_v3
instance_type_model_evaluation string optional default=Standard_nc24rs_v3
shm_size_finetune string optional default=5g
num_nodes_finetune integer optional default=1 min=1
number_of_gpu_to_use_finetuning integer optional default=1 min=1
huggingface_id string optional
pytorch_model_path custom_model optional
mlflow_model_path mlflow_model optional
finetune_config_path uri_file optional
trust_remote_code string optional default=false enum=true|false
task_name string required default=ChatCompletion enum=ChatCompletion
batch_size integer optional default=1000 min=1
pad_to_max_length string optional default=false enum=true|false
max_seq_length integer optional default=-1
train_file_path uri_file optional
validation_file_path uri_file optional
test_file_path uri_file optional
train_mltable_path mltable optional
validation_mltable_path mltable optional
test_mltable_path mltable optional
apply_lora string optional default=false enum=true|false
merge_lora_weights string optional default=true enum=true|false
lora_alpha integer optional default=128
lora_r integer optional default=8
lora_dropout number optional default=0.0
num_train_epochs integer optional default=1 min=1
max_steps integer optional default=-1
per_device_train_batch_size integer optional default=1 min=1
per_device_eval_batch_size integer optional default=1 min=1
auto_find_batch_size string optional default=false enum=true|false
optim string optional default=adamw_torch enum=adamw_torch|adafactor
learning_rate number optional default=2e-05
warmup_steps integer optional default=0
weight_decay number optional default=0.0
adam_beta1 number optional default=0.9
adam_beta2 number optional default=0.999
adam_epsilon number optional default=1e-8
gradient_accumulation_steps integer optional default=1
eval_accumulation_steps integer optional default=-1
lr_scheduler_type string optional default=linear enum=linear|cosine|cosine_with_restarts|\
polynomial|constant|constant_with_warmup
precision string optional default=32 enum=32|16
seed integer optional default=42
enable_full_determinism string optional default=false enum=true|false
dataloader_num_workers integer optional default=0
ignore_mismatched_sizes string optional default=false enum=true|false
max_grad_norm number optional default=1.0
evaluation_strategy string optional default=epoch enum=epoch|steps|disable
evaluation_steps_interval number optional default=0.0
eval_steps integer optional default=500
logging_strategy string optional default=steps enum=epoch|steps
logging_steps integer optional default=10
metric_for_best_model string optional default=loss enum=loss|f1|exact
resume_from_checkpoint string optional default=false enum=true|false
save_total_limit integer optional default=-1
apply_early_stopping string optional default=false enum=true|false
early_stopping_patience integer optional default=1
early_stopping_threshold number optional default=0.0
apply_deepspeed string optional default=false enum=true|false
deepspeed uri_file optional
deepspeed_stage string optional default=2 enum=2|3
apply_ort string optional default=false enum=true|false
evaluation_config uri_file optional
evaluation_config_params string optional
compute_model_import string optional default=serverless
compute_preprocess string optional default=serverless
compute_finetune string optional default=serverless
compute_model_evaluation string optional default=serverless
"""


def child_files() -> list[Path]:
    return [FOLDER / name / f"{version}.yaml" for name, version in CHILDREN.items()]


def load(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def declared(name: str, declaration: dict[str, Any]) -> str:
    words = [name, declaration["type"], "optional" if declaration["optional"] else "required"]
    if "default" in declaration:
        words.append(f"default={declaration['default']}")
    if "min" in declaration:
        words.append(f"min={declaration['min']}")
    if "enum" in declaration:
        words.append("enum=" + "|".join(declaration["enum"]))
    return " ".join(words)


def program(document: dict[str, Any]) -> tuple[str, Arguments]:
    module = re.match(r"python -m ([\w.]+)", document["command"])
    assert module is not None
    return module[1], importlib.import_module(module[1]).arguments()


def test_pipeline_declares_the_inputs_of_the_real_component() -> None:
    expected = INPUTS.strip().splitlines()
    assert len(expected) == 69
    found = [declared(name, declaration) for name, declaration in load(PIPELINE)["inputs"].items()]
    assert found == [line.replace("default=1e-8", "default=1e-08") for line in expected]


def test_pipeline_has_two_outputs_and_the_real_children() -> None:
    document = load(PIPELINE)
    assert {name: output["type"] for name, output in document["outputs"].items()} == {
        "pytorch_model_folder": "uri_folder",
        "mlflow_model_folder": "mlflow_model",
    }
    children = {name: job["component"] for name, job in document["jobs"].items()}
    assert children == {name: f"azureml:{name}:{version}" for name, version in CHILDREN.items()}


def test_bindings_of_the_pipeline_exist_on_both_sides() -> None:
    document = load(PIPELINE)
    for name, job in document["jobs"].items():
        child = load(FOLDER / name / f"{CHILDREN[name]}.yaml")
        assert set(job["inputs"]) <= set(child["inputs"])
        required = {key for key, value in child["inputs"].items() if not value.get("optional")}
        assert required <= set(job["inputs"])
        for value in job["inputs"].values():
            if match := re.fullmatch(r"\$\{\{parent\.inputs\.(\w+)\}\}", value):
                assert match[1] in document["inputs"]


@pytest.mark.parametrize("file", [PIPELINE, *child_files()], ids=lambda file: file.parent.name)
def test_the_sdk_loads_the_file(file: Path) -> None:
    component = load_component(source=file)
    document = load(file)
    assert (component.name, component.version) == (document["name"], file.stem)
    assert set(component.inputs) == set(document["inputs"])
    assert set(component.outputs) == set(document["outputs"])


def test_the_sdk_loads_the_environment() -> None:
    environment = load_environment(REGISTRY / "azureml" / "environments" / "acft-hf-nlp-gpu" / "112.yaml")
    assert (environment.name, environment.version) == ("acft-hf-nlp-gpu", "112")


def test_both_registries_hold_the_components() -> None:
    catalog = Catalog([REGISTRY])
    for registry in ("azureml", "azureml-2026"):
        assert catalog.get("components", registry, "chat_completion_pipeline", "0.0.82").registry == registry
        for name, version in CHILDREN.items():
            reference = catalog.get("components", registry, name, version).spec["environment"]
            assert catalog.resolve(reference, kind="environments").version == "112"


@pytest.mark.parametrize("file", child_files(), ids=lambda file: file.parent.name)
def test_program_understands_its_command(file: Path) -> None:
    document = load(file)
    _, parser = program(document)
    options = {option for action in parser._actions for option in action.option_strings}
    assert set(re.findall(r"(--\w+) ", document["command"])) <= options
    used = set(re.findall(r"\$\{\{inputs\.(\w+)\}\}", document["command"]))
    assert used == set(document["inputs"]), "every declared input reaches the program"


@pytest.mark.parametrize("file", child_files(), ids=lambda file: file.parent.name)
def test_program_has_the_defaults_of_its_file(file: Path) -> None:
    document = load(file)
    _, parser = program(document)
    needed = [text for action in parser._actions if action.required for text in (action.option_strings[0], "x")]
    without: Namespace = parser.parse_args(needed)
    given = [
        text
        for name, declaration in document["inputs"].items()
        if "default" in declaration
        for text in (f"--{name}", str(declaration["default"]))
    ]
    assert parser.parse_args([*needed, *given]) == without


@pytest.mark.parametrize("file", child_files(), ids=lambda file: file.parent.name)
def test_command_as_the_runner_builds_it_is_parsed(file: Path) -> None:
    document = load(file)
    _, parser = program(document)
    literals = {name: str(value["default"]) for name, value in document["inputs"].items() if "default" in value}
    assets = {
        name: f"/a folder/{name}"
        for name, value in document["inputs"].items()
        if value["type"] not in ("string", "integer", "number")
    }
    outputs = {name: f"/an output/{name}" for name in document["outputs"]}
    words = shlex.split(command_line(document["command"], {**literals, **assets}, outputs))
    options = vars(parser.parse_args(words[3:]))
    given: dict[str, Any] = {action.dest: action.type or str for action in parser._actions}
    for name, text in (literals | assets).items():
        assert options[name] == given[name](text)
    assert set(outputs.values()) <= {str(value) for value in options.values()}
