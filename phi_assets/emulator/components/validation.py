"""Checks a fine-tuning request before anything expensive starts: model, data files, columns and parameters."""

import argparse
import math
from pathlib import Path

from phi_assets.emulator.components.common import Arguments, ComponentError, flag, run, say, write_json
from phi_assets.emulator.components.rows import data_files, read_rows

SPLITS = ("train", "validation", "test")


def arguments() -> Arguments:
    """The options of the command component ``ft_nlp_common_validation``."""
    parser = Arguments(__doc__)
    parser.add_argument("--mlflow_model_path", type=Path)
    parser.add_argument("--compute_finetune", default="serverless")
    parser.add_argument("--compute_model_import", default="serverless")
    parser.add_argument("--compute_data_preprocess", default="serverless")
    parser.add_argument("--task_name", default="SingleLabelClassification")
    parser.add_argument("--num_nodes_finetune", type=int, default=1)
    parser.add_argument("--number_of_gpu_to_use_finetuning", type=int, default=1)
    for split in SPLITS:
        parser.add_argument(f"--{split}_file_path", type=Path)
        parser.add_argument(f"--{split}_mltable_path", type=Path)
    parser.add_argument("--user_column_names", default="")
    parser.add_argument("--system_properties", default="")
    parser.add_argument("--num_train_epochs", type=int)
    parser.add_argument("--max_steps", type=int)
    parser.add_argument("--per_device_train_batch_size", type=int)
    parser.add_argument("--per_device_eval_batch_size", type=int)
    parser.add_argument("--auto_find_batch_size", type=flag, default=False)
    parser.add_argument("--learning_rate", type=float)
    parser.add_argument("--adam_beta1", type=float)
    parser.add_argument("--adam_beta2", type=float)
    parser.add_argument("--adam_epsilon", type=float)
    parser.add_argument("--apply_deepspeed", type=flag, default=False)
    parser.add_argument("--precision", choices=("32", "16"), default="32")
    parser.add_argument("--apply_lora", type=flag, default=False)
    parser.add_argument("--apply_ort", type=flag, default=False)
    parser.add_argument("--deepspeed_stage", choices=("2", "3"), default="2")
    parser.add_argument("--ignore_mismatched_sizes", type=flag, default=True)
    parser.add_argument("--max_seq_length", type=int, default=-1)
    parser.add_argument("--validation_info", type=Path, required=True)
    return parser


def main() -> None:
    """Check everything, then write the findings to ``validation_info``.

    Raises:
        ComponentError: the first thing that is wrong.
    """
    options = arguments().parse_args()
    _check_parameters(options)
    if options.mlflow_model_path is not None and not (options.mlflow_model_path / "MLmodel").is_file():
        raise ComponentError(f"mlflow_model_path: {options.mlflow_model_path} has no MLmodel file")
    columns = [name.strip() for name in options.user_column_names.split(",") if name.strip()]
    data = {}
    for split in SPLITS:
        source = getattr(options, f"{split}_mltable_path") or getattr(options, f"{split}_file_path")
        if source is not None:
            data[split] = _check_data(split, source, columns)
    if "train" not in data:
        raise ComponentError("no training data: give train_file_path or train_mltable_path")
    write_json(options.validation_info, {"status": "Succeeded", "task_name": options.task_name, "data": data})
    say(f"Validated for {options.task_name} on compute {options.compute_finetune}.")


def _check_parameters(options: argparse.Namespace) -> None:
    at_least_one = (
        "num_nodes_finetune",
        "number_of_gpu_to_use_finetuning",
        "num_train_epochs",
        "per_device_train_batch_size",
        "per_device_eval_batch_size",
    )
    for name in at_least_one:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ComponentError(f"{name} is {value}; it must be at least 1")
    for name in ("learning_rate", "adam_epsilon"):
        value = getattr(options, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ComponentError(f"{name} is {value}; it must be a number above 0")
    for name in ("adam_beta1", "adam_beta2"):
        value = getattr(options, name)
        if value is not None and not 0 <= value < 1:
            raise ComponentError(f"{name} is {value}; it must be at least 0 and below 1")
    if options.max_seq_length < 1 and options.max_seq_length != -1:
        raise ComponentError(f"max_seq_length is {options.max_seq_length}; give -1 (the model's length) or at least 1")
    if options.max_steps is not None and options.max_steps < 1 and options.max_steps != -1:
        raise ComponentError(f"max_steps is {options.max_steps}; give -1 (use epochs) or at least 1")


def _check_data(split: str, source: Path, columns: list[str]) -> dict[str, object]:
    files = data_files(source)
    first = next(read_rows(source), None)
    if first is None:
        raise ComponentError(f"the {split} data {source.name} has no rows")
    place, row = first
    missing = [name for name in columns if name not in row]
    if missing:
        found = ", ".join(sorted(str(name) for name in row)) or "none"
        raise ComponentError(f"{place}: the {split} data has no column {', '.join(missing)} (columns found: {found})")
    say(f"{split}: {', '.join(file.name for file in files)}, {sum(file.stat().st_size for file in files):,} bytes")
    return {"files": [file.name for file in files], "columns": sorted(str(name) for name in row)}


if __name__ == "__main__":
    run(main)
