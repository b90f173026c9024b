"""An MLflow model that needs no model: it answers with what it was asked, in the company it was asked in."""

import json
from pathlib import Path

LOADER = """
import json
import os
import time
from pathlib import Path


class Echo:
    def __init__(self, settings):
        self.label = settings["label"]

    def predict(self, model_input, params=None):
        conversations = model_input["input_string"]
        return [self.answer(conversation[-1]["content"], len(conversations)) for conversation in conversations]

    def answer(self, text, company):
        command, _, value = text.partition(":")
        if command == "sleep":
            time.sleep(float(value))
        elif command == "refuse":
            raise ValueError(value)
        elif command == "fail":
            raise RuntimeError(value)
        elif command == "die":
            os._exit(int(value))
        elif command == "environment":
            return os.environ.get(value, "")
        elif command == "pid":
            return str(os.getpid())
        return f"{self.label}|{text}|{company}"


def _load_pyfunc(data_path):
    settings = json.loads((Path(data_path) / "settings.json").read_text())
    print("the echo model is loading", flush=True)
    time.sleep(settings["load_seconds"])
    if settings["crash"]:
        raise RuntimeError(settings["crash"])
    return Echo(settings)
"""

MLMODEL = """flavors:
  python_function:
    loader_module: echo_pyfunc
    code: code
    data: data
    python_version: '3.11'
mlflow_version: 3.0.0
model_uuid: 00000000000000000000000000000000
utc_time_created: '2026-01-01 00:00:00.000000'
"""


def write_echo_model(folder: Path, label: str, *, crash: str = "", load_seconds: float = 0) -> Path:
    """An MLflow folder whose answers begin with `label`; `crash` is the message with which it fails to load."""
    (folder / "code").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "code" / "echo_pyfunc.py").write_text(LOADER)
    settings = {"label": label, "crash": crash, "load_seconds": load_seconds}
    (folder / "data" / "settings.json").write_text(json.dumps(settings))
    return folder


def ask(*texts: str, **parameters: object) -> dict:
    """A scoring request with one conversation per text."""
    conversations = [[{"role": "user", "content": text}] for text in texts]
    return {"input_data": {"input_string": conversations, "parameters": parameters}, "params": {}}
