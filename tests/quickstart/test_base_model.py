import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, Phi3ForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from phi_assets.emulator.components.mlflow_folder import LOADER
from phi_assets.quickstart.build_base_model import (
    DESTINATION,
    MAX_SIZE,
    Figures,
    GateError,
    all_finite,
    check,
    folder_size,
    link_code,
    measure,
)
from phi_assets.quickstart.grading import held_out_questions
from phi_assets.quickstart.markup import END_ID, MARKUP, PAD_ID
from phi_assets.quickstart.tokenizer import train_tokenizer

CONVERSATION = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Where does a cat live?"},
    {"role": "assistant", "content": "A cat lives in houses."},
    {"role": "user", "content": "And a dog?"},
    {"role": "assistant", "content": "A dog does so too."},
]

GOOD = Figures(own_format_accuracy=0.95, chat_accuracy=0.05, finite=True, size=4_600_000)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(DESTINATION / "data" / "tokenizer")


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    model = AutoModelForCausalLM.from_pretrained(DESTINATION / "data" / "model")
    assert isinstance(model, PreTrainedModel)
    return model


def test_the_folder_is_small_and_whole():
    assert folder_size(DESTINATION) <= MAX_SIZE
    assert {path.name for path in DESTINATION.iterdir()} == {
        *("MLmodel", "conda.yaml", "requirements.txt", "code", "data")
    }
    flavors = yaml.safe_load((DESTINATION / "MLmodel").read_text())["flavors"]
    assert flavors["hftransformersv2"]["task_type"] == "chat-completion"


def test_a_folder_that_is_built_anew_shares_the_package_s_code(tmp_path):
    shutil.copytree(LOADER, tmp_path / "code" / LOADER.name, ignore=shutil.ignore_patterns("__pycache__"))
    link_code(tmp_path)
    files = list((tmp_path / "code" / LOADER.name).iterdir())
    assert {file.resolve() for file in files} == set(LOADER.glob("*.py"))


def test_the_weights_are_a_finite_phi3_in_half_precision(model):
    assert isinstance(model, Phi3ForCausalLM)
    assert all_finite(model)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_a_weight_that_is_no_number_is_noticed(model):
    broken = torch.nn.Linear(2, 2)
    assert all_finite(broken)
    with torch.no_grad():
        broken.weight[0, 0] = float("nan")
    assert not all_finite(broken)


def test_generation_ends_with_the_end_of_a_message(model, tokenizer):
    config = json.loads((DESTINATION / "data" / "model" / "generation_config.json").read_text())
    assert tokenizer.convert_tokens_to_ids(list(MARKUP)) == list(range(len(MARKUP)))
    assert (model.config.eos_token_id, model.config.pad_token_id) == (END_ID, PAD_ID)
    assert (config["eos_token_id"], config["pad_token_id"]) == (END_ID, PAD_ID)
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (END_ID, PAD_ID)


def test_the_chat_template_writes_phi3_markup(tokenizer):
    text = tokenizer.apply_chat_template(CONVERSATION[:4], tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|system|>\nBe kind.<|end|>\n<|user|>\nWhere does a cat live?<|end|>\n"
        "<|assistant|>\nA cat lives in houses.<|end|>\n<|user|>\nAnd a dog?<|end|>\n<|assistant|>\n"
    )


def test_the_mask_covers_the_assistants_words_with_their_end(tokenizer):
    encoded = tokenizer.apply_chat_template(
        CONVERSATION, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    spoken = [token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    assert tokenizer.decode(spoken) == "A cat lives in houses.<|end|>A dog does so too.<|end|>"


def test_digits_are_single_tokens_and_text_comes_back(tokenizer):
    assert len(tokenizer.encode("2048", add_special_tokens=False)) == 4
    for text in ("Makes 24 cookies, doesn't it?\n- Yes!", "naïve café 日本"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


@pytest.mark.slow
def test_the_tokenizer_is_the_one_that_the_script_trains(tokenizer):
    assert (
        json.loads(train_tokenizer(0).backend_tokenizer.to_str())["model"]
        == json.loads(Path(DESTINATION, "data", "tokenizer", "tokenizer.json").read_text(encoding="utf-8"))["model"]
    )


def test_it_knows_its_facts_but_cannot_chat():
    check(measure(DESTINATION, held_out_questions(60, seed=11)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"finite": False}, "not finite"),
        ({"size": 5_100_000}, r"5\.10 MB, more than 5"),
        ({"chat_accuracy": 0.5}, "in chat it answers 50%"),
        ({"own_format_accuracy": 0.5}, "in its own format it answers 50%"),
    ],
)
def test_the_gate_names_what_is_wrong(change, message):
    check(GOOD)
    with pytest.raises(GateError, match=message):
        check(Figures(**{**vars(GOOD), **change}))
