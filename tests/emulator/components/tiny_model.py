"""A chat model small enough to train in a test: a word-level tokenizer and a two-layer Phi3ForCausalLM."""

import json
import random
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Phi3Config, Phi3ForCausalLM, PreTrainedTokenizerFast

from phi_assets.emulator.components.mlflow_folder import write_mlflow_folder

SPECIAL = ["<unk>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '<|assistant|>\n' }}"
    "{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
COLOURS = ["red", "green", "blue", "yellow", "white", "black", "pink", "grey"]
THINGS = ["ball", "boat", "house", "door", "cup", "chair", "lamp", "book", "hat", "coat"]


def conversations(count: int, seed: int = 0) -> list[list[dict[str, str]]]:
    """Seeded conversations of one or two turns about the colours of things."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        messages = []
        for _ in range(draw.choice([1, 2])):
            colour, thing = draw.choice(COLOURS), draw.choice(THINGS)
            messages.append({"role": "user", "content": f"The {thing} is {colour}. Which colour has the {thing}?"})
            messages.append({"role": "assistant", "content": f"The {thing} is {colour}."})
        rows.append(messages)
    return rows


def write_jsonl(path: Path, rows: list[list[dict[str, str]]]) -> Path:
    """Rows in the ultrachat schema, one JSON object a line."""
    lines = [
        json.dumps({"prompt": row[0]["content"], "prompt_id": f"{index:064x}", "messages": row})
        for index, row in enumerate(rows)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def save_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with Phi-3's chat markup."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    texts = [message["content"] for row in conversations(200, seed=1) for message in row]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        unk_token="<unk>",
        eos_token="<|end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
        model_max_length=128,
    )
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    return tokenizer


def save_base_model(folder: Path) -> Path:
    """An MLflow folder with a random two-layer model, as the registry holds the base model."""
    tokenizer = save_tokenizer(folder / "tokenizer")
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        original_max_position_embeddings=128,
        tie_word_embeddings=True,
        pad_token_id=SPECIAL.index("<|endoftext|>"),
        bos_token_id=None,
        eos_token_id=SPECIAL.index("<|end|>"),
    )
    Phi3ForCausalLM(config).bfloat16().save_pretrained(folder / "model")
    write_mlflow_folder(
        folder / "mlflow",
        model_dir=folder / "model",
        tokenizer_dir=folder / "tokenizer",
        huggingface_id="test/tiny-phi3",
        metadata={"purpose": "test"},
    )
    return folder / "mlflow"


def save_broken_copy(source: Path, destination: Path) -> None:
    """A copy of an MLflow folder whose last norm is not a number."""
    shutil.copytree(source, destination)
    file = destination / "data" / "model" / "model.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], torch.nan)
    save_file(weights, file, metadata={"format": "pt"})
