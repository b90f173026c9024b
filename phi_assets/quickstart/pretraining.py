"""Pre-training of the base model: one thread, a fixed seed, a cosine schedule, question sheets in the second half."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from transformers import Phi3Config, Phi3ForCausalLM, PreTrainedTokenizerFast

from phi_assets.quickstart.corpus import Document, document
from phi_assets.quickstart.markup import END_ID, MARKUP, PAD_ID

IGNORED = -100
_POOL = 600

Row = tuple[list[int], list[int]]
Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Plan:
    """How long and on what the model is trained."""

    steps: int
    tokens_per_step: int = 1000
    """Padding included."""
    learning_rate: float = 3e-3
    warm_up: int = 100
    weight_decay: float = 0.05
    prose_share: float = 0.15
    sheet_share: float = 0.2
    sheets_from: float = 0.5
    """Share of the steps after which question sheets join in; without them the base model answers in chat already.

    Much later the learning rate is too low for them to have an effect.
    """

    def factor(self, step: int) -> float:
        """Learning rate of a step as a share of the peak: linear warm-up, then half a cosine down to 2 %."""
        return min(1.0, (step + 1) / self.warm_up) * (0.51 + 0.49 * math.cos(math.pi * step / self.steps))

    def shares(self, step: int) -> dict[str, float]:
        """What the documents of a step are, as arguments of `corpus.document`."""
        sheets = self.sheet_share if step >= self.sheets_from * self.steps else 0.0
        return {"prose_share": self.prose_share, "sheet_share": sheets}


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Phi3ForCausalLM:
    """An untrained Phi-3 of 2.2 million parameters."""
    torch.manual_seed(seed)
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=512,
        original_max_position_embeddings=512,
        tie_word_embeddings=True,
        # The usual 0.02 suits wide models; this narrow one starts to learn a third earlier with more.
        initializer_range=0.06,
        pad_token_id=PAD_ID,
        bos_token_id=None,
        eos_token_id=END_ID,
    )
    return Phi3ForCausalLM(config)


def train(
    model: Phi3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    plan: Plan,
    seed: int,
    report: Callable[[int, float], None],
) -> None:
    """Train `model` in place; `report` gets the number of the step and its loss after every step.

    Raises:
        FloatingPointError: a loss is not a finite number.
    """
    optimizer = _optimizer(model, plan)
    embedding = model.get_parameter("model.embed_tokens.weight")
    markup = torch.tensor([token for token in range(len(MARKUP)) if token != END_ID])
    progress = 0
    stream = _batches(tokenizer, random.Random(seed), plan.tokens_per_step, lambda: plan.shares(progress))
    model.train()
    for progress in range(plan.steps):
        loss = _loss(model, *next(stream))
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {progress}")
        loss.backward()
        # Most markup is never to be written; as outputs its tied rows would be pushed far away from all the others.
        assert embedding.grad is not None
        embedding.grad[markup] = 0
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * plan.factor(progress)
        optimizer.step()
        optimizer.zero_grad()
        report(progress, loss.item())


def _optimizer(model: Phi3ForCausalLM, plan: Plan) -> torch.optim.Optimizer:
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": plan.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.95), fused=True)


def _loss(model: Phi3ForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    # Padding is on the right and causal attention never looks there, so no mask is needed.
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    learned = targets != IGNORED
    # Logits only where there is something to learn: the vocabulary is a sixth of the work.
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[learned]), targets[learned])


def _batches(
    tokenizer: PreTrainedTokenizerFast, rng: random.Random, size: int, shares: Callable[[], dict[str, float]]
) -> Iterator[Batch]:
    """Endless batches of documents of like length, at most `size` tokens each, in random order."""
    while True:
        documents = [document(rng, **shares()) for _ in range(_POOL)]
        rows = sorted((_encode(tokenizer, doc) for doc in documents), key=lambda row: len(row[0]))
        parts: list[list[Row]] = [[]]
        for row in rows:
            if len(row[0]) * (len(parts[-1]) + 1) > size:
                parts.append([])
            parts[-1].append(row)
        rng.shuffle(parts)
        yield from (_padded(part) for part in parts)


def _encode(tokenizer: PreTrainedTokenizerFast, doc: Document) -> Row:
    ids: list[int] = []
    labels: list[int] = []
    for segment in doc:
        piece = tokenizer.encode(segment.text, add_special_tokens=False)
        ids += piece
        labels += piece if segment.learned else [IGNORED] * len(piece)
    return [*ids, END_ID], [*labels, END_ID]


def _padded(rows: list[Row]) -> Batch:
    length = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([row + [PAD_ID] * (length - len(row)) for row, _ in rows])
    labels = torch.tensor([row + [IGNORED] * (length - len(row)) for _, row in rows])
    return ids, labels
