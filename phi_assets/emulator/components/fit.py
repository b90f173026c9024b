"""One fine-tuning run: what the options mean to transformers.Trainer, and the run itself."""

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, PrinterCallback, TrainingArguments, set_seed
from transformers.trainer_utils import enable_full_determinism, get_last_checkpoint
from transformers.utils import logging as transformers_logging

from phi_assets.emulator.components import layout
from phi_assets.emulator.components.chat_tokens import load_tokenizer
from phi_assets.emulator.components.common import ComponentError, read_json, say
from phi_assets.emulator.components.device import Device, device_arguments, find_device
from phi_assets.emulator.components.training import ChatDataset, ChatTrainer, PaddingCollator, StepLog
from phi_assets.emulator.components.weights import LoraSettings, load_base, save_result, with_lora


def fine_tune(options: argparse.Namespace) -> None:
    """Train as the options of the finetune component say, then save.

    Raises:
        ComponentError: early stopping has nothing to compare, or memory ran out.
    """
    transformers_logging.disable_progress_bar()
    prepared = read_json(options.preprocess_output / layout.PREPROCESS_SUMMARY)
    train = ChatDataset(options.preprocess_output / layout.TRAIN_ROWS)
    evaluation = ChatDataset(options.preprocess_output / layout.EVALUATION_ROWS)
    if options.apply_early_stopping and not len(evaluation):
        raise ComponentError("apply_early_stopping needs evaluation data; give a validation or test file")
    device = find_device()
    _say_what_differs(options, device)
    # Before anything random exists: the adapter's first weights are drawn when it is made.
    (enable_full_determinism if options.enable_full_determinism else set_seed)(options.seed)
    tokenizer = load_tokenizer(options.preprocess_output / "tokenizer")
    model = load_base(
        options.model_selector_output / "model",
        device,
        lora=options.apply_lora,
        half=options.precision == "16",
        ignore_mismatched_sizes=options.ignore_mismatched_sizes,
    )
    # From here on transformers only warns about its own checkpoints, which nobody who reads the log can change.
    transformers_logging.set_verbosity_error()
    if options.apply_lora:
        model = with_lora(model, LoraSettings(options.lora_r, options.lora_alpha, options.lora_dropout))
    _describe(model, train, evaluation, prepared)
    log = StepLog()
    trainer = ChatTrainer(
        model=model,
        args=_training_arguments(options, device, _size(model), len(train), len(evaluation)),
        train_dataset=train,  # type: ignore[arg-type]
        eval_dataset=evaluation,  # type: ignore[arg-type]
        data_collator=PaddingCollator(
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
            multiple=8 if device.cuda else 1,
            width=prepared["max_seq_length"] if prepared["pad_to_max_length"] else None,
        ),
        callbacks=_callbacks(options, log),
    )
    trainer.remove_callback(PrinterCallback)
    try:
        trainer.train(resume_from_checkpoint=_checkpoint(options))
    except torch.OutOfMemoryError as error:
        raise ComponentError(
            f"memory ran out with per_device_train_batch_size {options.per_device_train_batch_size}; lower it (raise "
            "gradient_accumulation_steps instead), lower max_seq_length, or set auto_find_batch_size to true"
        ) from error
    save_result(
        trainer.model,
        tokenizer,
        options.pytorch_model_folder,
        base=options.model_selector_output,
        merge=options.merge_lora_weights,
        summary=_summary(options, trainer, log, prepared),
    )


def _say_what_differs(options: argparse.Namespace, device: Device) -> None:
    say(f"Device: {device.name}")
    if options.precision == "16" and not device.cuda:
        say("precision 16: there is no GPU, so training runs in 32-bit floating point.")
    if options.apply_deepspeed:
        say("apply_deepspeed: one process on one device has nothing to shard, so DeepSpeed is not started.")
    if options.apply_ort:
        say("apply_ort: ONNX Runtime training is not part of this machine's environment; PyTorch is used.")
    if options.metric_for_best_model != "loss":
        say(f"metric_for_best_model {options.metric_for_best_model}: not computed for chat completion; loss is used.")
    if options.optim == "adamw_hf":
        say("optim adamw_hf: no longer part of transformers; adamw_torch is used.")


def _training_arguments(
    options: argparse.Namespace, device: Device, parameters: int, train_rows: int, evaluation_rows: int
) -> TrainingArguments:
    strategy = "no" if options.evaluation_strategy == "disable" or not evaluation_rows else options.evaluation_strategy
    return TrainingArguments(
        output_dir=str(options.pytorch_model_folder),
        num_train_epochs=options.num_train_epochs,
        max_steps=options.max_steps,
        per_device_train_batch_size=options.per_device_train_batch_size,
        per_device_eval_batch_size=options.per_device_eval_batch_size,
        auto_find_batch_size=options.auto_find_batch_size,
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        eval_accumulation_steps=options.eval_accumulation_steps if options.eval_accumulation_steps > 0 else None,
        optim="adamw_torch" if options.optim == "adamw_hf" else options.optim,
        learning_rate=options.learning_rate,
        lr_scheduler_type=options.lr_scheduler_type,
        warmup_steps=options.warmup_steps,
        weight_decay=options.weight_decay,
        adam_beta1=options.adam_beta1,
        adam_beta2=options.adam_beta2,
        adam_epsilon=options.adam_epsilon,
        max_grad_norm=options.max_grad_norm,
        **device_arguments(device, half=options.precision == "16", parameters=parameters),
        seed=options.seed,
        full_determinism=options.enable_full_determinism,
        dataloader_num_workers=options.dataloader_num_workers,
        eval_strategy=strategy,
        save_strategy=strategy,
        eval_steps=_eval_steps(options, train_rows) if strategy == "steps" else None,
        save_steps=_eval_steps(options, train_rows) if strategy == "steps" else 500,
        save_total_limit=options.save_total_limit if options.save_total_limit > 0 else None,
        load_best_model_at_end=strategy != "no",
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_strategy=options.logging_strategy,
        logging_steps=options.logging_steps,
        prediction_loss_only=True,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=[],
    )


def _eval_steps(options: argparse.Namespace, train_rows: int) -> int:
    if not options.evaluation_steps_interval:
        return options.eval_steps
    batches = math.ceil(train_rows / options.per_device_train_batch_size)
    per_epoch = math.ceil(batches / options.gradient_accumulation_steps)
    return max(1, int(per_epoch * options.evaluation_steps_interval))


def _callbacks(options: argparse.Namespace, log: StepLog) -> list[Any]:
    if not options.apply_early_stopping:
        return [log]
    return [log, EarlyStoppingCallback(options.early_stopping_patience, options.early_stopping_threshold)]


def _checkpoint(options: argparse.Namespace) -> str | None:
    if not options.resume_from_checkpoint:
        return None
    folder = options.pytorch_model_folder
    found = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    say(f"resume_from_checkpoint: {f'continuing from {Path(found).name}' if found else 'no checkpoint yet, starting'}")
    return found


def _describe(model: Any, train: ChatDataset, evaluation: ChatDataset, prepared: dict[str, Any]) -> None:
    total = _size(model)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    say(f"Parameters: {total:,}, of which {trainable:,} are trained.")
    say(f"Rows: {len(train):,} for training, {len(evaluation):,} for evaluation ({prepared['evaluation']}).")


def _size(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _summary(
    options: argparse.Namespace, trainer: ChatTrainer, log: StepLog, prepared: dict[str, Any]
) -> dict[str, Any]:
    paths = ("preprocess_output", "model_selector_output", "pytorch_model_folder", "deepspeed")
    return {
        "parameters": {name: value for name, value in vars(options).items() if name not in paths},
        "max_seq_length": prepared["max_seq_length"],
        "rows": prepared["rows"],
        "evaluation": prepared["evaluation"],
        "evaluation_losses": [
            {"step": step, "loss": loss if math.isfinite(loss) else None} for step, loss in log.evaluations
        ],
        "steps": trainer.state.global_step,
    }
