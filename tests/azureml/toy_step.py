"""The only step of the toy pipeline: writes an MLflow model that echoes, fails, or writes nothing, as it is told.

It also diverges, which shows in what it records, or records nothing.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

MLMODEL = """\
artifact_path: model
flavors:
  python_function:
    loader_module: echo_model
    code: code
    data: data
    python_version: 3.11
"""

ECHO = '''\
"""A model that says what it was asked, last message first."""


class Echo:
    def __init__(self, prefix):
        self.prefix = prefix

    def predict(self, model_input, params=None):
        return [self.prefix + conversation[-1]["content"] for conversation in model_input["input_string"]]


def _load_pyfunc(path):
    with open(path + "/prefix.txt") as file:
        return Echo(file.read())
'''


def write_model(folder: Path, prefix: str) -> None:
    """An MLflow folder without requirements."""
    (folder / "code").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "code" / "echo_model.py").write_text(ECHO)
    (folder / "data" / "prefix.txt").write_text(prefix)


def report(name: str, value: float, step: int) -> None:
    with open(os.environ["PHI_METRICS_FILE"], "a") as metrics:
        metrics.write(json.dumps({"name": name, "value": value, "step": step, "timestamp": time.time()}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--validation", type=Path)
    parser.add_argument("--outcome", required=True)
    parser.add_argument("--gate", default="")
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--model", type=Path, required=True)
    options = parser.parse_args()
    if not options.train.read_text().strip():
        sys.exit("ERROR: the training data is empty")
    if options.validation is not None:
        print(f"evaluating on {options.validation.name}: {options.validation.read_text().strip()}", flush=True)
    for step, loss in enumerate((3.0, 2.0, 1.0)):
        if options.outcome == "diverge" and step:
            # What Azure's component leaves of a loss that is no number.
            report("learning_rate", 0.1, step)
            print({"loss": float("nan"), "step": step}, flush=True)
        elif options.outcome != "silent":
            report("loss", loss, step)
            if options.outcome == "rated":
                report("learning_rate", 0.1, step)
            print({"loss": loss, "step": step}, flush=True)
    deadline = time.monotonic() + 300
    # "none" opens at once; the test opens the others by making the file.
    while options.gate != "none" and not Path(options.gate).exists():
        if time.monotonic() > deadline:
            sys.exit("ERROR: nobody opened the gate")
        time.sleep(0.05)
    # Whoever opens the gate may write the outcome into it.
    outcome = (options.gate != "none" and Path(options.gate).read_text().strip()) or options.outcome
    if outcome == "fail":
        print("ERROR: the toy step was told to fail", file=sys.stderr)
        sys.exit(1)
    if outcome in ("complete", "rated", "diverge", "silent"):
        write_model(options.model, options.prefix)


if __name__ == "__main__":
    main()
