"""A GGUF file becomes the registry model that it was made from, or is refused with what to do about it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from phi_assets.emulator.importing.folder import ImportRefused
from phi_assets.emulator.importing.registry_model import Imported, import_model
from phi_assets.emulator.workspace.catalog import Catalog
from tests.emulator.importing.gguf_writer import write_gguf
from tests.emulator.importing.llama import TEMPLATE, save_llama

_WITHOUT_GGUF = (
    "import sys; sys.modules['gguf'] = None; from phi_assets.emulator.__main__ import main; main(sys.argv[1:])"
)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama") / "my-llama")


@pytest.fixture(scope="module")
def whole(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(llama, tmp_path_factory.mktemp("gguf") / "mine.gguf", template=TEMPLATE)


def imported(source: Path, registries: Path, template: Path | None = None) -> Imported:
    return import_model(source, registries, registry="local", name="mine", chat_template=template, say=lambda _: None)


def data(registries: Path, found: Imported) -> Path:
    return Catalog([registries]).model_folder(found.id) / "data"


def test_a_file_is_the_model_that_it_was_made_from(llama: Path, whole: Path, tmp_path: Path) -> None:
    found = imported(whole, tmp_path)
    assert (found.version, found.is_new) == ("1", True)
    assert (found.findings.architecture, found.findings.context) == ("LlamaForCausalLM", 512)
    before, after = load_file(llama / "model.safetensors"), load_file(data(tmp_path, found) / "model/model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name].float(), after[name]) for name in before)
    assert found.findings.parameters == sum(value.numel() for value in before.values())
    text = "<|im_start|>user\nWhich colour has the boat in 2024?<|im_end|>\n"
    old: Any = AutoTokenizer.from_pretrained(llama)
    new: Any = AutoTokenizer.from_pretrained(data(tmp_path, found) / "tokenizer")
    assert new(text)["input_ids"] == old(text)["input_ids"]
    assert (new.chat_template, new.eos_token) == (TEMPLATE, "<|im_end|>")
    generation = json.loads((data(tmp_path, found) / "model/generation_config.json").read_text(encoding="utf-8"))
    assert generation["eos_token_id"] == old.eos_token_id, "answers end"
    assert {path.name for path in tmp_path.iterdir()} == {"local", ".import.lock"}, "nothing staged is left"


def test_quantized_weights_become_ones_that_can_be_trained(llama: Path, tmp_path: Path) -> None:
    found = imported(write_gguf(llama, tmp_path / "q8.gguf", template=TEMPLATE, quantized=True), tmp_path / "r")
    folder = data(tmp_path / "r", found) / "model"
    before, after = load_file(llama / "model.safetensors"), load_file(folder / "model.safetensors")
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=0.02, atol=0.002)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    assert all(value.dtype == torch.bfloat16 and value.requires_grad for value in model.parameters())


def test_the_same_file_is_the_same_version_under_any_name_and_beside_anything(
    llama: Path, whole: Path, tmp_path: Path
) -> None:
    first = imported(whole, tmp_path / "r")
    shutil.copytree(save_llama(tmp_path / "other", seed=1), tmp_path / "beside")
    again = imported(Path(shutil.copy(whole, tmp_path / "beside" / "again.gguf")), tmp_path / "r")
    assert (again.version, again.is_new, again.findings) == ("1", False, first.findings)
    template = tmp_path / "template.jinja"
    template.write_text(TEMPLATE + "{# another #}", encoding="utf-8")
    assert imported(whole, tmp_path / "r", template).version == "2"


def test_a_template_of_ones_own_makes_up_for_none(llama: Path, tmp_path: Path) -> None:
    mute = write_gguf(llama, tmp_path / "mute.gguf", template=None)
    with pytest.raises(ImportRefused, match=r"mute\.gguf has no chat template\. Give one with --chat-template FILE"):
        imported(mute, tmp_path / "r")
    template = tmp_path / "template.jinja"
    template.write_text(TEMPLATE, encoding="utf-8")
    assert imported(mute, tmp_path / "r", template).is_new


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"architecture": "nonsense"}, r"of architecture 'nonsense', which transformers cannot read"),
        ({"tokenizer": False}, r"has no tokenizer\. Get a file that holds the whole model"),
        ({"without": "blk.1.ffn_up.weight"}, r"lacks 1 of the model's weights, model\.layers\.1\.mlp\.up_proj\.weight"),
    ],
)
def test_a_file_that_is_not_enough_is_refused(
    llama: Path, tmp_path: Path, options: dict[str, Any], complaint: str
) -> None:
    file = write_gguf(llama, tmp_path / "mine.gguf", template=TEMPLATE, **options)
    with pytest.raises(ImportRefused, match=complaint):
        imported(file, tmp_path / "r")
    assert Catalog([tmp_path / "r"]).registries() == []


def test_a_file_that_is_none_or_cut_off_is_refused(llama: Path, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"config\.json is not a GGUF file"):
        imported(llama / "config.json", tmp_path / "r")
    content = whole.read_bytes()
    for length in (2, 10, 1000, len(content) - 1000):
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(content[:length])
        with pytest.raises(ImportRefused, match=r"cut\.gguf is (cut off or damaged|not a GGUF file)"):
            imported(cut, tmp_path / "r")


def test_a_folder_of_files_says_to_give_one(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"no config\.json\. Give a GGUF file itself: .*mine\.gguf"):
        imported(whole.parent, tmp_path / "r")


def test_what_to_install_is_said_in_one_line(whole: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", _WITHOUT_GGUF, "import-model", str(whole), "--directory", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert "the package gguf, which is not installed: pip install -e '.[local,gguf]'" in result.stderr
