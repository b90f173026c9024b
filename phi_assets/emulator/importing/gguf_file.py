"""A GGUF file, the form in which llama.cpp keeps a model, read as the Hugging Face model that it was made from."""

from pathlib import Path
from typing import Any

from phi_assets.emulator.importing.folder import ImportRefused, causal_class, require_none_missing

_MAGIC = b"GGUF"
_INSTALL = "pip install -e '.[local,gguf]'"


class GgufFile:
    """A file that is a whole GGUF, of an architecture that transformers reads; its numbers are not read yet."""

    def __init__(self, path: Path, stage: Path) -> None:
        """A link to the file lies in `stage`, a new folder that holds nothing else.

        Raises:
            ImportRefused: it is no such file, or the package that reads it is not installed.
        """
        self.path = path
        metadata = _read(path)
        self.architecture = str(metadata.fields["general.architecture"].contents())
        if "tokenizer.ggml.tokens" not in metadata.fields:
            raise ImportRefused(f"{path} has no tokenizer. Get a file that holds the whole model.")
        self.is_float32 = {tensor.tensor_type.name for tensor in metadata.tensors} == {"F32"}
        stage.mkdir()
        (stage / "model.gguf").symlink_to(path)
        # transformers prefers other files that it finds beside this one, hence the folder.
        self.location: dict[str, Any] = {"pretrained_model_name_or_path": stage, "gguf_file": "model.gguf"}

    def read_config(self) -> dict[str, Any]:
        """The model's configuration, as its `config.json` would have it.

        Raises:
            ImportRefused: transformers cannot read the architecture, or it is no causal language model.
        """
        config = self._config().to_dict()
        config["architectures"] = [causal_class(config, self.path)]
        return config

    def save_weights(self, target: Path) -> Path:
        """The model lies in `target` as plain safetensors with its configuration, nothing of it quantized.

        Raises:
            ImportRefused: the file does not hold every weight, or in a form that transformers cannot read.
        """
        import torch
        from transformers import AutoModelForCausalLM

        # What is not in full precision has less than bfloat16 holds, or comes from there like most models.
        dtype = torch.float32 if self.is_float32 else torch.bfloat16
        try:
            answer: Any = AutoModelForCausalLM.from_pretrained(
                **self.location, local_files_only=True, dtype=dtype, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError, KeyError, NotImplementedError, ImportError) as error:
            raise ImportRefused(f"The weights in {self.path} cannot be loaded: {_reason(error)}") from error
        loaded, information = answer
        require_none_missing(self.path, information)
        # What was loaded from GGUF refuses to be saved, although nothing of it is quantized any more.
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(self._config(), dtype=dtype)
        model.load_state_dict(loaded.state_dict(), assign=True)
        model.tie_weights()
        model.save_pretrained(target)
        return target

    def _config(self) -> Any:
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(**self.location, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError, NotImplementedError, ImportError) as error:
            raise ImportRefused(
                f"{self.path} is of architecture {self.architecture!r}, which transformers cannot read from a GGUF "
                f"file: {_reason(error)} Import the model's Hugging Face folder."
            ) from error


def _read(path: Path) -> Any:
    """What the file says about itself and where its tensors lie."""
    with path.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise ImportRefused(f"{path} is not a GGUF file. Give one, or the folder of a Hugging Face model.")
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ImportRefused(f"{path} is read with the package gguf, which is not installed: {_INSTALL}") from error
    try:
        metadata = GGUFReader(path)
    except (OSError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise ImportRefused(f"{path} is cut off or damaged: {_reason(error)} Download it again.") from error
    if "general.architecture" not in metadata.fields:
        raise ImportRefused(f"{path} does not say of which architecture it is. Get a file that holds the whole model.")
    return metadata


def _reason(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return text if text.endswith(".") else f"{text}."
