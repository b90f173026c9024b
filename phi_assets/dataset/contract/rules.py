"""The chat contract: what is asked of every row, and which rows break it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import polars.selectors as cs

from phi_assets.config.dataset import ContractSection
from phi_assets.dataset.contract.markup import holds_markup
from phi_assets.dataset.contract.openings import field_of, first_question, openings
from phi_assets.dataset.contract.seen import MISSING, Seen, occur_twice
from phi_assets.dataset.contract.tokens import TokenCounter

RULES = (
    "schema",
    "no_messages",
    "roles",
    "ending",
    "empty_content",
    "markup",
    "prompt_mismatch",
    "leaked_id",
    "leaked_text",
    "duplicate_id",
    "duplicate_conversation",
    "too_long",
)
"""Names of all rules, in the order in which a row's reasons are listed."""

LEFT_OUT = "left_out"
"""Name of the column that says whether a row breaks a rule that is not merely warned about."""

_FLAG = "broken:"

_ROWS_AT_ONCE = 1000

_SEPARATOR = "\x1f"
_ANSWER = r"assistant(\x1f(tool\x1f)+assistant)*"
_TURNS = rf"^(system\x1f)?(user\x1f{_ANSWER}\x1f)*user(\x1f{_ANSWER}(\x1ftool)*)?$"
"""Between the assistant's calls of tools and its answer is what these say."""

_messages = pl.col("messages")
_content = pl.element().struct.field("content")
_role = pl.element().struct.field("role")

_roles: pl.Expr = _messages.list.eval(_role.str.replace_all(_SEPARATOR, "?", literal=True)).list.join(
    _SEPARATOR, ignore_nulls=False
)
"""All roles in one text; one that holds the separator itself is none that is known."""


def applicable_rules(split: str, *, against: bool) -> tuple[str, ...]:
    """The rules for rows of a split: only `*_sft` has to end with an answer, only what has a test split can leak."""
    without = set() if against else {"leaked_id", "leaked_text"}
    if not split.endswith("_sft"):
        without.add("ending")
    return tuple(rule for rule in RULES if rule not in without)


@dataclass(frozen=True)
class Unseen:
    """What must not occur again in data to train on, as hashes."""

    ids: Seen = field(default_factory=Seen)
    questions: Seen = field(default_factory=Seen)


def unseen_rows(parquet: str) -> Unseen:
    """The ids and questions of a sample."""
    rows = pl.scan_parquet(parquet, glob=False).select("prompt_id", "messages")
    unseen = Unseen()
    # A piece at a time: to read text it may need all of it at once.
    for first in range(0, rows.select(pl.len()).collect().item(), _ROWS_AT_ONCE):
        found = rows.slice(first, _ROWS_AT_ONCE).collect()
        found = found.select("prompt_id", question=openings(found["messages"]))
        unseen.ids.add(found.select(_id_hash).to_series().to_numpy())
        unseen.questions.add(found.select(_question_hash).to_series().to_numpy())
    return unseen


class Contract:
    """Judges the rows of one split, batch after batch, in their order.

    What a row is and how it compares with others are two questions: the first can be asked of many batches at once, the
    second, for which `unseen` is called, of one after the other. Rows are compared by 64-bit hashes of a process: among
    200,000 rows, two different ones are taken for the same with a probability of one in a thousand million.
    """

    def __init__(
        self,
        split: str,
        section: ContractSection,
        tokens: TokenCounter,
        unseen: Callable[[], Unseen] | None,
        *,
        with_validation: bool = False,
    ) -> None:
        self.rules = applicable_rules(split, against=unseen is not None)
        self.context_tokens = section.context_tokens
        self._policies = section.policies
        self._tokens = tokens
        self.token_counter = tokens.label
        self.with_validation = with_validation
        self._with_questions = with_validation or unseen is not None
        self._unseen = unseen or Unseen
        self._kept_ids = Seen()
        self._kept_conversations = Seen()

    def judge(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows with measures and verdicts as further columns, as far as a row alone can tell.

        Measures: `size` (bytes), `characters`, `message_characters` (of each), `turns`, `tokens`, `question`
        (the opening; null unless asked for).
        Verdicts: see `flag`.
        """
        measured = rows.with_columns(
            size=_messages.list.eval(_content.str.len_bytes()).list.sum().fill_null(0),
            message_characters=_messages.list.eval(_content.str.len_chars()),
            turns=_messages.list.eval((_role == "user").cast(pl.UInt32)).list.sum().fill_null(0),
            question=_opening if self._with_questions else pl.lit(None, dtype=pl.String),
        )
        measured = measured.with_columns(
            self._tokens.count(measured["messages"], measured["size"]),
            characters=pl.col("message_characters").list.sum().fill_null(0),
            id_hash=_id_hash,
            question_hash=_question_hash,
            conversation_hash=_conversation_hash,
        )
        verdicts = {
            "schema": _is_incomplete,
            "no_messages": _messages.list.len() == 0,
            "roles": (_messages.list.len() > 0) & ~_roles.str.contains(_TURNS),
            "ending": field_of(-1, "role") != "assistant",
            "empty_content": _messages.list.eval(_content.str.strip_chars_start() == "").list.any(),
            "markup": holds_markup(self._tokens.markup),
            "prompt_mismatch": pl.col("prompt") != first_question,
            "too_long": pl.col("tokens") > self.context_tokens,
        }
        return measured.with_columns(
            verdict.fill_null(value=False).alias(_FLAG + rule)
            for rule, verdict in verdicts.items()
            if rule in self.rules
        )

    def compare(self, judged: pl.DataFrame) -> pl.DataFrame:
        """The judged rows with the verdicts that need other rows; has to be called for all batches, in order.

        A row repeats another one if that is kept: what was left out for another reason takes nothing with it. Besides
        the verdicts there is the column `LEFT_OUT`.
        """
        unseen = self._unseen()
        leaks = {
            "leaked_id": unseen.ids.has(judged["id_hash"].to_numpy()),
            "leaked_text": unseen.questions.has(judged["question_hash"].to_numpy()),
        }
        strict = "|".join(rule for rule in self.rules if self._is_strict(rule))
        judged = (
            judged.lazy()
            .with_columns(pl.Series(self.flag(rule), flags) for rule, flags in leaks.items() if rule in self.rules)
            .with_columns(pl.any_horizontal(pl.lit(value=False), cs.matches(f"^{_FLAG}({strict})$")).alias(LEFT_OUT))
            .collect()
        )
        ids, conversations = judged["id_hash"].to_numpy(), judged["conversation_hash"].to_numpy()
        return judged.with_columns(self._repetitions(ids, conversations, judged[LEFT_OUT].to_numpy()))

    def _repetitions(self, ids: np.ndarray, conversations: np.ndarray, left_out: np.ndarray) -> list[pl.Series]:
        """For each row whether it repeats the id or the conversation of one that is kept, and the final `LEFT_OUT`."""
        id_known, conversation_known = self._kept_ids.has(ids), self._kept_conversations.has(conversations)
        id_repeated, conversation_repeated = np.zeros(len(ids), dtype=bool), np.zeros(len(ids), dtype=bool)
        kept = ~left_out
        # Only these can repeat a row or be repeated; whether they do depends on which of those before them are kept.
        doubtful = kept & (id_known | conversation_known | occur_twice(ids) | occur_twice(conversations))
        kept_ids: set[int] = set()
        kept_conversations: set[int] = set()
        for place in np.flatnonzero(doubtful):
            prompt_id, conversation = int(ids[place]), int(conversations[place])
            id_repeated[place] = id_known[place] or prompt_id in kept_ids
            conversation_repeated[place] = conversation_known[place] or conversation in kept_conversations
            kept[place] = not (
                (id_repeated[place] and self._is_strict("duplicate_id"))
                or (conversation_repeated[place] and self._is_strict("duplicate_conversation"))
            )
            if kept[place]:
                kept_ids.add(prompt_id)
                kept_conversations.add(conversation)
                # What is missing is no repetition of something else that is missing.
                kept_ids.discard(MISSING)
                kept_conversations.discard(MISSING)
        self._kept_ids.add(ids[kept])
        self._kept_conversations.add(conversations[kept])
        return [
            pl.Series(self.flag("duplicate_id"), id_repeated),
            pl.Series(self.flag("duplicate_conversation"), conversation_repeated),
            pl.Series(LEFT_OUT, ~kept),
        ]

    def _is_strict(self, rule: str) -> bool:
        return self._policies.of(rule) != "warn"

    @staticmethod
    def flag(rule: str) -> str:
        """Name of the boolean column that says whether a judged row breaks the rule."""
        return _FLAG + rule

    def reasons(self) -> pl.Expr:
        """The names of all rules that a judged row breaks."""
        names = [pl.when(self.flag(rule)).then(pl.lit(rule)) for rule in self.rules]
        return pl.concat_list(names).list.drop_nulls()


_opening: pl.Expr = _messages.map_batches(openings, return_dtype=pl.String)

_is_incomplete: pl.Expr = pl.any_horizontal(
    *(pl.col(name).is_null() for name in ("prompt", "prompt_id", "messages")),
    _messages.list.eval(_content.is_null() | _role.is_null()).list.any(),
)


def _hash_of(what: pl.Expr, *, where: pl.Expr) -> pl.Expr:
    # The hash of what is missing is a number like any other.
    return pl.when(where).then(what.hash(seed=0)).otherwise(pl.lit(MISSING, dtype=pl.UInt64))


_id_hash: pl.Expr = _hash_of(pl.col("prompt_id"), where=pl.col("prompt_id").is_not_null())

# A question of punctuation alone says nothing about where it comes from.
_question_hash: pl.Expr = _hash_of(pl.col("question"), where=pl.col("question") != "")

# Of hashes: to hash a list of structs itself, polars copies all of its text first.
_conversation_hash: pl.Expr = _hash_of(
    _messages.list.eval(_content.hash(seed=0) ^ _role.hash(seed=1)), where=_messages.is_not_null()
)
