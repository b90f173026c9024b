"""A synthetic ultrachat_200k: the hub's layout and sizes, seeded text, and known odd rows.

`python -m tests.benchmarks.ultrachat DIRECTORY` writes `DIRECTORY/data/<split>-*.parquet` and `DIRECTORY/truth.json`,
which says for every rule of the contract which rows break it.

<https://huggingface.co/datasets/HuggingFaceH4/ultrachat_200k>
"""

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("prompt", pa.string()),
        ("prompt_id", pa.string()),
        ("messages", pa.list_(pa.struct([("content", pa.string()), ("role", pa.string())]))),
    ]
)

ROWS = {"train_sft": 207_865, "test_sft": 23_110, "train_gen": 256_032, "test_gen": 28_304}
"""Rows of each split on the hub."""

SHARDS = {"train_sft": 3, "test_sft": 1, "train_gen": 3, "test_gen": 1}

ROW_GROUP = 1_000

FEWEST_ROWS = 40
"""Each kind of odd row needs a place of its own."""

ODD_SHARE = 0.01

KINDS: dict[str, tuple[str, ...]] = {
    "prompt_null": ("schema",),
    "prompt_id_null": ("schema",),
    "messages_null": ("schema",),
    "message_null": ("schema",),
    "content_null": ("schema",),
    "role_null": ("schema",),
    "messages_empty": ("no_messages",),
    "assistant_first": ("roles",),
    "user_twice": ("roles",),
    "system_later": ("roles",),
    "role_unknown": ("roles",),
    "ends_with_user": ("ending",),
    "content_empty": ("empty_content",),
    "content_blank": ("empty_content",),
    "prompt_differs": ("prompt_mismatch",),
    "overlong": ("too_long",),
    "same_id": ("duplicate_id",),
    "same_messages": ("duplicate_conversation",),
    "same_row": ("duplicate_id", "duplicate_conversation"),
    "id_in_test": ("leaked_id",),
    "text_in_test": ("leaked_text",),
    "row_in_test": ("leaked_id", "leaked_text"),
    "system_first": (),
}
"""Kinds of odd rows, each with the rules of `recipe.Policies` that it breaks: a leading system message breaks none."""

_PAIRED = ("same_id", "same_messages", "same_row")
_LEAKED = ("id_in_test", "text_in_test", "row_in_test")

_POOL_WORDS = 6_000_000
_VOCABULARY = 20_000
_OPENERS = 256
_PASSAGE_WORDS, _TOPIC_WORDS, _TOPICAL = 1_000, 20, 0.7
_FOLLOWING = 0.7
_FUNCTION_WORDS = (
    "the of and to a in is you that it for on are with as this be have from or can an by your their not which will "
    "was they more at also has its but these some may one such about other how I into use what there when if like "
    "while time we than make most all out them should who up so each our no any do where then my been many"
)
_FUNCTION_COUNT = len(_FUNCTION_WORDS.split())
_ONSETS = "b b c c d d f g h l l m m n n p p r r s s t t t v w ch cl gr pl pr sh st th tr"
_NUCLEI = "a a a e e e e i i i o o u ai ea ee ou"
_CODAS = "- - - - - - - - - - - - d l l m n n n r r s s t ck nd ng st tion y"
_FOREIGN = ("café", "naïve", "über", "señor", "façade", "Ångström", "日本語", "東京", "привет", "🙂", "🚀", "C:\\temp")
_FORMS = ("{}", "{}", '"{}"', "**{}**", "({})")
_FORM_SHARES = (0.978, 0.0, 0.01, 0.006, 0.006)
_SEPARATORS = (" ", ", ", "; ", ": ", " — ", "\t", "\u2028", ". ", "? ", "! ", ".\n", ".\n\n")
_WITHIN_SENTENCE = (0.915, 0.07, 0.005, 0.005, 0.003, 0.001, 0.001)
_AFTER_SENTENCE = (0.72, 0.07, 0.03, 0.1, 0.08)

_TURNS = {"sft": (0.1, 0.28, 0.25, 0.16, 0.1, 0.07, 0.04), "gen": (0.14, 0.31, 0.24, 0.14, 0.09, 0.05, 0.03)}
"""Shares of conversations with one to seven messages of the user."""

_PROMPT_BYTES, _USER_BYTES, _ASSISTANT_BYTES = 270, 110, 1_745
_LONGEST = 14_000
"""UTF-8 bytes in an ordinary conversation: by any count fewer tokens than the 4,096 that `overlong` ones exceed."""


@dataclass(frozen=True)
class Pool:
    """Text to cut messages from, with the places where sentences begin and end."""

    text: bytes
    starts: np.ndarray
    ends: np.ndarray
    openers: tuple[bytes, ...]

    @classmethod
    def make(cls, words: int, seed: int) -> "Pool":
        """About `words` words with Zipf's frequencies."""
        choice = np.random.default_rng([seed, 0])
        vocabulary = _vocabulary(seed)
        forms = np.array(
            [
                form.format(word.capitalize() if number == 1 else word).encode()
                for number, form in enumerate(_FORMS)
                for word in vocabulary
            ],
            dtype=object,
        )
        frequencies = 1 / (np.arange(len(vocabulary)) + 2.7)
        chosen = np.searchsorted(np.cumsum(frequencies / frequencies.sum()), choice.random(words))
        # As in speech, a passage comes back to the words of its topic, and words have their usual followers: this is
        # why real text compresses as well as it does. With these shares, all four splits are 1.69 GB as Parquet; the
        # hub's are 1.62 GB. https://huggingface.co/datasets/HuggingFaceH4/ultrachat_200k/blob/main/README.md
        topics = choice.integers(0, len(vocabulary), size=(words // _PASSAGE_WORDS + 1, _TOPIC_WORDS))
        topical = topics[
            np.arange(words) // _PASSAGE_WORDS, (_TOPIC_WORDS * choice.random(words) ** 2).astype(np.int64)
        ]
        chosen = np.where(choice.random(words) < _TOPICAL, topical, np.minimum(chosen, len(vocabulary) - 1))
        followers = choice.permutation(chosen)[: len(vocabulary)]
        for _ in range(3):
            chosen[1:] = np.where(choice.random(words - 1) < _FOLLOWING, followers[chosen[:-1]], chosen[1:])
        lasts = np.cumsum(choice.integers(5, 24, size=words // 5)) - 1
        lasts = np.append(lasts[lasts < words - 1], words - 1)
        firsts = np.append(0, lasts[:-1] + 1)
        form = choice.choice(len(_FORMS), size=words, p=_FORM_SHARES)
        form[firsts] = 1
        separator = choice.choice(len(_WITHIN_SENTENCE), size=words, p=_WITHIN_SENTENCE)
        separator[lasts] = len(_WITHIN_SENTENCE) + choice.choice(
            len(_AFTER_SENTENCE), size=len(lasts), p=_AFTER_SENTENCE
        )
        separators = np.array([text.encode() for text in _SEPARATORS], dtype=object)
        pieces = np.empty(2 * words, dtype=object)
        pieces[0::2] = forms[form * len(vocabulary) + chosen]
        pieces[1::2] = separators[separator]
        sizes = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
        after = np.cumsum(sizes)
        return cls(
            text=b"".join(pieces),
            starts=(after - sizes)[0::2][firsts],
            ends=after[0::2][lasts] + 1,  # with the full stop, without the white space
            openers=tuple(word.encode() for word in vocabulary[_FUNCTION_COUNT:][:_OPENERS]),
        )

    def opener(self, number: int) -> bytes:
        """Three words that no other number below 2^24 has: no two prompts are equal by accident."""
        scrambled = number * 0x9E3779 % (1 << 24)
        one, two, three = (self.openers[scrambled >> shift & 0xFF] for shift in (16, 8, 0))
        return b"%b %b %b: " % (one.capitalize(), two, three)


@dataclass(frozen=True)
class Odd:
    """What is odd about a row."""

    kind: str
    of: int | None = None
    """Row that it repeats: of the same split, or for leaks of the test split."""


@dataclass
class Message:
    """One message while its row is being made."""

    content: bytes | None
    role: bytes | None


@dataclass
class Row:
    """One row while it is being made; a message may be missing."""

    prompt: bytes | None
    prompt_id: str | None
    messages: list[Message | None] | None


@dataclass(frozen=True)
class Plan:
    """Where in the pool each message of a split lies, and which rows are odd."""

    split: str
    pool: Pool
    firsts: np.ndarray
    """Number of each row's first message, and one more at the end."""
    starts: np.ndarray
    ends: np.ndarray
    odd: dict[int, Odd]
    test: "Plan | None"

    @property
    def rows(self) -> int:
        """Rows of the split."""
        return len(self.firsts) - 1

    @classmethod
    def make(cls, split: str, rows: int, pool: Pool, seed: int, test: "Plan | None" = None) -> "Plan":
        """Lengths, places and odd rows of a split; `test` is what its leaks come from."""
        choice = np.random.default_rng([seed, 1, list(ROWS).index(split)])
        odd = _odd_rows(split, rows, choice, test)
        shares = _TURNS[split.removeprefix("train_").removeprefix("test_")]
        turns = choice.choice(len(shares), size=rows, p=shares) + 1
        numbers = np.fromiter(odd, dtype=np.int64, count=len(odd))
        turns[numbers] = np.maximum(turns[numbers], 3)
        overlong = [row for row, what in odd.items() if what.kind == "overlong"]
        turns[overlong] = len(shares)
        messages = 2 * turns - (1 if split.endswith("_gen") else 0)
        firsts = np.append(0, np.cumsum(messages))
        row_of = np.repeat(np.arange(rows), messages)
        position = np.arange(firsts[-1]) - firsts[row_of]
        means = np.where(position % 2 == 1, _ASSISTANT_BYTES, np.where(position == 0, _PROMPT_BYTES, _USER_BYTES))
        sizes = means * choice.lognormal(-0.18, 0.6, size=len(means))
        totals = np.bincount(row_of, weights=sizes, minlength=rows)
        sizes *= np.minimum(1, _LONGEST / totals)[row_of]
        is_long = np.zeros(rows, dtype=bool)
        is_long[overlong] = True
        sizes = np.where(is_long[row_of] & (position % 2 == 1), 8_000 + 2 * sizes, sizes)
        # Far enough from the end of the pool for the longest message.
        usable = np.searchsorted(pool.starts, len(pool.text) - 45_000)
        starts = pool.starts[choice.integers(0, usable, size=len(sizes))]
        ends = pool.ends[np.searchsorted(pool.ends, starts + sizes.astype(np.int64))]
        return cls(split, pool, firsts, starts, ends, odd, test)

    def good_rows(self) -> np.ndarray:
        """Numbers of the rows that break no rule and that no other row repeats."""
        taken = set(self.odd) | {what.of for what in self.odd.values() if what.kind in _PAIRED}
        return np.setdiff1d(np.arange(self.rows), np.fromiter(taken, dtype=np.int64, count=len(taken)))

    def row(self, number: int) -> Row:
        """The finished row."""
        what = self.odd.get(number)
        row = self._plain(number)
        if what is not None:
            _SPOIL[what.kind](self, number, what, row)
        return row

    def _plain(self, number: int) -> Row:
        first, last = self.firsts[number], self.firsts[number + 1]
        text = self.pool.text
        spans = zip(self.starts[first:last].tolist(), self.ends[first:last].tolist(), strict=True)
        messages: list[Message | None] = [
            Message(text[start:end], b"assistant" if position % 2 else b"user")
            for position, (start, end) in enumerate(spans)
        ]
        prompt = self.pool.opener(self._number(number)) + text[self.starts[first] : self.ends[first]]
        messages[0] = Message(prompt, b"user")
        return Row(prompt, sha256(prompt).hexdigest(), messages)

    def _number(self, row: int) -> int:
        return (list(ROWS).index(self.split) << 20) + row

    def other_prompt(self, number: int) -> bytes:
        """A prompt that no row has."""
        return self.pool.opener(self._number(number) + (1 << 22)) + b"Or something else?"

    def repeated(self, what: Odd) -> Row:
        """The row of the same split that `what` repeats."""
        assert what.of is not None
        return self._plain(what.of)

    def leaked(self, what: Odd) -> Row:
        """The row of the test split that `what` repeats."""
        assert self.test is not None
        assert what.of is not None
        return self.test._plain(what.of)


def _vocabulary(seed: int) -> list[str]:
    choice = random.Random(seed)
    syllable_parts = [letters.replace("-", "").split(" ") for letters in (_ONSETS, _NUCLEI, _CODAS)]
    words: dict[str, None] = dict.fromkeys(_FUNCTION_WORDS.split())
    while len(words) < _VOCABULARY - len(_FOREIGN):
        # The more frequent a word, the shorter.
        syllables = choice.randint(1, min(3, 1 + len(words) // 1_500))
        parts = [choice.choice(letters) for _ in range(syllables) for letters in syllable_parts]
        words["".join(parts)] = None
    result = list(words)
    for number, word in enumerate(_FOREIGN):
        result.insert(_FUNCTION_COUNT + _OPENERS + 97 * number, word)
    return result


def _odd_rows(split: str, rows: int, choice: np.random.Generator, test: Plan | None) -> dict[int, Odd]:
    kinds = [
        kind
        for kind in KINDS
        if not (kind in _LEAKED and test is None) and not (kind == "ends_with_user" and split.endswith("_gen"))
    ]
    each = max(1, round(rows * ODD_SHARE / len(kinds)))
    places = iter(choice.permutation(rows).tolist())
    odd: dict[int, Odd] = {}
    for kind in kinds:
        if kind in _PAIRED:
            # Half of the repetitions are far from what they repeat, half are near.
            far, near = (sorted(next(places) for _ in range(2 * count)) for count in (each // 2, each - each // 2))
            odd |= {far[each // 2 + number]: Odd(kind, far[number]) for number in range(each // 2)}
            odd |= {near[number + 1]: Odd(kind, near[number]) for number in range(0, len(near), 2)}
        elif kind not in _LEAKED:
            odd |= {next(places): Odd(kind) for _ in range(each)}
    if test is not None:
        # In the order of both splits, so that samples of their first rows hold leaks too.
        leaks = min(each, len(test.good_rows()) // (2 * len(_LEAKED))) * len(_LEAKED)
        mine = sorted(next(places) for _ in range(leaks))
        theirs = sorted(choice.permutation(test.good_rows())[:leaks].tolist())
        odd |= {
            row: Odd(_LEAKED[number % len(_LEAKED)], of)
            for number, (row, of) in enumerate(zip(mine, theirs, strict=True))
        }
    return dict(sorted(odd.items()))


def _messages(row: Row) -> list[Message | None]:
    assert row.messages is not None
    return row.messages


def _set_message(row: Row, position: int, **changes: bytes | None) -> None:
    message = _messages(row)[position]
    assert message is not None
    for name, value in changes.items():
        setattr(message, name, value)


def _prompt_null(plan: Plan, number: int, what: Odd, row: Row) -> None:
    row.prompt = None


def _prompt_id_null(plan: Plan, number: int, what: Odd, row: Row) -> None:
    row.prompt_id = None


def _messages_null(plan: Plan, number: int, what: Odd, row: Row) -> None:
    row.messages = None


def _message_null(plan: Plan, number: int, what: Odd, row: Row) -> None:
    _messages(row)[1] = None


def _content_null(plan: Plan, number: int, what: Odd, row: Row) -> None:
    _set_message(row, 1, content=None)


def _role_null(plan: Plan, number: int, what: Odd, row: Row) -> None:
    _set_message(row, 1, role=None)


def _messages_empty(plan: Plan, number: int, what: Odd, row: Row) -> None:
    row.messages = []


def _assistant_first(plan: Plan, number: int, what: Odd, row: Row) -> None:
    _messages(row).insert(0, Message(b"Hello! How can I help?", b"assistant"))


def _user_twice(plan: Plan, number: int, what: Odd, row: Row) -> None:
    _set_message(row, 1, role=b"user")
    _set_message(row, 2, role=b"assistant")


def _system_later(plan: Plan, number: int, what: Odd, row: Row) -> None:
    _messages(row).insert(2, Message(b"Be brief from here on.", b"system"))


def _role_unknown(plan: Plan, number: int, what: Odd, row: Row) -> None:
    _set_message(row, 1, role=b"tool")


def _ends_with_user(plan: Plan, number: int, what: Odd, row: Row) -> None:
    _messages(row).pop()


def _content_empty(plan: Plan, number: int, what: Odd, row: Row) -> None:
    _set_message(row, 1, content=b"")


def _content_blank(plan: Plan, number: int, what: Odd, row: Row) -> None:
    _set_message(row, 1, content=" \n\t\u00a0\u3000".encode())


def _prompt_differs(plan: Plan, number: int, what: Odd, row: Row) -> None:
    row.prompt = plan.other_prompt(number)
    row.prompt_id = sha256(row.prompt).hexdigest()


def _same_id(plan: Plan, number: int, what: Odd, row: Row) -> None:
    row.prompt_id = plan.repeated(what).prompt_id


def _same_messages(plan: Plan, number: int, what: Odd, row: Row) -> None:
    original = plan.repeated(what)
    row.prompt, row.messages = original.prompt, original.messages
    row.prompt_id = sha256(b"%b %d" % (original.prompt, number)).hexdigest()


def _same_row(plan: Plan, number: int, what: Odd, row: Row) -> None:
    original = plan.repeated(what)
    row.prompt, row.prompt_id, row.messages = original.prompt, original.prompt_id, original.messages


def _id_in_test(plan: Plan, number: int, what: Odd, row: Row) -> None:
    row.prompt_id = plan.leaked(what).prompt_id


def _text_in_test(plan: Plan, number: int, what: Odd, row: Row) -> None:
    prompt = plan.leaked(what).prompt
    assert prompt is not None
    row.prompt = _disguised(prompt.decode(), number).encode()
    row.prompt_id = sha256(row.prompt).hexdigest()
    _set_message(row, 0, content=row.prompt)


def _row_in_test(plan: Plan, number: int, what: Odd, row: Row) -> None:
    original = plan.leaked(what)
    row.prompt, row.prompt_id = original.prompt, original.prompt_id
    _set_message(row, 0, content=row.prompt)


def _system_first(plan: Plan, number: int, what: Odd, row: Row) -> None:
    _messages(row).insert(0, Message(b"You are a helpful assistant.", b"system"))


def _nothing(plan: Plan, number: int, what: Odd, row: Row) -> None:
    """The plan has made the row what it is."""


_SPOIL: dict[str, Callable[[Plan, int, Odd, Row], None]] = {
    "prompt_null": _prompt_null,
    "prompt_id_null": _prompt_id_null,
    "messages_null": _messages_null,
    "message_null": _message_null,
    "content_null": _content_null,
    "role_null": _role_null,
    "messages_empty": _messages_empty,
    "assistant_first": _assistant_first,
    "user_twice": _user_twice,
    "system_later": _system_later,
    "role_unknown": _role_unknown,
    "ends_with_user": _ends_with_user,
    "content_empty": _content_empty,
    "content_blank": _content_blank,
    "prompt_differs": _prompt_differs,
    "overlong": _nothing,
    "same_id": _same_id,
    "same_messages": _same_messages,
    "same_row": _same_row,
    "id_in_test": _id_in_test,
    "text_in_test": _text_in_test,
    "row_in_test": _row_in_test,
    "system_first": _system_first,
}


def _disguised(prompt: str, number: int) -> str:
    """The same question in other case, with other punctuation or with other white space."""
    if number % 3 == 0:
        return prompt.upper()
    if number % 3 == 1:
        # Only where white space is near: "C:\temp" without its colon could be one word or two.
        return re.sub(r"[.,;:?!—\"()*]+(?=\s|$)", "", prompt)
    return "  " + re.sub(r"\s", "\n ", prompt.lower()) + " ..."


def generate(
    directory: Path, *, scale: float = 1.0, splits: Sequence[str] = tuple(ROWS), seed: int = 42
) -> dict[str, Any]:
    """`directory/data` holds the shards of `splits`; returns what `directory/truth.json` says about them.

    The truth gives each split's `rows` and `shards`, the number of rows that break each of the `rules`, and under
    `kinds` the row numbers (from 0) of each kind of odd row, with the rows that they repeat in `of`: of the same split,
    for leaks of the test split. It holds for whole splits. Each kind occurs at least once, so that small scales have
    more than 1 % odd rows. Equal arguments give equal rows.

    Raises:
        ValueError: at this scale a split would have fewer than 40 rows.
    """
    rows = {split: round(count * scale) for split, count in ROWS.items()}
    if min(rows.values()) < FEWEST_ROWS:
        raise ValueError(f"scale {scale:g} leaves {min(rows.values())} rows in a split: {FEWEST_ROWS} are the fewest")
    pool = Pool.make(round(_POOL_WORDS * min(1, max(0.05, 4 * scale))), seed)
    (directory / "data").mkdir(parents=True, exist_ok=True)
    truth: dict[str, Any] = {"seed": seed, "scale": scale, "splits": {}}
    for split in splits:
        test = split.replace("train_", "test_")
        against = Plan.make(test, rows[test], pool, seed) if test != split else None
        plan = Plan.make(split, rows[split], pool, seed, against)
        shards = _write(plan, directory / "data", f"{seed}/{scale}")
        truth["splits"][split] = {"rows": plan.rows, "shards": shards, **_truth(plan)}
    (directory / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return truth


def _truth(plan: Plan) -> dict[str, Any]:
    kinds = {kind: {row: what.of for row, what in plan.odd.items() if what.kind == kind} for kind in KINDS}
    rules = sorted({rule for names in KINDS.values() for rule in names})
    return {
        "rules": {rule: sum(len(kinds[kind]) for kind, names in KINDS.items() if rule in names) for rule in rules},
        "kinds": {
            kind: {"rules": list(KINDS[kind]), "rows": list(found)}
            | ({"of": list(found.values())} if kind in (*_PAIRED, *_LEAKED) else {})
            for kind, found in kinds.items()
        },
    }


def _write(plan: Plan, folder: Path, identity: str) -> list[str]:
    count = SHARDS[plan.split]
    names = []
    for number in range(count):
        digits = sha256(f"{identity}/{plan.split}/{number}".encode()).hexdigest()[:16]
        names.append(f"{plan.split}-{number:05d}-of-{count:05d}-{digits}.parquet")
        first, last = number * plan.rows // count, (number + 1) * plan.rows // count
        with pq.ParquetWriter(folder / names[-1], SCHEMA, compression="snappy") as writer:
            for start in range(first, last, ROW_GROUP):
                group = [plan.row(row) for row in range(start, min(start + ROW_GROUP, last))]
                writer.write_table(_table(group), row_group_size=ROW_GROUP)
    return names


def _table(rows: Sequence[Row]) -> pa.Table:
    messages = [message for row in rows for message in row.messages or ()]
    contents = pa.array([message and message.content for message in messages], pa.string())
    roles = pa.array([message and message.role for message in messages], pa.string())
    missing = pa.array([message is None for message in messages], pa.bool_())
    structs = pa.StructArray.from_arrays(
        [contents, roles], fields=list(SCHEMA.field("messages").type.value_type), mask=missing
    )
    offsets = pa.array(np.append(0, np.cumsum([len(row.messages or ()) for row in rows])), pa.int32())
    lists = pa.ListArray.from_arrays(
        offsets,
        structs,
        type=SCHEMA.field("messages").type,
        mask=pa.array([row.messages is None for row in rows], pa.bool_()),
    )
    return pa.Table.from_arrays(
        [
            pa.array([row.prompt for row in rows], pa.string()),
            pa.array([row.prompt_id for row in rows], pa.string()),
            lists,
        ],
        schema=SCHEMA,
    )


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--scale", default=1.0, show_default=True, help="Fraction of the rows.")
@click.option("--splits", multiple=True, type=click.Choice(list(ROWS)), help="Only these; all four unless given.")
@click.option("--seed", default=42, show_default=True)
def main(directory: Path, scale: float, splits: tuple[str, ...], seed: int) -> None:
    """Write a synthetic ultrachat_200k into DIRECTORY."""
    try:
        truth = generate(directory, scale=scale, splits=splits or tuple(ROWS), seed=seed)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    for split, known in truth["splits"].items():
        click.echo(f"{split}: {known['rows']:,} rows in {len(known['shards'])} shard(s)")


if __name__ == "__main__":
    main()
