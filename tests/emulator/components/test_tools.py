"""Calls of tools, from a source's file to a model that has learned to call."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

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
)
FUNCTION = {"name": "paint", "parameters": {"type": "object", "properties": {"thing": {"type": "string"}}}}


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


def test_a_model_learns_to_call_tools(imported: Path, tmp_path: Path) -> None:
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
            num_train_epochs=4,
            per_device_train_batch_size=8,
            learning_rate=1e-2,
        )
    )
    tokenizer = load_tokenizer(prepared / "tokenizer")
    held_out = TokenRows(prepared / layout.EVALUATION_ROWS)
    assert tokenizer.decode(held_out[0]["input_ids"]).startswith("<|system|>\npaint<|end|>\n<|user|>\nPaint the ")
    before, after = (loss_of_calls(folder, held_out, tokenizer) for folder in (imported / "model", tmp_path / "tuned"))
    print(f"loss of the calls: {before:.2f} before, {after:.2f} after")
    assert after < 0.8 * before
