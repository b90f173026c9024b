"""The base model's tokenizer: byte-level BPE that splits digits, with Phi-3's chat markup."""

import random
from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from phi_assets.quickstart.corpus import document
from phi_assets.quickstart.markup import ASSISTANT, CHAT_TEMPLATE, END, MARKUP, PAD, SYSTEM, USER

VOCABULARY = 2048
_DOCUMENTS = 20_000


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
        yield "".join(segment.text for segment in document(rng, prose_share=0.15, sheet_share=0.0))
