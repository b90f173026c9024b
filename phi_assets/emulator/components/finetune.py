"""Fine-tunes a causal language model on tokenised chat rows, with LoRA or in full.

Options are checked before torch is imported, which takes seconds.
"""

import argparse
import os
import sys
import warnings
from pathlib import Path

from phi_assets.emulator.components.common import Arguments, ComponentError, flag, run

OPTIMIZERS = ("adamw_torch", "adamw_hf", "adafactor")
SCHEDULERS = ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup")


def arguments() -> Arguments:
    """The options of the command component ``chat_completion_finetune``."""
    parser = Arguments(__doc__)
    parser.add_argument("--apply_lora", type=flag, default=False)
    parser.add_argument("--merge_lora_weights", type=flag, default=True)
    parser.add_argument("--lora_alpha", type=int, default=128)
    parser.add_argument("--lora_r", type=int, default=8)
    parser.add_argument("--lora_dropout", type=float, default=0.0)
    parser.add_argument("--num_train_epochs", type=int, default=1)
    parser.add_argument("--max_steps", type=int, default=-1)
    parser.add_argument("--per_device_train_batch_size", type=int, default=1)
    parser.add_argument("--per_device_eval_batch_size", type=int, default=1)
    parser.add_argument("--auto_find_batch_size", type=flag, default=False)
    parser.add_argument("--optim", choices=OPTIMIZERS, default="adamw_torch")
    parser.add_argument("--learning_rate", type=float, default=2e-5)
    parser.add_argument("--warmup_steps", type=int, default=0)
    parser.add_argument("--weight_decay", type=float, default=0.0)
    parser.add_argument("--adam_beta1", type=float, default=0.9)
    parser.add_argument("--adam_beta2", type=float, default=0.999)
    parser.add_argument("--adam_epsilon", type=float, default=1e-8)
    parser.add_argument("--gradient_accumulation_steps", type=int, default=1)
    parser.add_argument("--eval_accumulation_steps", type=int, default=-1)
    parser.add_argument("--lr_scheduler_type", choices=SCHEDULERS, default="linear")
    parser.add_argument("--precision", choices=("32", "16"), default="32")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--enable_full_determinism", type=flag, default=False)
    parser.add_argument("--dataloader_num_workers", type=int, default=0)
    parser.add_argument("--ignore_mismatched_sizes", type=flag, default=False)
    parser.add_argument("--max_grad_norm", type=float, default=1.0)
    parser.add_argument("--evaluation_strategy", choices=("epoch", "steps", "disable"), default="epoch")
    parser.add_argument("--evaluation_steps_interval", type=float, default=0.0)
    parser.add_argument("--eval_steps", type=int, default=500)
    parser.add_argument("--logging_strategy", choices=("epoch", "steps"), default="steps")
    parser.add_argument("--logging_steps", type=int, default=10)
    parser.add_argument("--metric_for_best_model", choices=("loss", "f1", "exact"), default="loss")
    parser.add_argument("--resume_from_checkpoint", type=flag, default=False)
    parser.add_argument("--save_total_limit", type=int, default=-1)
    parser.add_argument("--apply_early_stopping", type=flag, default=False)
    parser.add_argument("--early_stopping_patience", type=int, default=1)
    parser.add_argument("--early_stopping_threshold", type=float, default=0.0)
    parser.add_argument("--apply_deepspeed", type=flag, default=False)
    parser.add_argument("--deepspeed", type=Path)
    parser.add_argument("--deepspeed_stage", choices=("2", "3"), default="2")
    parser.add_argument("--apply_ort", type=flag, default=False)
    parser.add_argument("--preprocess_output", type=Path, required=True)
    parser.add_argument("--model_selector_output", type=Path, required=True)
    parser.add_argument("--pytorch_model_folder", type=Path, required=True)
    return parser


def main() -> None:
    """Train and write model, tokenizer, checkpoints and a summary to ``pytorch_model_folder``.

    Raises:
        ComponentError: a parameter cannot be honoured, or memory ran out.
    """
    options = arguments().parse_args()
    _check(options)
    _prepare_imports()
    from phi_assets.emulator.components.fit import fine_tune

    fine_tune(options)


def _prepare_imports() -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # This is one process; with several GPUs in sight Trainer would fall back to threads that wait for each other.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    # peft calls what transformers has renamed; the person who reads the log cannot change that.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    # transformers and accelerate import them wherever they are installed, which takes a second; nothing here uses them.
    for name in ("boto3", "datasets", "scipy", "sklearn"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def _check(options: argparse.Namespace) -> None:
    positive = (
        "num_train_epochs",
        "per_device_train_batch_size",
        "per_device_eval_batch_size",
        "gradient_accumulation_steps",
        "eval_steps",
        "logging_steps",
        "learning_rate",
    )
    for name in (*positive, *(("lora_r", "lora_alpha") if options.apply_lora else ())):
        if not getattr(options, name) > 0:
            raise ComponentError(f"{name} is {getattr(options, name)}; it must be above 0")
    if not 0 <= options.lora_dropout < 1:
        raise ComponentError(f"lora_dropout is {options.lora_dropout}; it must be at least 0 and below 1")
    if options.apply_early_stopping and options.evaluation_strategy == "disable":
        raise ComponentError(
            "apply_early_stopping needs evaluations to compare; set evaluation_strategy to epoch or steps"
        )


if __name__ == "__main__":
    run(main)
