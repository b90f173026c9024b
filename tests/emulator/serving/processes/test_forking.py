"""Copies of a template: which processes are some, what they share with none of the others, and how they end."""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from phi_assets.emulator.serving.processes.forking import ForkedProcess, Template, TemplateError
from phi_assets.emulator.serving.processes.launch import Launch
from tests.emulator.serving.echo import write_echo_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")

FACTS = """
import json
import random
import numpy
import polars

polars.DataFrame({"x": [2, 1]}).lazy().sort("x").collect()
facts = {"drawn": [random.random(), numpy.random.random()], "place": os.getcwd(), "leads": os.getsid(0) == os.getpid()}
facts["open"] = len(os.listdir("/proc/self/fd"))
print("facts", json.dumps(facts), flush=True)
"""
"""At the end of a model's code; a pool of threads is made and used, too."""


@pytest.fixture(scope="module")
def template() -> Iterator[Template]:
    template = Template()
    yield template
    template.stop()


@pytest.fixture
def short(tmp_path: Path) -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name."""
    folder = Path(tempfile.mkdtemp(prefix="phi-test-"))
    yield folder
    shutil.rmtree(folder)


def start(template: Template, folder: Path, short: Path, name: str = "a", **variables: str) -> ForkedProcess:
    arguments = ["--model", str(folder), "--socket", str(short / f"{name}.sock")]
    with (short / f"{name}.log").open("ab") as log:
        return template.start(arguments, Launch(str(folder), variables), log.fileno(), short)


def facts(log: Path) -> dict[str, Any]:
    """What a copy of a model with `FACTS` says about itself, as soon as it does."""
    deadline = time.monotonic() + 60
    while True:
        text = log.read_text(encoding="utf-8")
        found = [line.removeprefix("facts ") for line in text.splitlines() if line.startswith("facts ")]
        if found:
            return json.loads(found[0])
        assert time.monotonic() < deadline, text
        time.sleep(0.02)


def test_copies_are_as_new_processes_are(template: Template, tmp_path: Path, short: Path) -> None:
    folder = write_echo_model(tmp_path / "echo", "x")
    loader = folder / "code" / "echo_pyfunc.py"
    loader.write_text(loader.read_text(encoding="utf-8") + FACTS)
    copies = [start(template, folder, short, name) for name in ("a", "b")]
    first, second = (facts(short / f"{name}.log") for name in ("a", "b"))
    for copy in copies:
        copy.terminate()
        copy.wait(30)
    assert not set(first["drawn"]) & set(second["drawn"])
    # The first copy's connections are not open in the second one.
    assert first["open"] == second["open"]
    for each in (first, second):
        assert each["place"] == str(short)
        assert each["leads"]


def test_what_a_model_needs_and_takes_long_is_imported_once(template: Template, tmp_path: Path, short: Path) -> None:
    folder = write_echo_model(tmp_path / "echo", "x")
    (folder / "requirements.txt").write_text("mlflow-skinny==3.0\nTorch==2.0\n# transformers\nnothing-such>1\n")
    loader = folder / "code" / "echo_pyfunc.py"
    present = "import sys\npresent = {name: name in sys.modules for name in ('torch', 'transformers', 'polars')}\n"
    tell = 'print("facts", json.dumps(present | {"random": __import__("torch").rand(1).item()}), flush=True)\n'
    loader.write_text(present + loader.read_text(encoding="utf-8") + tell)
    copies = [start(template, folder, short, name) for name in ("a", "b")]
    found = [facts(short / f"{name}.log") for name in ("a", "b")]
    for copy in copies:
        copy.terminate()
        copy.wait(30)
    assert [(each["torch"], each["transformers"], each["polars"]) for each in found] == [(True, False, False)] * 2
    # As in new processes, which all begin with the same seed.
    assert found[0]["random"] == found[1]["random"]


def test_what_libraries_read_when_they_are_loaded_needs_a_process_from_scratch(
    template: Template, tmp_path: Path, short: Path
) -> None:
    with pytest.raises(TemplateError, match="when they are loaded"):
        start(template, tmp_path, short, OMP_NUM_THREADS="2")
    with pytest.raises(TemplateError, match="when they are loaded"):
        start(template, tmp_path, short, HF_HOME=str(tmp_path))
    with pytest.raises(TemplateError, match="too large"):
        start(template, tmp_path, short, LARGE="x" * 200_000)


def test_copies_end_when_the_template_is_killed_and_the_next_one_is_of_a_new_template(
    template: Template, tmp_path: Path, short: Path
) -> None:
    folder = write_echo_model(tmp_path / "echo", "x")
    first = start(template, folder, short)
    first_template = psutil.Process(first.pid).parent()
    assert first_template is not None
    assert first_template.pid != os.getpid()
    process = psutil.Process(first.pid)
    first_template.kill()
    assert first.wait(30) < 0
    psutil.wait_procs([process], timeout=30)
    assert not process.is_running()
    second = start(template, folder, short)
    assert second.poll() is None
    template.stop()
    assert second.wait(30) < 0
