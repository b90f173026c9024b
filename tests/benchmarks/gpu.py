"""Training and serving on a GPU: `python -m tests.benchmarks.gpu`; on a machine without one it says so.

A model of Phi-3-mini's shape with random weights goes the way of every fine-tune: the programs of the components
import it, prepare rows, train (LoRA, bfloat16, activation checkpointing) and convert, and the inference server of a
deployment serves what came of it. `--tiny` does the same with a small shape on whatever there is, to see that it works.

The share of the peak counts what the mathematics needs, and not what is computed twice: 4 operations a parameter and
token (forward, and backward through frozen weights), and causal attention.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import httpx
import psutil

from phi_assets.emulator import process
from phi_assets.emulator.chaos.clock import Clock
from phi_assets.emulator.components import layout
from phi_assets.emulator.serving.processes.launch import Launch
from phi_assets.emulator.serving.processes.model_process import ModelServer
from phi_assets.emulator.serving.rules import DeploymentSettings, with_defaults
from tests.benchmarks.report import BenchmarkError, benchmarking, figures_table, machine, write_json

_PROJECT = Path(process.__file__).parents[2]
_TOKENIZER = _PROJECT / "phi_assets" / "emulator" / "registry" / "models" / "phi3-tiny" / "data" / "tokenizer"
_PEAKS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""Dense bfloat16 operations a second, by NVIDIA's data sheets of the cards."""
_WARM_UP_STEPS = 2
_SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class Shape:
    """A model of Phi-3's architecture, and how much is done with it."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    context: int
    batch: int
    steps: int
    new_tokens: int

    @property
    def parameters(self) -> int:
        """Of its matrices without the embedding of the input, which is looked up and not multiplied."""
        layer = 4 * self.hidden**2 + 3 * self.hidden * self.intermediate
        return self.layers * layer + self.hidden * self.vocabulary

    @property
    def operations(self) -> int:
        """Floating-point operations that training needs for one token."""
        return 4 * self.parameters + 6 * self.layers * self.hidden * self.context


PHI3_MINI = Shape(3072, 32, 32, 8192, 32064, context=2048, batch=4, steps=20, new_tokens=128)
TINY = Shape(64, 2, 4, 128, 4096, context=128, batch=2, steps=4, new_tokens=8)


@dataclass(frozen=True)
class Figures:
    """What was measured; `share_of_peak` is None where the card's peak is not known."""

    device: str
    shape: Shape
    machine: dict[str, str]
    train_tokens_per_second: float
    share_of_peak: float | None
    train_peak_gib: float
    load_seconds: float
    first_token_seconds: float
    serve_tokens_per_second: float
    serve_tokens_per_second_of_8: float
    serve_peak_gib: float


def measure(shape: Shape, folder: Path) -> Figures:
    """Trains and serves in `folder`, which is empty.

    Raises:
        BenchmarkError: a program failed.
    """
    from phi_assets.emulator.components.device import find_device

    _make_base(shape, folder)
    tokens, train_peak = _train(shape, folder)
    with _sampled(_has_gpu()) as samples:
        load, first, alone, together = _serve(shape, folder)
    device = find_device()  # last, since whoever looks at a card has memory on it from then on
    peak = next((peak for card, peak in _PEAKS.items() if card in device.name), None)
    return Figures(
        device=device.name,
        shape=shape,
        machine=machine("torch", "transformers", "peft"),
        train_tokens_per_second=tokens,
        share_of_peak=tokens * shape.operations / peak if peak is not None else None,
        train_peak_gib=train_peak,
        load_seconds=load,
        first_token_seconds=first,
        serve_tokens_per_second=alone,
        serve_tokens_per_second_of_8=together,
        serve_peak_gib=max(samples),
    )


def _make_base(shape: Shape, folder: Path) -> None:
    """The base model, as a registry holds one, and rows that fill the context."""
    import torch
    from transformers import AutoTokenizer, Phi3Config, Phi3ForCausalLM

    from phi_assets.emulator.components.mlflow_folder import write_mlflow_folder

    torch.manual_seed(0)
    tokenizer: Any = AutoTokenizer.from_pretrained(_TOKENIZER)
    config = Phi3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=2 * shape.context,
        original_max_position_embeddings=2 * shape.context,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = Phi3ForCausalLM(config)  # not on the card, whose memory is measured
    finally:
        torch.set_default_dtype(torch.float32)
    # No special token is ever the likeliest, so that every answer has as many tokens as it was asked for.
    with torch.no_grad():
        model.lm_head.weight[tokenizer.all_special_ids] = 0
    model.save_pretrained(folder / "random")
    write_mlflow_folder(
        folder / "base",
        model_dir=folder / "random",
        tokenizer_dir=_TOKENIZER,
        huggingface_id="benchmark/random",
        metadata={},
    )
    text = " ".join(["the red ball is on the small table"] * (shape.context // 9))
    messages = [{"role": "user", "content": "What do you see?"}, {"role": "assistant", "content": text}]
    row = json.dumps({"prompt": "What do you see?", "prompt_id": "0" * 64, "messages": messages})
    (folder / "rows.jsonl").write_text(f"{row}\n" * shape.batch * shape.steps)


def _train(shape: Shape, folder: Path) -> tuple[float, float]:
    """Tokens a second, and the most memory in GiB."""
    from phi_assets.emulator.components.token_store import TokenRows

    _run("model_import", mlflow_model_path=folder / "base", output_dir=folder / "imported")
    _run(
        "preprocess",
        train_file_path=folder / "rows.jsonl",
        test_file_path=folder / "rows.jsonl",
        max_seq_length=shape.context,
        model_selector_output=folder / "imported",
        output_dir=folder / "prepared",
    )
    with _sampled(_has_gpu()) as samples:
        _run(
            "finetune",
            folder / "metrics.jsonl",
            apply_lora=True,
            precision=16,
            per_device_train_batch_size=shape.batch,
            logging_steps=1,
            evaluation_strategy="disable",
            preprocess_output=folder / "prepared",
            model_selector_output=folder / "imported",
            pytorch_model_folder=folder / "trained",
        )
    _run("convert", model_path=folder / "trained", model_import_output=folder / "imported", output_dir=folder / "tuned")
    points = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    moments = [point["timestamp"] / 1000 for point in points if point["name"] == "loss"][_WARM_UP_STEPS - 1 :]
    per_row = statistics.mean(TokenRows(folder / "prepared" / layout.TRAIN_ROWS).lengths)
    return per_row * shape.batch * (len(moments) - 1) / (moments[-1] - moments[0]), max(samples)


def _serve(shape: Shape, folder: Path) -> tuple[float, float, float, float]:
    """Seconds to load and to the first token, and tokens a second of one request and of eight at once."""
    probes: dict[str, Any] = {key: {"initialDelay": "PT600S"} for key in ("readinessProbe", "livenessProbe")}
    settings = DeploymentSettings.of({"capacity": 1}, with_defaults(probes))
    short = Path(tempfile.mkdtemp(prefix="phi-"))  # the address of a socket has some hundred characters at most
    launch, log = Launch(str(folder / "tuned"), {}), folder / "server.log"
    server = ModelServer(launch, settings, Clock(), short / "s.sock", log)
    began = time.monotonic()
    try:
        server.start()
        server.wait_until_ready(threading.Event())
        load = time.monotonic() - began
        transport = httpx.HTTPTransport(uds=str(server.socket), verify=False, trust_env=False)
        with httpx.Client(transport=transport, timeout=600, trust_env=False) as client, ThreadPoolExecutor(8) as pool:

            def ask(tokens: int) -> float:
                parameters = {"max_new_tokens": tokens, "do_sample": False, "temperature": 1.0}
                messages = [{"role": "user", "content": "What do you see?"}]
                body = {"input_data": {"input_string": messages, "parameters": parameters}}
                began = time.monotonic()
                answer = client.post("http://worker/score", json=body)
                if answer.status_code != 200:
                    raise BenchmarkError(f"the server answered {answer.status_code}: {answer.text[:500]}")
                return time.monotonic() - began

            ask(shape.new_tokens)
            first = statistics.median(ask(1) for _ in range(5))
            alone = statistics.median(ask(shape.new_tokens) for _ in range(3))
            began = time.monotonic()
            list(pool.map(ask, [shape.new_tokens] * 8))
            together = time.monotonic() - began
    finally:
        server.stop()
        short.rmdir()
    return load, first, (shape.new_tokens - 1) / (alone - first), 8 * shape.new_tokens / together


def _run(component: str, metrics: Path | None = None, **options: object) -> None:
    """A component's program, as a step runs it."""
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    environment = {**os.environ, "PYTHONPATH": str(_PROJECT)} | ({"PHI_METRICS_FILE": str(metrics)} if metrics else {})
    command = [sys.executable, "-m", f"phi_assets.emulator.components.{component}", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"{component} ended with {done.returncode}: {done.stderr[-2000:]}")


@contextmanager
def _sampled(cuda: bool) -> Iterator[Sequence[float]]:
    """GiB in use while the context lasts: of the first card, or of this process' children."""
    samples, over = [0.0], threading.Event()

    def look() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            samples.append(_card_gib() if cuda else _children_gib())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def _card_gib() -> float:
    query = ["nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return float(subprocess.run(query, capture_output=True, text=True, check=True).stdout) / 1024


def _children_gib() -> float:
    used = 0
    for child in psutil.Process().children(recursive=True):
        try:
            used += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return used / 1024**3


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@click.command()
@click.option("--tiny", is_flag=True, help="A small shape, also where there is no GPU; its figures mean nothing.")
@click.option("--scratch", type=click.Path(path_type=Path), help="Where the models are written; 30 GB.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures there, too.")
def main(tiny: bool, scratch: Path | None, file: Path | None) -> None:
    """Measures training and serving of a model of Phi-3-mini's shape on this machine's first GPU."""
    if not tiny and not _has_gpu():
        click.echo("There is no GPU here: nothing was measured. --tiny runs the same with a small shape on the CPU.")
        return
    with benchmarking(scratch) as (console, folder):
        figures = measure(TINY if tiny else PHI3_MINI, folder)
        table = figures_table(figures.device, "")
        for name, value in asdict(figures).items():
            if isinstance(value, float):
                table.add_row(name.replace("_", " "), f"{value:.3g}")
        if figures.share_of_peak is None:
            table.add_row("share of peak", "the peak of this device is not known")
        console.print(table)
    write_json(file, figures)


if __name__ == "__main__":
    main()
