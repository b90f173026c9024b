"""A GGUF file becomes the model that it was made of, or is refused with what to do about it."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from phi_assets.emulator.catalog import Catalog
from phi_assets.emulator.importing.folder import ImportRefused
from phi_assets.emulator.importing.registry_model import Imported, import_model
from tests.emulator.importing.gguf_writer import write_gguf
from tests.emulator.importing.llama import TEMPLATE, save_llama


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama") / "my-llama")


def imported(source: Path, registries: Path) -> Imported:
    return import_model(source, registries, registry="local", name="mine", say=lambda _: None)


def test_a_file_is_the_model_that_it_was_made_of(llama: Path, tmp_path: Path) -> None:
    file = write_gguf(llama, tmp_path / "mine.gguf", template=TEMPLATE)
    registries = tmp_path / "registries"
    found = imported(file, registries)
    assert (found.version, found.is_new, found.findings.architecture) == ("1", True, "LlamaForCausalLM")
    assert (found.findings.context, found.findings.takes_system_messages) == (512, True)
    folder = Catalog([registries]).model_folder(found.id)
    before, after = load_file(llama / "model.safetensors"), load_file(folder / "data" / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (folder / "data" / "tokenizer" / "tokenizer.json").is_file()
    again = imported(file, registries)
    assert (again.version, again.is_new) == ("1", False)


def test_a_file_of_something_else_is_refused(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"config\.json is not a GGUF file. Give such a file, or a Hugging"):
        imported(llama / "config.json", tmp_path)
    with pytest.raises(ImportRefused, match=r"mine\.gguf cannot be read: .*nonsense.* Get the model as a Hugging Face"):
        imported(write_gguf(llama, tmp_path / "mine.gguf", architecture="nonsense"), tmp_path / "registries")
    with pytest.raises(ImportRefused, match=r"has no chat template\. Give one with --chat-template FILE"):
        imported(write_gguf(llama, tmp_path / "mute.gguf"), tmp_path / "registries")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(write_gguf(llama, tmp_path / "whole.gguf", template=TEMPLATE).read_bytes()[:20_000])
    with pytest.raises(ImportRefused, match=r"cut\.gguf cannot be read"):
        imported(cut, tmp_path / "registries")


def test_what_to_install_is_said(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_gguf(llama, tmp_path / "mine.gguf", template=TEMPLATE)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ImportRefused, match=r"takes the package gguf: pip install .* -e '\.\[gguf\]'"):
        imported(file, tmp_path / "registries")
