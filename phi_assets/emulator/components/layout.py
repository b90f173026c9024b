"""Names of the files that one step leaves for the next."""

# Written by model_import, next to the folders model/ and tokenizer/.
IMPORT_SUMMARY = "model_selector_args.json"
# Of the former: the image that the base model is deployed with, and whether the fine-tuned one keeps it.
BASE_IMAGE = "azureml.base_image"
ENABLE_VLLM = "enable_vllm"
FINETUNE_CONFIG = "finetune_config.json"
# Written by preprocess, next to the folder tokenizer/.
PREPROCESS_SUMMARY = "preprocess_args.json"
TRAIN_ROWS = "train.parquet"
EVALUATION_ROWS = "evaluation.parquet"
# Written by finetune, next to model and tokenizer files.
FINETUNE_SUMMARY = "finetune_args.json"
# The LoRA weights, where they are not merged into the model.
ADAPTER = "adapter"
