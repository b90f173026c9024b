"""Writes a saved Llama as llama.cpp's converter would, in full precision or quantized."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.torch import load_file

_LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_NORMAL, _CONTROL = 1, 3


def write_gguf(
    folder: Path,
    file: Path,
    *,
    template: str | None,
    architecture: str = "llama",
    quantized: bool = False,
    tokenizer: bool = True,
    without: str | None = None,
) -> Path:
    """The model of `folder` as one file; `without` names a tensor of it that is left out."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    if tokenizer:
        _add_tokenizer(writer, folder, config)
    if template is not None:
        writer.add_chat_template(template)
    for name, tensor in load_file(folder / "model.safetensors").items():
        numbers = _reordered(name, tensor.float().numpy(), config)
        if _name(name) == without:
            continue
        if quantized and numbers.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(_name(name), gguf.quantize(numbers, kind), raw_dtype=kind)
        else:
            writer.add_tensor(_name(name), numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    saved = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokens = sorted(saved["model"]["vocab"], key=saved["model"]["vocab"].__getitem__)
    special = {token["content"] for token in saved["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([_CONTROL if token in special else _NORMAL for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in saved["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])


def _name(name: str) -> str:
    if name in _OUTER:
        return _OUTER[name]
    number, _, rest = name.removeprefix("model.layers.").partition(".")
    return f"blk.{number}.{_LAYER[rest.removesuffix('.weight')]}.weight"


def _reordered(name: str, numbers: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    """llama.cpp rotates neighbours where transformers rotates the halves of a head."""
    heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
    if heads is None:
        return numbers
    halves = numbers.reshape(config[heads], 2, -1, numbers.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(numbers.shape))
