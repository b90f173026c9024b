"""Trains the emulator's base model: `python -m phi_assets.quickstart.build_base_model` (about a quarter of an hour).

The result is a text completer: asked in chat it rambles, and a few seconds of LoRA make it answer.
"""

import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch
from rich.progress import Progress
from transformers import AutoModelForCausalLM, Phi3ForCausalLM, PreTrainedTokenizerFast

from phi_assets.emulator.components.mlflow_folder import LOADER, write_mlflow_folder
from phi_assets.quickstart.grading import Question, held_out_questions, keyword_accuracy
from phi_assets.quickstart.pretraining import Plan, new_model, train
from phi_assets.quickstart.tokenizer import train_tokenizer

DESTINATION = Path(__file__).parents[1] / "emulator" / "registry" / "models" / "phi3-tiny"
SEED = 0
PLAN = Plan(steps=2300)
MEGABYTE = 1_000_000
MAX_SIZE = 5 * MEGABYTE
MAX_CHAT_ACCURACY = 0.15
MIN_OWN_ACCURACY = 0.85
_QUESTIONS = 200
_REPORT_EVERY = 100


class GateError(Exception):
    """The trained model is not good enough to ship; the message says which figure misses its limit."""


@dataclass(frozen=True)
class Figures:
    """What the gate looks at."""

    own_format_accuracy: float
    """Share of held-out questions answered rightly in a layout of the training documents."""
    chat_accuracy: float
    """The same in chat markup, in which the base model has seen questions only."""
    finite: bool
    size: int
    """Bytes of the whole folder."""


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def all_finite(model: torch.nn.Module) -> bool:
    """Whether every weight is a number; one NaN in a tied embedding makes every logit one."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


def measure(folder: Path, questions: list[Question]) -> Figures:
    """The figures of a model folder, with greedy answers in single precision."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "data" / "tokenizer")
    model = AutoModelForCausalLM.from_pretrained(folder / "data" / "model", dtype=torch.float32)
    own = [f"Student:\n{question.prompt}\nTeacher:" for question in questions]
    chat = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question.prompt}], tokenize=False, add_generation_prompt=True
        )
        for question in questions
    ]
    own_answers = [text.strip().partition("\n")[0] for text in completions(model, tokenizer, own)]
    return Figures(
        own_format_accuracy=keyword_accuracy(questions, own_answers),
        chat_accuracy=keyword_accuracy(questions, completions(model, tokenizer, chat)),
        finite=all_finite(model),
        size=folder_size(folder),
    )


@torch.inference_mode()
def completions(model: Any, tokenizer: PreTrainedTokenizerFast, prompts: list[str]) -> list[str]:
    """Greedy continuations of at most 70 tokens."""
    model.eval()
    texts = []
    for start in range(0, len(prompts), 50):
        batch = tokenizer(
            prompts[start : start + 50],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            return_token_type_ids=False,
        )
        output = model.generate(**batch, max_new_tokens=70, do_sample=False)
        texts += tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def check(figures: Figures) -> None:
    """Let only a model pass that makes the quickstart work.

    Raises:
        GateError: a figure misses its limit.
    """
    problems = []
    if not figures.finite:
        problems.append("some weights are not finite")
    if figures.size > MAX_SIZE:
        problems.append(f"the folder has {figures.size / MEGABYTE:.2f} MB, more than {MAX_SIZE / MEGABYTE:.0f}")
    if figures.chat_accuracy > MAX_CHAT_ACCURACY:
        problems.append(
            f"in chat it answers {figures.chat_accuracy:.0%} before fine-tuning, more than {MAX_CHAT_ACCURACY:.0%}"
        )
    if figures.own_format_accuracy < MIN_OWN_ACCURACY:
        problems.append(
            f"in its own format it answers {figures.own_format_accuracy:.0%}, less than {MIN_OWN_ACCURACY:.0%}"
        )
    if problems:
        raise GateError("The base model is not fit to ship: " + "; ".join(problems))


def build(folder: Path, plan: Plan, seed: int) -> Figures:
    """Train tokenizer and model and put the MLflow folder in place of an earlier one.

    Raises:
        GateError: the model is not good enough; it stays in `<folder>.new`, and an earlier folder stays as it is.
    """
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(seed)
    model = new_model(tokenizer, seed)
    _train_with_log(model, tokenizer, plan, seed)
    model.generation_config.do_sample = False
    staged = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(staged, ignore_errors=True)
    with tempfile.TemporaryDirectory() as saved:
        model.bfloat16().save_pretrained(saved)
        tokenizer.save_pretrained(saved, save_jinja_files=False)
        write_mlflow_folder(
            staged,
            model_dir=Path(saved),
            tokenizer_dir=Path(saved),
            huggingface_id="phi3-tiny",
            metadata={"license": "Apache-2.0", "seed": seed, "plan": asdict(plan)},
        )
    figures = measure(staged, held_out_questions(_QUESTIONS, seed))
    click.echo(figures)
    check(figures)
    shutil.rmtree(folder, ignore_errors=True)
    staged.rename(folder)
    return figures


def link_code(folder: Path) -> None:
    """Link the folder's code to the package's own, which it is a copy of, so that the source tree holds it once."""
    for copy in (folder / "code" / LOADER.name).glob("*.py"):
        copy.unlink()
        copy.symlink_to(os.path.relpath(LOADER / copy.name, copy.parent))


def _train_with_log(model: Phi3ForCausalLM, tokenizer: PreTrainedTokenizerFast, plan: Plan, seed: int) -> None:
    recent: list[float] = []
    with Progress() as progress:
        task = progress.add_task("Pre-training", total=plan.steps)

        def report(step: int, loss: float) -> None:
            recent.append(loss)
            progress.advance(task)
            if (step + 1) % _REPORT_EVERY == 0:
                mean = sum(recent[-_REPORT_EVERY:]) / _REPORT_EVERY
                progress.console.print(
                    f"step {step + 1}/{plan.steps}: loss {mean:.4f}, {time.process_time():.0f} CPU s"
                )

        train(model, tokenizer, plan, seed, report)


@click.command(help="Train the emulator's tiny base model and write it as an MLflow folder.")
@click.option("--folder", type=click.Path(path_type=Path), default=DESTINATION, help="Where the folder is written.")
def main(folder: Path) -> None:
    """Command line of this module."""
    figures = build(folder, PLAN, SEED)
    if folder.resolve() == DESTINATION:
        link_code(folder)
    click.echo(f"{folder}: {figures.size / MEGABYTE:.2f} MB, {time.process_time():.0f} CPU seconds")


if __name__ == "__main__":
    main()
