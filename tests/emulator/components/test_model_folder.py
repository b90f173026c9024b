"""The MLflow folder: its layout, that MLflow loads it, and how it answers."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml

from phi_assets.emulator.components import phi_chat_pyfunc
from phi_assets.emulator.components.mlflow_folder import LOADER, write_mlflow_folder
from tests.emulator.components import tiny_model

BASE_MODEL = Path(phi_chat_pyfunc.__file__).parents[2] / "registry" / "models" / "phi3-tiny"
QUESTION = [{"role": "user", "content": "The cup is red. Which colour has the cup?"}]
OTHER = [{"role": "user", "content": "The boat is blue. The boat is blue. Which colour has the boat? Which?"}]
SAMPLED = {"do_sample": True, "temperature": 1.5, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def model(base_model: Path) -> Any:
    return mlflow.pyfunc.load_model(str(base_model))


def ask(model: Any, conversations: Any, **parameters: Any) -> list[str]:
    return model.predict({"input_string": conversations, "parameters": parameters})


def digest(folder: Path) -> str:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    content = [f"{file.relative_to(folder)} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()


def test_layout(base_model: Path) -> None:
    for name in (
        "MLmodel",
        "conda.yaml",
        "requirements.txt",
        "code/phi_chat_pyfunc/__init__.py",
        "data/model/config.json",
        "data/model/model.safetensors",
        "data/model/generation_config.json",
        "data/tokenizer/tokenizer.json",
        "data/config/config.json",
    ):
        assert (base_model / name).is_file(), name
    flavors = yaml.safe_load((base_model / "MLmodel").read_text())["flavors"]
    assert flavors["hftransformersv2"]["task_type"] == "chat-completion"
    assert flavors["hftransformersv2"]["huggingface_id"] == "test/tiny-phi3"
    assert flavors["python_function"]["loader_module"] == "phi_chat_pyfunc"
    config = json.loads((base_model / "data/tokenizer/tokenizer_config.json").read_text())
    assert "<|assistant|>" in config["chat_template"]


def test_same_inputs_give_the_same_bytes(base_model: Path, tmp_path: Path) -> None:
    source = base_model.parent
    for name in ("a", "b"):
        write_mlflow_folder(
            tmp_path / name,
            model_dir=source / "model",
            tokenizer_dir=source / "tokenizer",
            huggingface_id="test/tiny-phi3",
            metadata={},
        )
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_the_shipped_model_has_the_code_that_others_get() -> None:
    code = BASE_MODEL / "code" / LOADER.name
    assert sorted(file.name for file in code.glob("*.py")) == sorted(file.name for file in LOADER.glob("*.py"))
    for file in code.glob("*.py"):
        assert file.resolve() == (LOADER / file.name).resolve()


def test_a_folder_with_the_loader_in_one_file_still_answers(base_model: Path, tmp_path: Path) -> None:
    """As folders from before the loader was a package have it; in a process of its own, as deployments load it."""
    folder = tmp_path / "old"
    shutil.copytree(base_model, folder, ignore=shutil.ignore_patterns("code"))
    (folder / "code").mkdir()
    (folder / "code" / "phi_chat_pyfunc.py").write_text(
        "class Old:\n    def predict(self, model_input, params=None):\n        return ['old']\n"
        "def _load_pyfunc(data_path):\n    return Old()\n"
    )
    assert ask_alone(folder) == ["old"]


def test_a_folder_answers_where_nothing_of_the_project_can_be_imported(base_model: Path) -> None:
    assert len(ask_alone(base_model)) == 1


def ask_alone(folder: Path) -> list[str]:
    program = (
        "import sys; sys.modules['phi_assets'] = None; import json, mlflow.pyfunc;"
        "model = mlflow.pyfunc.load_model(sys.argv[1], suppress_warnings=True);"
        "print(json.dumps(model.predict(json.loads(sys.argv[2]))))"
    )
    request = {"input_string": [QUESTION], "parameters": {"max_new_tokens": 2}}
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), json.dumps(request)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_template_in_a_file_of_its_own_is_taken_in(base_model: Path, tmp_path: Path) -> None:
    tokenizer = tiny_model.save_tokenizer(tmp_path / "inline")
    tokenizer.save_pretrained(tmp_path / "tokenizer", save_jinja_files=True)
    assert (tmp_path / "tokenizer" / "chat_template.jinja").is_file()
    write_mlflow_folder(
        tmp_path / "m",
        model_dir=base_model / "data" / "model",
        tokenizer_dir=tmp_path / "tokenizer",
        huggingface_id="x",
        metadata={},
    )
    config = json.loads((tmp_path / "m" / "data/tokenizer/tokenizer_config.json").read_text())
    assert config["chat_template"] == tiny_model.TEMPLATE


def test_refuses_to_mix_with_another_model(base_model: Path) -> None:
    with pytest.raises(FileExistsError, match="not empty"):
        write_mlflow_folder(base_model, model_dir=base_model, tokenizer_dir=base_model, huggingface_id="x", metadata={})


def test_refuses_incomplete_sources(base_model: Path, tmp_path: Path) -> None:
    model, tokenizer = tmp_path / "model", tmp_path / "tokenizer"
    shutil.copytree(base_model / "data" / "model", model)
    shutil.copytree(base_model / "data" / "tokenizer", tokenizer)
    config = json.loads((tokenizer / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="no chat template"):
        write_mlflow_folder(tmp_path / "a", model_dir=model, tokenizer_dir=tokenizer, huggingface_id="x", metadata={})
    (model / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no \.safetensors"):
        write_mlflow_folder(tmp_path / "b", model_dir=model, tokenizer_dir=tokenizer, huggingface_id="x", metadata={})
    assert not (tmp_path / "a" / "MLmodel").exists()


def test_one_answer_per_conversation(model: Any) -> None:
    answers = ask(model, [QUESTION, OTHER, QUESTION], max_new_tokens=4, do_sample=False)
    assert len(answers) == 3
    assert answers[0] == answers[2]
    assert ask(model, QUESTION, max_new_tokens=4, do_sample=False) == answers[:1]


def test_padding_does_not_change_a_greedy_answer(base_model: Path) -> None:
    chat = phi_chat_pyfunc._load_pyfunc(str(base_model / "data"))
    # A random model stops or repeats at once; without stop tokens it shows what it would say.
    chat.stop_ids = [0]
    alone = ask(chat, [QUESTION], max_new_tokens=6, temperature=0)
    beside = ask(chat, [QUESTION, OTHER], max_new_tokens=6, temperature=0)
    assert beside[0] == alone[0]


def test_a_conversation_that_joins_a_batch_on_its_way_gets_the_answer_that_it_gets_alone() -> None:
    # A random model would say the same to everybody.
    chat = phi_chat_pyfunc._load_pyfunc(str(BASE_MODEL / "data"))
    questions = [
        "What is the capital of France?",
        "Hello! Could you please tell me where a cat lives, what it eats and what its baby is called? Thank you!",
        "Hi",
        "What is the opposite of warm? And what is the opposite of small, of late and of loud? " * 3,
        "How do I make pancakes?",
        "Which language do people speak in Spain?",
        "What does a dog eat?",
    ]
    conversations = [[{"role": "user", "content": question}] for question in questions]
    alone = [ask(chat, [conversation], max_new_tokens=30, do_sample=False)[0] for conversation in conversations]
    assert len(set(alone)) == len(alone)

    batch = chat.open_batch({"max_new_tokens": 30, "do_sample": False}, {})
    places: dict[int, int] = {}
    answers: dict[int, str] = {}
    # Two at first, then one more every fourth step; all leave at different times.
    for step in range(200):
        arriving = [0, 1] if step == 0 else [1 + step // 4] if step % 4 == 0 and step // 4 < 6 else []
        keys = batch.add([conversations[place] for place in arriving]) if arriving else []
        places |= dict(zip(keys, arriving, strict=True))
        answers |= {places[key]: text for key, text in batch.step().items()}
        if not len(batch):
            break
    assert [answers[place] for place in range(7)] == alone


def test_a_batch_refuses_what_is_wrong_and_goes_on(base_model: Path) -> None:
    chat = phi_chat_pyfunc._load_pyfunc(str(base_model / "data"))
    with pytest.raises(ValueError, match="'temperature'"):
        chat.open_batch({}, {"temperature": "hot"})
    batch = chat.open_batch({"max_new_tokens": 3}, {})
    (key,) = batch.add([QUESTION])
    with pytest.raises(ValueError, match="context is 128"):
        batch.add([OTHER, [{"role": "user", "content": "cup " * 200}]])
    assert len(batch) == 1
    answers = {}
    while len(batch):
        answers |= batch.step()
    assert answers == {key: ask(chat, [QUESTION], max_new_tokens=3)[0]}


def test_an_answer_never_leaves_the_context(base_model: Path) -> None:
    chat = phi_chat_pyfunc._load_pyfunc(str(base_model / "data"))
    chat.stop_ids = []
    batch = chat.open_batch({"max_new_tokens": 1_000}, {})
    batch.add([QUESTION])
    length = len(chat.tokenizer(chat.prompt(QUESTION), add_special_tokens=False)["input_ids"])
    steps = 0
    while len(batch):
        batch.step()
        steps += 1
    assert steps == chat.context - length


def test_seed_makes_sampling_repeatable_in_any_batch(model: Any) -> None:
    first = ask(model, [QUESTION], **SAMPLED, seed=7)
    assert ask(model, [OTHER, QUESTION], **SAMPLED, seed=7)[1:] == first
    assert len({ask(model, [QUESTION], **SAMPLED, seed=seed)[0] for seed in range(5)}) > 1


def test_full_text_and_stop(model: Any) -> None:
    (full,) = ask(model, QUESTION, **SAMPLED, seed=7, return_full_text=True)
    (answer,) = ask(model, QUESTION, **SAMPLED, seed=7)
    assert full == f"<|user|>\n{QUESTION[0]['content']}<|end|>\n<|assistant|>\n{answer}"
    assert len(answer) > 3
    (cut,) = ask(model, QUESTION, **SAMPLED, seed=7, stop=[answer[2:4]])
    assert cut == answer[: answer.index(answer[2:4])].strip()


@pytest.mark.parametrize(
    ("request_body", "reason"),
    [
        ({"parameters": {}}, "no 'input_string'"),
        ({"input_string": []}, "'input_string' must be"),
        ({"input_string": "hello"}, "'input_string' must be"),
        ({"input_string": [[{"role": "user"}]]}, "conversation 0"),
        ({"input_string": [QUESTION, [{"role": "robot", "content": "x"}]]}, "conversation 1: role 'robot'"),
        ({"input_string": QUESTION, "parameters": {"temperature": "hot"}}, "'temperature'"),
        ({"input_string": QUESTION, "parameters": {"max_new_tokens": 0}}, "'max_new_tokens'"),
        ({"input_string": QUESTION, "parameters": {"max_new_tokens": 1.5}}, "'max_new_tokens'"),
        ({"input_string": QUESTION, "parameters": {"top_p": 1.2}}, "'top_p'"),
        ({"input_string": QUESTION, "parameters": {"do_sample": 1}}, "'do_sample'"),
        ({"input_string": [{"role": "user", "content": "cup " * 200}]}, "context is 128"),
    ],
)
def test_bad_requests_name_what_is_wrong(model: Any, request_body: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        model.predict(request_body)


@pytest.mark.parametrize(
    ("parameters", "temperature"),
    [
        ({}, None),
        ({"temperature": 0.6, "do_sample": True}, 0.6),
        ({"temperature": 0.6}, 0.6),
        ({"temperature": 0.6, "do_sample": False}, None),
        ({"temperature": 0, "do_sample": True}, None),
        ({"do_sample": True}, 1.0),
    ],
)
def test_when_answers_are_sampled(parameters: dict[str, Any], temperature: float | None) -> None:
    assert phi_chat_pyfunc.read_settings(parameters).temperature == temperature
