"""What is known about a sample once it has been written: the rows that were left out, and a portrait of the others."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from phi_assets.config.dataset import Policy
from phi_assets.config.section import later
from phi_assets.refs import Message


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Conversation(_Part):
    """A row, to be read by people."""

    row: int
    """Its number in the raw split, from 0; of a mixture, in that of its source."""
    source: str = later("")
    """Its source, where several are mixed."""
    prompt_id: str
    messages: tuple[Message, ...]
    found: str = later("")
    """What the row is like or what it holds, where a rule is about that: `93% like row 17`."""


class Violation(_Part):
    """Rows that break one rule of the contract."""

    rule: str
    policy: Policy
    rows: int
    examples: tuple[Conversation, ...] = ()
    """The first three of them."""


class Lengths(_Part):
    """How a length is distributed over conversations or messages."""

    what: Literal["tokens", "messages", "turns", "characters"]
    mean: float
    p50: float
    p95: float
    p99: float
    max: int


class RoleProfile(_Part):
    """The messages of one role."""

    role: str
    messages: int
    bytes: int
    """UTF-8."""
    characters: Lengths
    """Of a message."""


class TokenHistogram(_Part):
    """Conversations by their length in tokens."""

    edges: tuple[float, ...]
    """One more than there are counts."""
    counts: tuple[int, ...]


class Profile(_Part):
    """A portrait of the rows of one file."""

    rows: int
    bytes: int
    """UTF-8 of all messages."""
    messages: int
    turns: int
    """Messages of the user."""
    tokens: int
    """Of all conversations, with the markup around their messages."""
    token_counter: str
    """How tokens were counted, for example `estimated, 0.214 tokens a byte`."""
    context_tokens: int
    truncated_rows: int
    """Conversations longer than the context."""
    histogram: TokenHistogram
    lengths: tuple[Lengths, ...]
    """Of a conversation: tokens, messages, turns, characters."""
    roles: tuple[RoleProfile, ...]
    examples: tuple[Conversation, ...]
    """Five, chosen by the seed."""

    @property
    def truncated_share(self) -> float:
        """Between 0 and 1."""
        return self.truncated_rows / self.rows if self.rows else 0.0


class SourceReport(_Part):
    """What became of the rows of one source of a mixture."""

    name: str
    rows_total: int
    rows_asked: int
    """Rows that were wanted, repetitions included."""
    rows_quarantined: int
    lost: dict[str, int]
    """Of these, how many break which rule; only rules that some break. One row may break several."""
    rows: dict[str, int]
    """Rows in each sample, repetitions included, by the name of the file."""


class SplitReport(_Part):
    """Where every row of a raw split went: `rows_total` = not sampled + quarantined + kept in all `samples`, without
    those that repeat others.
    """

    split: str
    rows_total: int
    rows_not_sampled: int
    rows_quarantined: int
    not_carried: dict[str, int] = Field(default_factory=dict)
    """Rows of the source that have a value in a column, or in `messages.<field>`, that is in no conversation."""
    violations: tuple[Violation, ...]
    """Every rule that applies to the split, in the recipe's order, also those that no row breaks."""
    samples: dict[str, Profile]
    """By the name of the file: `train_sft`, `validation_sft`."""
    rows_repeated: int = later(0)
    """Rows in the samples beyond the first time that each is there, where a mixture asks for more than there are."""
    sources: tuple[SourceReport, ...] = later(())
    """Of a mixture."""


def read_report(path: Path) -> SplitReport:
    """The report that was written beside a sample."""
    return SplitReport.model_validate_json(path.read_bytes())
