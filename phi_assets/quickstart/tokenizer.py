"""The base model's tokenizer: byte-level BPE that splits digits, with Phi-3's chat markup."""

import random
from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from phi_assets.quickstart.corpus import document

VOCABULARY = 2048
PAD, END, USER, ASSISTANT, SYSTEM = MARKUP = ("<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>")
PAD_ID, END_ID = 0, 1
"""Special tokens have the first ids, in the order of `MARKUP`."""
_DOCUMENTS = 20_000

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


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """A tokenizer trained on documents of the corpus."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(MARKUP),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(random.Random(seed)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=[USER, ASSISTANT, SYSTEM],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=512,
    )


def _texts(rng: random.Random) -> Iterator[str]:
    for _ in range(_DOCUMENTS):
        yield "".join(segment.text for segment in document(rng, prose_share=0.15, sheet_share=0.05))
