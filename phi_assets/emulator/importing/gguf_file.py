"""A GGUF file, as llama.cpp runs it, becomes a Hugging Face folder, which can be trained."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from phi_assets.emulator.importing.folder import ImportRefused

_MAGIC = b"GGUF"


def unpack(file: Path, folder: Path, say: Callable[[str], None]) -> Path:
    """The folder holds the file's weights in 16 bits, however few it has them in, its tokenizer and chat template.

    Equal files give equal folders. transformers reads the format (https://huggingface.co/docs/transformers/gguf), but
    does not save what it has read of it: the weights move to a model that does not know where they come from.

    Raises:
        ImportRefused: the file is no GGUF file, or of an architecture that cannot be read.
    """
    with file.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise ImportRefused(f"{file} is not a GGUF file. Give such a file, or a Hugging Face folder.")
    if find_spec("gguf") is None:
        raise ImportRefused(f"To read {file.name} takes the package gguf: pip install -c .constraints.txt -e '.[gguf]'")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    say(f"Unpacking {file.name} ({file.stat().st_size / 1e6:,.0f} MB) ...")
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
        read = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, local_files_only=True
        )
    except Exception as error:
        # Each architecture and each damage has an exception of its own.
        raise ImportRefused(f"{file} cannot be read: {error}. Get the model as a Hugging Face folder.") from error
    config = read.config
    vars(config).pop("quantization_config", None)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
