"""Calls of tools, from a source's file to a model that has learned to call, and to a deployment that is asked."""

import json
import random
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from transformers import AutoModelForCausalLM

from phi_assets.azureml.connection.client import Workspace
from phi_assets.config.dataset import ContractSection, DatasetSection, SampleSection
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.sources.raw_splits import fetch_split
from phi_assets.emulator.components import layout
from phi_assets.emulator.components.chat_tokens import load_tokenizer
from phi_assets.emulator.components.token_store import TokenRows
from tests.emulator.components.conftest import finished, start
from tests.emulator.components.tiny_model import COLOURS, THINGS

pytestmark = pytest.mark.slow

# The names of the tools, and a call as `paint {"thing": "boat"}`: the tiny model has room for 128 tokens.
TEMPLATE = (
    "{% if tools %}{{ '<|system|>\\n' ~ (tools | map(attribute='function.name') | join(' ')) ~ '<|end|>\\n' }}"
    "{% endif %}"
    "{% for m in messages %}{{ '<|' ~ m['role'] ~ '|>\\n' }}{{ m['content'] if 'content' in m else '' }}"
    "{% for call in m['tool_calls'] or [] %}{{ call['function']['name'] ~ ' ' ~ call['function']['arguments'] }}"
    "{% endfor %}{{ '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
EPOCHS = 45
FUNCTION = {"name": "paint", "parameters": {"type": "object", "properties": {"thing": {"type": "string"}}}}


ASKED = {200: "boat", 201: "lamp", 202: "coat", 203: "door"}
"""Numbers that nobody has been trained with, and the things that are to be painted."""


def openai(number: int, thing: str, colour: str) -> dict[str, Any]:
    """A row in OpenAI's form."""
    call = {"name": "paint", "arguments": json.dumps({"thing": thing})}
    return {
        "messages": [
            {"role": "user", "content": f"Paint the {thing} number {number}."},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": call}]},
            {"role": "tool", "tool_call_id": "c", "content": colour},
            {"role": "assistant", "content": f"It is {colour}."},
        ],
        "tools": [{"type": "function", "function": FUNCTION}],
    }


def sharegpt(number: int, thing: str, colour: str) -> dict[str, Any]:
    """The same in ShareGPT's form."""
    return {
        "conversations": [
            {"from": "human", "value": f"Paint the {thing} number {number}."},
            {"from": "function_call", "value": json.dumps({"name": "paint", "arguments": {"thing": thing}})},
            {"from": "observation", "value": colour},
            {"from": "gpt", "value": f"It is {colour}."},
        ],
        "tools": json.dumps([FUNCTION]),
    }


def loss_of_calls(model: Path, rows: TokenRows, tokenizer: Any) -> float:
    """Mean loss on the tokens of the calls, which are the first that the assistant says."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    assistant, end = tokenizer.convert_tokens_to_ids(["<|assistant|>", "<|end|>"])
    losses = []
    for number in range(len(rows)):
        ids = rows[number]["input_ids"].tolist()
        first = ids.index(assistant) + 1
        labels = [token if first <= place <= ids.index(end, first) else -100 for place, token in enumerate(ids)]
        # Every one of them is trained.
        assert all(rows[number]["labels"][place] == token for place, token in enumerate(labels) if token >= 0)
        with torch.no_grad():
            losses.append(network(torch.tensor([ids]), labels=torch.tensor([labels])).loss.item())
    return sum(losses) / len(losses)


def written(folder: Path, form: Callable[[int, str, str], dict[str, Any]]) -> dict[str, Path]:
    """The samples that are made of 64 and 8 rows of this form."""
    choice = random.Random(3)
    folder.mkdir()
    files = {}
    for split, numbers in (("train", range(64)), ("test", range(100, 108))):
        rows = [form(number, choice.choice(THINGS), choice.choice(COLOURS)) for number in numbers]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for split in ("train", "test"):
        dataset = DatasetSection(source="local", path=folder)
        raw = fetch_split(dataset, f"{split}_sft", folder / "out", lambda _: None)
        everything, section = SampleSection(percent=100), ContractSection()
        (sample,) = prepare_split(raw, everything, section, folder / "out" / "samples", lambda _: None)
        files[f"{split}_file_path"] = Path(sample.jsonl)
    return files


def call_in(answer: str) -> dict[str, str] | None:
    """The arguments with which an answer calls the tool; None where it does not."""
    name, _, arguments = answer.partition(" ")
    try:
        return json.loads(arguments) if name == FUNCTION["name"] else None
    except ValueError:
        return None


def asked_of_a_deployment(ws: Workspace, model: Path) -> tuple[dict[str, list[str]], str]:
    """What a deployment of the model answers to requests that differ in where the tools are, and its log."""
    from azure.ai.ml.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint, Model

    client: Any = ws.ml
    name = f"tools-{uuid.uuid4().hex[:8]}"
    endpoint = client.online_endpoints.begin_create_or_update(
        ManagedOnlineEndpoint(name=name, auth_mode="key")
    ).result()
    registered = client.models.create_or_update(Model(name=name, path=str(model), type="mlflow_model"))
    deployment = ManagedOnlineDeployment(
        name="blue", endpoint_name=name, model=registered.id, instance_type="Standard_DS3_v2", instance_count=1
    )
    client.online_deployments.begin_create_or_update(deployment).wait()
    questions = [openai(number, thing, "")["messages"][:1] for number, thing in ASKED.items()]
    listed = [{"role": "system", "content": FUNCTION["name"]}]
    bodies: dict[str, dict[str, Any]] = {
        "nowhere": {"input_string": questions},
        "beside the messages": {"input_string": questions, "tools": [{"type": "function", "function": FUNCTION}]},
        "in a system message": {"input_string": [[*listed, *question] for question in questions]},
        "after the answer of the tool": {
            "input_string": [
                [*listed, *openai(number, thing, "green")["messages"][:3]] for number, thing in ASKED.items()
            ]
        },
    }
    key = client.online_endpoints.get_keys(name).primary_key
    answers = {}
    with httpx.Client(verify=ws.tls_context(), trust_env=False, timeout=60) as http:
        for where, body in bodies.items():
            body["parameters"] = {"do_sample": False, "max_new_tokens": 24}
            headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": "blue"}
            answer = http.post(endpoint.scoring_uri, json={"input_data": body}, headers=headers)
            assert answer.status_code == 200, answer.text
            answers[where] = [each["0"] for each in answer.json()]
    log = client.online_deployments.get_logs("blue", name, lines=20)
    client.online_endpoints.begin_delete(name).wait()
    return answers, log


def test_a_model_learns_to_call_tools_and_its_deployment_calls_them(
    imported: Path, toys: Workspace, tmp_path: Path
) -> None:
    files = written(tmp_path / "openai", openai)
    lines = [json.loads(line) for line in files["train_file_path"].read_text(encoding="utf-8").splitlines()]
    assert lines[0]["tools"] == openai(0, "", "")["tools"]
    assert [message["role"] for message in lines[0]["messages"]] == ["user", "assistant", "tool", "assistant"]
    # ShareGPT's form becomes the same, but for the ids of calls, which it has not.
    others = written(tmp_path / "sharegpt", sharegpt)["train_file_path"].read_text(encoding="utf-8").splitlines()
    renamed = [json.loads(line.replace('"call_0"', '"c"')) for line in others]
    assert [(row["messages"], row["tools"]) for row in renamed] == [(row["messages"], row["tools"]) for row in lines]

    shutil.copytree(imported, tmp_path / "imported")
    config = tmp_path / "imported" / layout.FINETUNE_CONFIG
    config.write_text(json.dumps({"chat_template": TEMPLATE}), encoding="utf-8")
    prepared = tmp_path / "prepared"
    finished(start("preprocess", **files, model_selector_output=tmp_path / "imported", output_dir=prepared))
    finished(
        start(
            "finetune",
            preprocess_output=prepared,
            model_selector_output=tmp_path / "imported",
            pytorch_model_folder=tmp_path / "tuned",
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=8,
            learning_rate=1e-2,
        )
    )
    tokenizer = load_tokenizer(prepared / "tokenizer")
    held_out = TokenRows(prepared / layout.EVALUATION_ROWS)
    assert tokenizer.decode(held_out[0]["input_ids"]).startswith("<|system|>\npaint<|end|>\n<|user|>\nPaint the ")
    before, after = (loss_of_calls(folder, held_out, tokenizer) for folder in (imported / "model", tmp_path / "tuned"))
    print(f"loss of the calls: {before:.2f} before, {after:.2f} after")
    assert after < 0.1 * before
    finished(start("convert", model_path=tmp_path / "tuned", output_dir=tmp_path / "mlflow"))
    answers, log = asked_of_a_deployment(toys, tmp_path / "mlflow")
    print(answers)
    # The published container gives the chat template the messages and nothing else: these tools reach nobody.
    assert answers["beside the messages"] == answers["nowhere"]
    assert "input_data holds more than the model is given: tools" in log
    # Where the template would have written them, the conversation is one as those that were trained.
    called = [call for answer in answers["in a system message"] if (call := call_in(answer)) is not None]
    assert len(called) >= len(ASKED) - 1
    assert all(call.keys() == {"thing"} for call in called)
    assert len([answer for answer in answers["nowhere"] if call_in(answer) is not None]) < len(called)
    # A call without content, and what the tool said, reach the template as they were sent.
    assert all(answer.startswith("It is ") for answer in answers["after the answer of the tool"])
