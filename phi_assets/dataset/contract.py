"""The chat contract: what is asked of every row, and which rows break it."""

from dataclasses import dataclass

import polars as pl
import polars.selectors as cs

from phi_assets.dataset.tokens import TokenCounter
from phi_assets.recipe import ContractSection

RULES = (
    "schema",
    "no_messages",
    "roles",
    "ending",
    "empty_content",
    "prompt_mismatch",
    "leaked_id",
    "leaked_text",
    "duplicate_id",
    "duplicate_conversation",
    "too_long",
)
"""Names of all rules, in the order in which a row's reasons are listed."""

_COMPARED = ("leaked_id", "leaked_text", "duplicate_id", "duplicate_conversation")
"""Rules that ask about other rows."""

_FLAG = "broken:"

_ROWS_AT_ONCE = 1000

_SEPARATOR = "\x1f"
_TURNS = r"^(system\x1f)?(user\x1fassistant\x1f)*(user|user\x1fassistant)$"

_messages = pl.col("messages")
_content = pl.element().struct.field("content")
_role = pl.element().struct.field("role")

_roles: pl.Expr = _messages.list.eval(_role.str.replace_all(_SEPARATOR, "?", literal=True)).list.join(
    _SEPARATOR, ignore_nulls=False
)
"""All roles in one text; one that holds the separator itself is none that is known."""


def _field_of(place: int, field: str) -> pl.Expr:
    return _messages.list.get(place, null_on_oob=True).struct.field(field)


_first_question: pl.Expr = (
    pl.when(_field_of(0, "role") == "user")
    .then(_field_of(0, "content"))
    .when(_field_of(1, "role") == "user")
    .then(_field_of(1, "content"))
)
"""Content of the user's first message, which is the first or, after a system message, the second."""


def normalized(text: pl.Expr) -> pl.Expr:
    """The text in lower case, with every run of punctuation and white space as one space."""
    return text.str.to_lowercase().str.replace_all(r"[\W_]+", " ").str.strip_chars()


def normalized_question() -> pl.Expr:
    """The normalized first question of the conversation in `messages`; null where there is none."""
    return normalized(_first_question)


def applicable_rules(split: str, *, against: bool) -> tuple[str, ...]:
    """The rules for rows of a split: only `*_sft` has to end with an answer, only what has a test split can leak."""
    without = set() if against else {"leaked_id", "leaked_text"}
    if not split.endswith("_sft"):
        without.add("ending")
    return tuple(rule for rule in RULES if rule not in without)


@dataclass(frozen=True)
class Unseen:
    """What must not occur again in data to train on, as hashes."""

    ids: frozenset[int]
    questions: frozenset[int]


def unseen_rows(parquet: str) -> Unseen:
    """The ids and questions of a sample."""
    rows = pl.scan_parquet(parquet, glob=False).select("prompt_id", question=normalized_question())
    ids: set[int] = set()
    questions: set[int] = set()
    # A piece at a time: to read text it may need all of it at once.
    for first in range(0, rows.select(pl.len()).collect().item(), _ROWS_AT_ONCE):
        found = rows.slice(first, _ROWS_AT_ONCE).collect()
        ids.update(found.select(_id_hash).to_series().drop_nulls())
        questions.update(found.select(_question_hash).to_series().drop_nulls())
    return Unseen(frozenset(ids), frozenset(questions))


class Contract:
    """Judges the rows of one split, batch after batch, in their order.

    What a row is and how it compares with others are two questions: the first can be asked of many batches at once, the
    second of one after the other. Rows are compared by 64-bit hashes of a process: among 200,000 rows, two different
    ones are taken for the same with a probability of one in a thousand million.
    """

    def __init__(
        self,
        split: str,
        section: ContractSection,
        tokens: TokenCounter,
        unseen: Unseen | None,
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
        self._unseen = unseen or Unseen(frozenset(), frozenset())
        self._kept_ids: set[int | None] = set()
        self._kept_conversations: set[int | None] = set()

    def judge(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows with measures and verdicts as further columns, as far as a row alone can tell.

        Measures: `size` (bytes), `characters`, `turns`, `tokens`, `question` (normalized; null unless asked for).
        Verdicts: see `flag`.
        """
        measured = rows.with_columns(
            size=_messages.list.eval(_content.str.len_bytes()).list.sum().fill_null(0),
            characters=_messages.list.eval(_content.str.len_chars()).list.sum().fill_null(0),
            turns=_messages.list.eval((_role == "user").cast(pl.UInt32)).list.sum().fill_null(0),
            question=normalized_question() if self._with_questions else pl.lit(None, dtype=pl.String),
        )
        measured = measured.with_columns(
            self._tokens.count(measured["messages"], measured["size"]),
            id_hash=_id_hash,
            question_hash=_question_hash,
            conversation_hash=_conversation_hash,
        )
        verdicts = {
            "schema": _is_incomplete,
            "no_messages": _messages.list.len() == 0,
            "roles": (_messages.list.len() > 0) & ~_roles.str.contains(_TURNS),
            "ending": _field_of(-1, "role") != "assistant",
            "empty_content": _messages.list.eval(_content.str.strip_chars_start() == "").list.any(),
            "prompt_mismatch": pl.col("prompt") != _first_question,
            "too_long": pl.col("tokens") > self.context_tokens,
        }
        return measured.with_columns(
            verdict.fill_null(value=False).alias(_FLAG + rule)
            for rule, verdict in verdicts.items()
            if rule in self.rules
        )

    def compare(self, judged: pl.DataFrame) -> pl.DataFrame:
        """The judged rows with the verdicts that need other rows; has to be called for all batches, in order.

        A row repeats another one if that is kept: what was left out for another reason takes nothing with it.
        """
        hashes = judged.select("id_hash", "question_hash", "conversation_hash", left_out=self.left_out())
        leaked_ids, leaked_texts, repeated_ids, repeated_conversations = [], [], [], []
        for prompt_id, question, conversation, left_out in zip(*(column.to_list() for column in hashes), strict=True):
            leaked_ids.append(prompt_id in self._unseen.ids)
            leaked_texts.append(question in self._unseen.questions)
            gone = left_out or (leaked_ids[-1] and self._is_strict("leaked_id"))
            gone = gone or (leaked_texts[-1] and self._is_strict("leaked_text"))
            repeated_ids.append(not gone and prompt_id in self._kept_ids)
            repeated_conversations.append(not gone and conversation in self._kept_conversations)
            gone = gone or (repeated_ids[-1] and self._is_strict("duplicate_id"))
            if not (gone or (repeated_conversations[-1] and self._is_strict("duplicate_conversation"))):
                self._kept_ids.add(prompt_id)
                self._kept_conversations.add(conversation)
                # What is missing is no repetition of something else that is missing.
                self._kept_ids.discard(None)
                self._kept_conversations.discard(None)
        verdicts = dict(zip(_COMPARED, (leaked_ids, leaked_texts, repeated_ids, repeated_conversations), strict=True))
        return judged.with_columns(
            pl.Series(_FLAG + rule, flags, dtype=pl.Boolean) for rule, flags in verdicts.items() if rule in self.rules
        )

    def _is_strict(self, rule: str) -> bool:
        return self._policies.of(rule) != "warn"

    def left_out(self) -> pl.Expr:
        """Whether a row breaks a rule that is not merely warned about, as far as it has been judged."""
        strict = "|".join(rule for rule in self.rules if self._is_strict(rule))
        return pl.any_horizontal(pl.lit(value=False), cs.matches(f"^{_FLAG}({strict})$"))

    @staticmethod
    def flag(rule: str) -> str:
        """Name of the boolean column that says whether a judged row breaks the rule."""
        return _FLAG + rule

    def reasons(self) -> pl.Expr:
        """The names of all rules that a judged row breaks."""
        names = [pl.when(self.flag(rule)).then(pl.lit(rule)) for rule in self.rules]
        return pl.concat_list(names).list.drop_nulls()


_is_incomplete: pl.Expr = pl.any_horizontal(
    *(pl.col(name).is_null() for name in ("prompt", "prompt_id", "messages")),
    _messages.list.eval(_content.is_null() | _role.is_null()).list.any(),
)


def _hash_of(column: str, what: pl.Expr) -> pl.Expr:
    # The hash of what is missing is a number like any other.
    return pl.when(pl.col(column).is_not_null()).then(what.hash(seed=0))


_id_hash: pl.Expr = _hash_of("prompt_id", pl.col("prompt_id"))

# A question of punctuation alone says nothing about where it comes from.
_question_hash: pl.Expr = pl.when(pl.col("question") != "").then(pl.col("question").hash(seed=0))

# Of hashes: to hash a list of structs itself, polars copies all of its text first.
_conversation_hash: pl.Expr = _hash_of("messages", _messages.list.eval(_content.hash(seed=0) ^ _role.hash(seed=1)))
