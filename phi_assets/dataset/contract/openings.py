"""How a conversation begins, as a text by which two of them are told to be about the same."""

import unicodedata

import polars as pl

OPENING_BYTES = 16
"""What the user says is taken into an opening until it has as many bytes, normalized: `what do cows eat` is enough, a
greeting is not. In bytes, because a character of Chinese says as much as three of English."""

_messages = pl.col("messages")


def field_of(place: int, field: str) -> pl.Expr:
    """A field of the message at a place of the column `messages`; null where there is none."""
    return _messages.list.get(place, null_on_oob=True).struct.field(field)


first_question: pl.Expr = (
    pl.when(field_of(0, "role") == "user")
    .then(field_of(0, "content"))
    .when(field_of(1, "role") == "user")
    .then(field_of(1, "content"))
)
"""Content of the user's first message, which is the first or, after a system message, the second."""


def normalized(texts: pl.Series) -> pl.Series:
    """The texts in NFKC, casefolded, with every run of punctuation and white space as one space.

    <https://www.unicode.org/reports/tr15/#Norm_Forms>
    """
    return (
        _folded(texts)
        .to_frame("text")
        .select(pl.col("text").str.replace_all(r"[\W_]+", " ").str.strip_chars())
        .to_series()
        .alias(texts.name)
    )


def _folded(texts: pl.Series) -> pl.Series:
    """Of ASCII, NFKC is the text itself, and casefolding what lowering it is: few texts need more."""
    lower = texts.str.to_lowercase()
    others = (texts.str.len_bytes() != texts.str.len_chars()).fill_null(value=False)
    if not others.any():
        return lower
    folded = [unicodedata.normalize("NFKC", _nfkc(text).casefold()) for text in texts.filter(others)]
    return lower.scatter(others.arg_true(), folded)


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def openings(messages: pl.Series) -> pl.Series:
    """The opening of each conversation: its first question, normalized, and as many of the user's further words as make
    it `OPENING_BYTES` long, a message a line; null where nobody asks first, empty where all of it is punctuation.

    System messages are no part of it: the same question under another one has been seen.
    """
    rows = messages.to_frame("messages")
    found = normalized(rows.select(first_question).to_series())
    short = (found.str.len_bytes() < OPENING_BYTES).fill_null(value=False)
    if not short.any():
        return found
    said = pl.element().struct
    users = rows.filter(short).select(
        _messages.list.eval(said.field("content").filter(said.field("role") == "user")).list.drop_nulls()
    )
    ends = users["messages"].list.len().cum_sum()
    texts = normalized(users["messages"].explode(empty_as_null=False, keep_nulls=False)).to_list()
    longer, start = [], 0
    for end in ends:
        longer.append(_joined(texts[start:end]))
        start = end
    return found.scatter(short.arg_true(), longer)


def _joined(texts: list[str]) -> str:
    opening = texts[0]
    for text in texts[1:]:
        if len(opening.encode()) >= OPENING_BYTES:
            break
        if text:
            opening = f"{opening}\n{text}" if opening else text
    return opening
