"""A folder of the user's own becomes a registry model, or is refused with what to do about it."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from phi_assets.config.recipe_files import load_recipe
from phi_assets.emulator.__main__ import main
from phi_assets.emulator.importing import leftovers, registry_model
from phi_assets.emulator.importing.folder import ImportRefused
from phi_assets.emulator.importing.registry_model import Imported, import_model
from phi_assets.emulator.workspace.catalog import Catalog
from tests.emulator.importing.llama import TEMPLATE, save_llama


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama") / "my-llama")


@pytest.fixture
def copy(llama: Path, tmp_path: Path) -> Path:
    """A folder to break."""
    return Path(shutil.copytree(llama, tmp_path / "copy"))


def imported(folder: Path, registries: Path, name: str = "mine", template: Path | None = None) -> Imported:
    return import_model(folder, registries, registry="local", name=name, chat_template=template, say=lambda _: None)


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")


def test_a_folder_becomes_a_model_that_the_catalog_has(llama: Path, tmp_path: Path) -> None:
    found = imported(llama, tmp_path)
    assert (found.id, found.is_new) == ("azureml://registries/local/models/mine/versions/1", True)
    assert (found.findings.architecture, found.findings.context) == ("LlamaForCausalLM", 512)
    weights = load_file(llama / "model.safetensors")
    assert found.findings.parameters == sum(value.numel() for value in weights.values())
    assert found.findings.takes_system_messages
    catalog = Catalog([tmp_path])
    model = catalog.get("models", "local", "mine", "1")
    assert catalog.registries() == ["local"]
    folder = catalog.model_folder(model.id)
    document = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    assert document["flavors"]["python_function"]["loader_module"] == "phi_chat_pyfunc"
    assert load_file(folder / "data" / "model" / "model.safetensors").keys() == weights.keys()
    config = json.loads((folder / "data" / "tokenizer" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["chat_template"] == TEMPLATE
    assert {path.name for path in tmp_path.iterdir()} == {"local", ".import.lock"}, "nothing staged is left"


def test_the_same_content_is_the_same_version_and_other_content_the_next(
    llama: Path, tmp_path: Path, copy: Path
) -> None:
    registries = tmp_path / "registries"
    assert imported(llama, registries).is_new
    again = imported(copy, registries)
    assert (again.version, again.is_new) == ("1", False)
    other = imported(save_llama(tmp_path / "other", seed=1), registries)
    assert (other.version, other.is_new) == ("2", True)
    assert imported(llama, registries).version == "1"
    newest, oldest = Catalog([registries]).versions("models", "local", "mine")
    assert (newest.version, oldest.version) == ("2", "1")


def test_weights_in_several_files_are_counted_once(llama: Path, tmp_path: Path) -> None:
    sharded = save_llama(tmp_path / "sharded", shards=True)
    assert len(list(sharded.glob("*.safetensors"))) > 1
    found = imported(sharded, tmp_path / "registries")
    assert found.findings.parameters == imported(llama, tmp_path / "others").findings.parameters


def test_older_weights_are_converted(copy: Path, tmp_path: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    torch.save(weights, copy / "pytorch_model.bin")
    found = imported(copy, tmp_path / "registries")
    folder = Catalog([tmp_path / "registries"]).model_folder(found.id)
    converted = load_file(folder / "data" / "model" / "model.safetensors")
    assert all(torch.equal(converted[name], value) for name, value in weights.items())


def test_a_template_of_ones_own_replaces_the_tokenizers(copy: Path, tmp_path: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(ImportRefused, match=r"no chat template\. Give one with --chat-template FILE"):
        imported(copy, tmp_path / "registries")
    template = tmp_path / "template.jinja"
    template.write_text(TEMPLATE, encoding="utf-8")
    assert imported(copy, tmp_path / "registries", template=template).is_new


def test_a_template_that_takes_no_system_message_is_told(tmp_path: Path) -> None:
    stern = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE
    folder = save_llama(tmp_path / "stern", template=stern)
    assert not imported(folder, tmp_path / "registries").findings.takes_system_messages


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")


def adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def no_language_model(folder: Path) -> None:
    change(folder / "config.json", model_type="vit")


def code_of_its_own(folder: Path) -> None:
    change(folder / "config.json", model_type="mine", auto_map={"AutoModelForCausalLM": "modeling.Mine"})


def quantized(folder: Path) -> None:
    change(folder / "config.json", quantization_config={"quant_method": "gptq"})


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_off(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-100])


def pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")


def missing_shard(folder: Path) -> None:
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def no_tokenizer(folder: Path) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()


def forgetful_template(folder: Path) -> None:
    template = TEMPLATE.replace("message['content']", "(message['content'] if message['role'] == 'user' else '')")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def silent_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ 'constant' }}", encoding="utf-8")


def wrong_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% for %}", encoding="utf-8")


def holes(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for number, (name, value) in enumerate(sorted(weights.items())) if number % 2}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def holes_in_older_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in sorted(weights) if "mlp" in name))
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def other_shapes(folder: Path) -> None:
    change(folder / "config.json", intermediate_size=48)


def a_list_of_everything(folder: Path) -> None:
    (folder / "config.json").write_text("[]", encoding="utf-8")


def nonsense_in_the_config(folder: Path) -> None:
    change(folder / "config.json", num_hidden_layers="many", hidden_size=[])


def nonsense_in_the_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("[1, 2]", encoding="utf-8")


def nonsense_in_the_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": [[[]]]}', encoding="utf-8")


def endless_template(folder: Path) -> None:
    loops = "".join(f"{{% for {name} in range(90000) %}}" for name in "abc")
    (folder / "chat_template.jinja").write_text(loops + "{% endfor %}" * 3 + TEMPLATE, encoding="utf-8")


@pytest.mark.parametrize(
    ("breaking", "complaint"),
    [
        (holes, r"lacks \d+ of the model's weights"),
        (holes_in_older_weights, "lacks 1 of the model's weights, .*mlp"),
        (other_shapes, "The weights in .* cannot be loaded"),
        (a_list_of_everything, "config.json holds no object"),
        (nonsense_in_the_config, "cannot be (imported|loaded)"),
        (nonsense_in_the_index, "cannot be imported"),
        (nonsense_in_the_tokenizer, "cannot be (imported|loaded)"),
        (endless_template, "does not end"),
        (no_config, "has no config.json. Give the folder that save_pretrained"),
        (broken_config, "config.json is not valid JSON"),
        (adapter, "is a LoRA adapter. Merge it"),
        (no_language_model, "of type 'vit', which is no causal language model"),
        (code_of_its_own, "It brings code of its own, which is not run"),
        (quantized, "quantized weights, which cannot be fine-tuned"),
        (no_weights, "has no weights: neither"),
        (cut_off, "model.safetensors is cut off"),
        (pointer, "model.safetensors is not a safetensors file|model.safetensors is cut off"),
        (missing_shard, "lacks model-00001-of-00002.safetensors"),
        (no_tokenizer, "The tokenizer in .* cannot be loaded"),
        (forgetful_template, "The chat template in .* loses the answers"),
        (silent_template, "The chat template in .* does not work here: .* does not show where the assistant"),
        (wrong_template, "The chat template in .* does not work here"),
    ],
)
def test_a_folder_that_is_no_chat_model_is_refused(
    copy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    breaking: Callable[[Path], None],
    complaint: str,
) -> None:
    monkeypatch.setattr(registry_model, "_MOST_SECONDS", 2)
    breaking(copy)
    with pytest.raises(ImportRefused, match=complaint) as refused:
        imported(copy, tmp_path / "registries")
    assert "\n" not in str(refused.value)
    assert [path.name for path in (tmp_path / "registries").iterdir()] == [".import.lock"]
    assert Catalog([tmp_path / "registries"]).registries() == []


@pytest.fixture
def command() -> Iterator[Callable[..., Result]]:
    """The command in this process, whose SIGTERM is afterwards what it was."""
    before = signal.getsignal(signal.SIGTERM)
    yield lambda *arguments: CliRunner().invoke(main, ["import-model", *map(str, arguments)])
    signal.signal(signal.SIGTERM, before)


def test_the_command_says_what_to_write_into_the_recipe(
    llama: Path, tmp_path: Path, command: Callable[..., Result]
) -> None:
    first = command(llama, "--directory", tmp_path)
    assert first.exit_code == 0, first.output
    assert "models/local-model/versions/1 imported: LlamaForCausalLM" in first.output
    assert "model: {registry: local, name: local-model, version: '1'}" in first.output
    assert "is already there" in command(llama, "--directory", tmp_path).output
    model = load_recipe("local_folder").model
    assert Catalog([tmp_path / "registry"]).versions("models", model.registry, model.name)


@pytest.mark.parametrize("option", ["--name", "--registry"])
def test_the_command_takes_no_paths_for_names(
    llama: Path, tmp_path: Path, command: Callable[..., Result], option: str
) -> None:
    result = command(llama, "--directory", tmp_path, option, "../up")
    assert result.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_the_command_refuses_with_one_line(copy: Path, tmp_path: Path, command: Callable[..., Result]) -> None:
    no_weights(copy)
    result = command(copy, "--directory", tmp_path / "emulator")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith("Error: ")


def test_what_a_killed_import_has_left_is_gone_with_the_next(llama: Path, tmp_path: Path) -> None:
    registries = tmp_path / "registries"
    first = imported(llama, registries)
    assert first.version == "1"
    files = registries / "local" / "files"
    shutil.copytree(files / "mine-1", files / "mine-2")  # killed before the model got its name
    (registries / ".import-killed" / "mlflow").mkdir(parents=True)
    (registries / "local" / "models" / "mine" / "2.tmp").write_text("name")
    (files / "of-the-user").mkdir()
    (files / "of-the-user" / "MLmodel").write_text("flavors: {}")
    leftovers.clear_leftovers(registries)
    assert {path.name for path in files.iterdir()} == {"mine-1", "of-the-user"}
    assert {path.name for path in registries.iterdir()} == {".import.lock", "local"}
    assert [path.name for path in (registries / "local" / "models" / "mine").iterdir()] == ["1.yaml"]


@pytest.mark.parametrize("kind", ["pipe", "device", "nothing"])
def test_what_is_no_file_or_folder_is_refused(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    if kind == "pipe":
        os.mkfifo(source)
    with pytest.raises(ImportRefused, match="neither a folder nor a file"):
        imported(Path("/dev/zero") if kind == "device" else source, tmp_path / "registries")


def test_a_template_that_is_no_file_is_refused(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="no chat template"):
        imported(llama, tmp_path / "registries", template=Path("/dev/zero"))
