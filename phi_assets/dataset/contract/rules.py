"""The chat contract: what is asked of every row, and which rows break it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import polars.selectors as cs

from phi_assets.config.dataset import ContractSection
from phi_assets.dataset.contract.contamination import Benchmarks
from phi_assets.dataset.contract.content import FOUND, Content
from phi_assets.dataset.contract.markup import holds_markup
from phi_assets.dataset.contract.near import SIGNATURE, Nearest, NearRows, Similar, said, signatures
from phi_assets.dataset.contract.openings import field_of, first_question, openings
from phi_assets.dataset.contract.seen import MISSING, Seen, occur_twice
from phi_assets.dataset.contract.tokens import TokenCounter
from phi_assets.dataset.contract.words import words_of

RULES = (
    "schema",
    "no_messages",
    "roles",
    "ending",
    "empty_content",
    "markup",
    "personal_data",
    "prompt_mismatch",
    "leaked_id",
    "leaked_text",
    "leaked_near_duplicate",
    "contaminated",
    "duplicate_id",
    "duplicate_conversation",
    "near_duplicate",
    "too_long",
)
"""Names of all rules, in the order in which a row's reasons are listed."""

LEFT_OUT = "left_out"
"""Name of the column that says whether a row breaks a rule that is not merely warned about."""

SOURCE = "source"
"""Name of the column that says which source of a mixture a row is of."""

_FLAG = "broken:"
_ROW_BITS = 40
"""Of a number that says row and source."""

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


_LEAKS = {"leaked_id", "leaked_text", "leaked_near_duplicate"}


def applicable_rules(split: str, section: ContractSection, *, against: bool) -> tuple[str, ...]:
    """The rules for rows of a split: only `*_sft` has to end with an answer, only what has a test split can leak, and
    some are asked where the recipe says what to compare with.
    """
    without = set() if against else set(_LEAKS)
    if not split.endswith("_sft"):
        without.add("ending")
    if section.near_duplicate_threshold is None:
        without |= {"near_duplicate", "leaked_near_duplicate"}
    if not section.personal_data:
        without.add("personal_data")
    if not section.decontaminate or not is_learned(split):
        without.add("contaminated")
    return tuple(rule for rule in RULES if rule not in without)


def is_learned(split: str) -> bool:
    """Whether the split, or the sample of one, is none to test with."""
    return not split.startswith("test")


@dataclass(frozen=True)
class Unseen:
    """What must not occur again in data to train on, as hashes."""

    ids: Seen = field(default_factory=Seen)
    questions: Seen = field(default_factory=Seen)
    similar: Similar | None = None
    """What must not be nearly repeated; None where nobody asks."""


def unseen_rows(parquet: str, near_duplicate_threshold: float | None) -> Unseen:
    """The ids and questions of a sample, and with a threshold what its rows say."""
    rows = pl.scan_parquet(parquet, glob=False).select("prompt_id", "messages")
    unseen = Unseen(similar=None if near_duplicate_threshold is None else Similar(near_duplicate_threshold))
    # A piece at a time: to read text it may need all of it at once.
    for first in range(0, rows.select(pl.len()).collect().item(), _ROWS_AT_ONCE):
        found = rows.slice(first, _ROWS_AT_ONCE).collect()
        if unseen.similar:
            signed = np.concatenate([signatures(words) for words in words_of(said(found["messages"]))])
            unseen.similar.add(signed, unseen.similar.keys(signed), np.arange(first, first + found.height))
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
        benchmarks: Benchmarks | None = None,
        sources: Sequence[str] = ("",),
        with_validation: bool = False,
    ) -> None:
        """`sources` are the names of those that are mixed, as the column `SOURCE` has them."""
        self.rules = applicable_rules(split, section, against=unseen is not None)
        self.context_tokens = section.context_tokens
        self._policies = section.policies
        self._tokens = tokens
        self.with_validation = with_validation
        benchmarks = benchmarks if "contaminated" in self.rules else None
        self._content = Content(section, benchmarks)
        self._with_questions = with_validation or unseen is not None or benchmarks is not None
        self._unseen = unseen or Unseen
        threshold = section.near_duplicate_threshold
        self._similar = None if threshold is None else Similar(threshold)
        self._sources = tuple(sources)
        self._kept_ids = Seen()
        self._kept_conversations = Seen()

    @property
    def token_counter(self) -> str:
        """How the tokens of the rows so far were counted, for people."""
        return self._tokens.label

    def measure(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows with what a portrait needs: `size` (bytes), `characters`, `message_characters` (of each), `turns`,
        and `question` (the opening; null unless asked for).
        """
        measured = rows.with_columns(
            size=_messages.list.eval(_content.str.len_bytes()).list.sum().fill_null(0),
            message_characters=_messages.list.eval(_content.str.len_chars()),
            turns=_messages.list.eval((_role == "user").cast(pl.UInt32)).list.sum().fill_null(0),
            question=_opening if self._with_questions else pl.lit(None, dtype=pl.String),
        )
        return measured.with_columns(characters=pl.col("message_characters").list.sum().fill_null(0))

    def judge(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows with measures and verdicts as further columns, as far as a row alone can tell.

        Measures: those of `measure`, `tokens`, `FOUND`, and `SIGNATURE` where it is asked for. Verdicts: see `flag`.
        """
        measured = self.measure(rows)
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
            "ending": field_of(-1, "role") != "assistant",
            "empty_content": _messages.list.eval(_content.str.strip_chars_start() == "").list.any(),
            "markup": holds_markup(self._tokens.markup),
            "prompt_mismatch": pl.col("prompt") != first_question,
            "too_long": pl.col("tokens") > self.context_tokens,
        }
        return measured.with_columns(
            *(
                verdict.fill_null(value=False).alias(_FLAG + rule)
                for rule, verdict in verdicts.items()
                if rule in self.rules
            ),
            *(
                series.alias(self.flag(name) if name in self.rules else name)
                for name, series in self._content.columns(measured).items()
            ),
        )

    def compare(self, judged: pl.DataFrame) -> pl.DataFrame:
        """The judged rows with the verdicts that need other rows; has to be called for all batches, in order.

        A row repeats another one if that is kept: what was left out for another reason takes nothing with it. Besides
        the verdicts there is the column `LEFT_OUT`. It is `leaked`, then `repeated`.
        """
        near = self._near(judged)
        return self._repeated(self._leaked(judged, near), near)

    def leaked(self, judged: pl.DataFrame) -> pl.DataFrame:
        """The judged rows compared with the test sample, in any order, and `LEFT_OUT` as far as that and they tell."""
        return self._leaked(judged, self._near(judged))

    def repeated(self, judged: pl.DataFrame) -> pl.DataFrame:
        """The rows of `leaked`, of which hashes and `SIGNATURE` suffice, compared with those of earlier calls."""
        return self._repeated(judged, self._near(judged))

    def _leaked(self, judged: pl.DataFrame, near: NearRows | None) -> pl.DataFrame:
        unseen = self._unseen()
        similar = near.most_like(unseen.similar) if near and unseen.similar else None
        leaks = {
            "leaked_id": unseen.ids.has(judged["id_hash"].to_numpy()),
            "leaked_text": unseen.questions.has(judged["question_hash"].to_numpy()),
            **({"leaked_near_duplicate": similar.number >= 0} if similar else {}),
        }
        asked = {rule: hit for rule, hit in leaks.items() if rule in self.rules}
        judged = judged.with_columns(pl.Series(self.flag(rule), hit) for rule, hit in asked.items())
        if similar:
            words = self._in_words(similar, lambda number: f"row {number:,} of the test sample")
            judged = judged.with_columns(pl.coalesce(FOUND, words))
        return judged.with_columns(self.left_out)

    def _repeated(self, judged: pl.DataFrame, near: NearRows | None) -> pl.DataFrame:
        # Nobody needs signatures any more, which take more memory than short conversations.
        return judged.with_columns(self._repetitions(judged, near)).drop(SIGNATURE, strict=False)

    @property
    def left_out(self) -> pl.Expr:
        """`LEFT_OUT` of rows by their verdicts so far."""
        strict = "|".join(filter(self._is_strict, self.rules))
        return pl.any_horizontal(pl.lit(value=False), cs.matches(f"^{_FLAG}({strict})$")).alias(LEFT_OUT)

    def _repetitions(self, judged: pl.DataFrame, near: NearRows | None) -> list[pl.Series]:
        """For each row whether it repeats the id or the conversation of one that is kept, or nearly the latter, and the
        final `LEFT_OUT`.
        """
        names = ("id_hash", "conversation_hash", LEFT_OUT)
        ids, conversations, left_out = (judged[name].to_numpy() for name in names)
        id_known, conversation_known = self._kept_ids.has(ids), self._kept_conversations.has(conversations)
        id_repeated, conversation_repeated = np.zeros(len(ids), dtype=bool), np.zeros(len(ids), dtype=bool)
        kept = ~left_out
        # Only these can repeat a row or be repeated; whether they do depends on which of those before them are kept.
        doubtful = kept & (id_known | conversation_known | occur_twice(ids) | occur_twice(conversations))
        if near:
            doubtful |= kept & near.doubtful
        like = Nearest(np.full(len(ids), -1, dtype=np.int64), np.zeros(len(ids)))
        kept_ids: set[int] = set()
        kept_conversations: set[int] = set()
        for place in np.flatnonzero(doubtful).tolist():
            prompt_id, conversation = int(ids[place]), int(conversations[place])
            id_repeated[place] = id_known[place] or prompt_id in kept_ids
            conversation_repeated[place] = conversation_known[place] or conversation in kept_conversations
            kept[place] = not (
                (id_repeated[place] and self._is_strict("duplicate_id"))
                or (conversation_repeated[place] and self._is_strict("duplicate_conversation"))
            )
            if near and not conversation_repeated[place] and (found := near.like(place)):
                like.number[place], like.similarity[place] = found
                kept[place] &= not self._is_strict("near_duplicate")
            if kept[place] and near:
                near.keep(place)
            if kept[place]:
                kept_ids.add(prompt_id)
                kept_conversations.add(conversation)
                # What is missing is no repetition of something else that is missing.
                kept_ids.discard(MISSING)
                kept_conversations.discard(MISSING)
        self._kept_ids.add(ids[kept])
        self._kept_conversations.add(conversations[kept])
        nearly = []
        if near:
            near.close(kept)
            words = judged.select(pl.coalesce(FOUND, self._in_words(like, self._named))).to_series()
            nearly = [pl.Series(self.flag("near_duplicate"), like.number >= 0), words]
        return [
            *nearly,
            pl.Series(self.flag("duplicate_id"), id_repeated),
            pl.Series(self.flag("duplicate_conversation"), conversation_repeated),
            pl.Series(LEFT_OUT, ~kept),
        ]

    def _near(self, judged: pl.DataFrame) -> NearRows | None:
        if self._similar is None:
            return None
        numbers = judged["row"].to_numpy()
        if len(self._sources) > 1:
            source = judged[SOURCE].replace_strict(self._sources, range(len(self._sources)), return_dtype=pl.Int64)
            numbers = numbers | source.to_numpy() << _ROW_BITS
        return NearRows(self._similar, judged[SIGNATURE].to_numpy(), numbers)

    def _named(self, number: int) -> str:
        source = self._sources[number >> _ROW_BITS]
        return f"row {number & (1 << _ROW_BITS) - 1:,}" + (f" of {source}" if source else "")

    @staticmethod
    def _in_words(like: Nearest, named: Callable[[int], str]) -> pl.Series:
        """What each row is like; null where it is like nothing."""
        found = pl.Series(FOUND, [None], dtype=pl.String).new_from_index(0, len(like.number))
        places = np.flatnonzero(like.number >= 0)
        texts = [f"{like.similarity[place]:.0%} like {named(int(like.number[place]))}" for place in places]
        return found.scatter(places, texts)

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
