"""Makes the MLflow folder of a fine-tuned model, ready to be registered and deployed."""

from pathlib import Path
from typing import Any

from phi_assets.emulator.components import layout
from phi_assets.emulator.components.common import Arguments, ComponentError, read_json, run, say
from phi_assets.emulator.components.mlflow_folder import write_mlflow_folder

_CONTAINER, _FIRST_USABLE = "mcr.microsoft.com/azureml/curated/foundation-model-inference", 61


def arguments() -> Arguments:
    """The options of the command component ``ft_nlp_model_converter``."""
    parser = Arguments(__doc__)
    parser.add_argument("--model_path", type=Path, required=True)
    parser.add_argument("--model_import_output", type=Path)
    parser.add_argument("--system_properties", default="")
    parser.add_argument("--output_dir", type=Path, required=True)
    return parser


def main() -> None:
    """Write the MLflow folder from the fine-tuning step's output.

    Raises:
        ComponentError: that output is not a fine-tuned model, or the output folder is not empty.
    """
    options = arguments().parse_args()
    summary = read_json(options.model_path / layout.FINETUNE_SUMMARY)
    base = summary["base"]
    metadata = {
        "is_finetuned_model": True,
        "finetuning_task": "chat-completion",
        "base_model_name": base["model_name"],
        "apply_lora": summary["parameters"]["apply_lora"],
        "evaluation_losses": summary["evaluation_losses"],
        **_serving(base),
    }
    try:
        write_mlflow_folder(
            options.output_dir,
            model_dir=options.model_path,
            tokenizer_dir=options.model_path,
            huggingface_id=base["model_name"],
            metadata=metadata,
        )
    except (FileNotFoundError, FileExistsError, ValueError) as error:
        raise ComponentError(str(error)) from error
    say(f"Wrote the MLflow model of {base['model_name']}, fine-tuned in {summary['steps']} steps.")


def _serving(base: dict[str, Any]) -> dict[str, str]:
    """The image to deploy the model with; none leaves that to the service.

    As the published component does it, `setup_vllm` in
    https://github.com/Azure/azureml-assets/blob/main/assets/training/finetune_acft_hf_nlp/src/finetune/finetune.py.
    """
    image = base.get(layout.BASE_IMAGE)
    if image is None:
        return {}
    if not base.get(layout.ENABLE_VLLM):
        say(f"The base model's image {image} is removed; `enable_vllm` in a finetune config keeps it.")
        return {}
    container, _, version = image.rpartition(":")
    known = container and version.isdigit()
    newest = image if known and int(version) >= _FIRST_USABLE else f"{container or _CONTAINER}:{_FIRST_USABLE}"
    say(f"The model is to be deployed with the image {newest}.")
    return {layout.BASE_IMAGE: newest}


if __name__ == "__main__":
    run(main)
