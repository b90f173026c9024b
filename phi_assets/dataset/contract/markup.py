"""Markup of chat models: texts that a tokenizer takes for a turn of the conversation, wherever they stand."""

import polars as pl

FAMILIES = (
    # Phi-3 and Phi-4: https://huggingface.co/microsoft/phi-4/blob/main/tokenizer_config.json
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|tool|>",
    "<|end|>",
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|im_sep|>",
    # Llama 3: https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1/
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|python_tag|>",
    # Gemma: https://ai.google.dev/gemma/docs/core/prompt-structure
    "<start_of_turn>",
    "<end_of_turn>",
    # Llama 2 and Mistral: https://www.llama.com/docs/model-cards-and-prompt-formats/meta-llama-2/
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<</SYS>>",
)
"""What is looked for where no tokenizer is at hand. Not `<s>` and its like, which are HTML as well."""


def holds_markup(tokens: tuple[str, ...]) -> pl.Expr:
    """Whether any message of `messages` has one of these in its text.

    Azure's component looks for the markers of roles by their ids anywhere in a conversation: a question that holds one
    turns the loss mask around, and the user's words are learned, or nothing is.
    """
    content = pl.element().struct.field("content")
    return pl.col("messages").list.eval(content.str.contains_any(list(tokens))).list.any()
