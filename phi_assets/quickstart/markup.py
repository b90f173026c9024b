"""Phi-3's chat markup: special tokens and chat template."""

PAD, END, USER, ASSISTANT, SYSTEM = MARKUP = ("<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>")
PAD_ID, END_ID = 0, 1
"""Special tokens have the first ids, in the order of `MARKUP`."""

# The markers let `apply_chat_template(return_assistant_tokens_mask=True)` tell the assistant's words from the rest.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ message['content'] + '<|end|>\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
