"""Fields of a source that no conversation holds: each is counted, or refused where it changes what is learned."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from phi_assets.dataset.errors import DatasetError

IN_MESSAGES = "messages."
"""What precedes the name of a message's field, in the report and in the recipe's `dataset.drop`."""

_ANSWERS = "it says which answers are good, and the component learns all of them alike"
_WEIGHTS = "it says how much is learned from what, and the component learns every answer alike"
_THOUGHTS = "it is a part of the answer for which the component has no place"
MEDIA = "the component learns text alone"
_CALLS = "it is a call in a form that is no longer used: write tool_calls and tools"
_TURNS = "it is a part of the conversation for which this format has no place"

REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("label", "labels", "chosen", "rejected", "feedback", "preference"), _ANSWERS),
    **dict.fromkeys(("weight", "weights", "loss_weight", "sample_weight", "loss", "mask", "masked"), _WEIGHTS),
    **dict.fromkeys(("train", "training", "trainable", "loss_weights", "loss_mask", "loss_masks"), _WEIGHTS),
    **dict.fromkeys(("assistant_mask", "assistant_masks", "completion_mask"), _WEIGHTS),
    **dict.fromkeys(("reasoning_content", "reasoning", "thinking", "thought", "thoughts", "refusal"), _THOUGHTS),
    **dict.fromkeys(("image", "images", "image_url", "input_image", "audio", "audios", "input_audio"), MEDIA),
    **dict.fromkeys(("video", "videos", "file", "files"), MEDIA),
    **dict.fromkeys(("function_call", "functions"), _CALLS),
    **dict.fromkeys(("tool_calls", "tools", "history", "system", "context", "documents"), _TURNS),
}
"""Fields that change what is learned and that Azure's component does not take, and why: it masks by the markers of
roles alone, the package azureml-acft-contrib-hf-nlp. Fields of the same names that a format carries are
no matter of this list."""

_SAME_AS_NONE = (None, "", [], {}, ())
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    **dict.fromkeys(("weight", "weights", "loss_weight", "sample_weight"), (1,)),
    **dict.fromkeys(("train", "training", "trainable"), (True,)),
    **dict.fromkeys(("mask", "masked"), (False,)),
}
"""Values that change nothing of what is learned."""


def is_refused(field: str) -> bool:
    """Whether a value of this field, a column or `messages.<field>`, may change what is learned."""
    return _last_name(field) in REFUSED


class Fields:
    """Counts the rows in which fields have a value that is not carried, and notes those that are refused."""

    def __init__(self, drop: Collection[str]) -> None:
        self._drop = frozenset(drop)
        self._refused: dict[str, tuple[int, Any, str]] = {}
        self._in_row: set[str] = set()
        self._file, self._row = "", 0
        self.rows: Counter[str] = Counter()
        """By the name of a column, or `messages.<field>`."""

    def begin(self, file: str) -> None:
        """The next row is the first of this file."""
        self._file, self._row = file, 0

    def next_row(self) -> None:
        """What is noted from now on belongs to the next row."""
        self._count()
        self._row += 1

    def _count(self) -> None:
        if self._in_row:
            self.rows.update(self._in_row)
            self._in_row.clear()

    def not_carried(self, field: str, value: Any, reason: str | None = None) -> None:
        """The row has this value, which the conversation does not hold; `reason` says why that cannot be let pass."""
        if value is None:
            return
        self._in_row.add(field)
        if field in self._drop or field in self._refused:
            return
        reason = reason or REFUSED.get(_last_name(field))
        if reason and _changes(field, value):
            self._refused[field] = (self._row, value, reason)

    def is_dropped(self, field: str) -> bool:
        """Whether the recipe says that the field is to be left out."""
        return field in self._drop

    def prove_none_refused(self) -> None:
        """No row so far holds what changes the learning and cannot be carried.

        Raises:
            DatasetError: some do; the message names file, row, field, and what can be done.
        """
        self._count()
        if not self._refused:
            return
        found = [
            f"row {row:,} has {field} {_short(value)}: {reason}"
            for field, (row, value, reason) in self._refused.items()
        ]
        names = ", ".join(self._refused)
        raise DatasetError(
            f"{self._file}, {'; '.join(found)}. To train as if it were not there, say so in the recipe: "
            f"dataset.drop: [{names}]. Otherwise take the rows that it is about out of the file"
        )


def described(rows: Mapping[str, int]) -> str:
    """The fields and how many rows have them, for a log."""
    return ", ".join(f"{field} ({count:,} rows)" for field, count in sorted(rows.items()))


def _last_name(field: str) -> str:
    return field.rpartition(".")[2].lower() if field.startswith(IN_MESSAGES) else field.lower()


def _changes(field: str, value: Any) -> bool:
    if any(value == nothing and type(value) is type(nothing) for nothing in _SAME_AS_NONE):
        return False
    if isinstance(value, dict) and not any(each is not None for each in value.values()):
        return False
    neutral = _NEUTRAL.get(_last_name(field), ())
    return not any(value == each or _written(value) == _written(each) for each in neutral)


def _written(value: Any) -> str | float:
    """The value as somebody may have written it into a cell: `1`, `1.0` and `"1"` are one."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value).strip().lower()


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:59] + "…"
