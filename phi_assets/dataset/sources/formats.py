"""How sources write conversations: the columns of each format, and which of them a source's own columns fit."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa

from phi_assets.config.dataset import DatasetSection
from phi_assets.dataset.errors import DatasetError


@dataclass(frozen=True)
class Column:
    """A column of a format."""

    accepts: str
    """`text`, `conversation`, `text or conversation`, or `id` (a text or an integer)."""
    required: bool = True


_ID = Column("id", required=False)
_OPTIONAL_TEXT = Column("text", required=False)

FORMATS: dict[str, dict[str, Column]] = {
    "messages": {"messages": Column("conversation"), "prompt": _OPTIONAL_TEXT, "prompt_id": _ID},
    "prompt_completion": {
        "prompt": Column("text or conversation"),
        "completion": Column("text or conversation"),
        "prompt_id": _ID,
    },
    "sharegpt": {"conversations": Column("conversation"), "system": _OPTIONAL_TEXT, "prompt_id": _ID},
    "alpaca": {
        "instruction": Column("text"),
        "output": Column("text"),
        "input": _OPTIONAL_TEXT,
        "system": _OPTIONAL_TEXT,
        "prompt_id": _ID,
    },
}
"""The columns of each format.

`messages` and `prompt_completion`: <https://huggingface.co/docs/trl/dataset_formats>; `alpaca`:
<https://github.com/tatsu-lab/stanford_alpaca#data-release>. A conversation is a list of `{role, content}` or of
`{from, value}`, whatever the format.
"""

SPEAKERS = (("role", "content"), ("from", "value"))
"""What a message of a conversation calls its role and its text."""


@dataclass(frozen=True)
class SourceFormat:
    """A format, in the columns of one source."""

    name: str
    names: Mapping[str, str]
    """What the source calls the format's columns."""

    def prove_columns(self, found: Collection[str], where: str) -> None:
        """The columns that the format needs are there.

        Raises:
            DatasetError: one is missing; the message names it, what was found, and what each format needs.
        """
        if _missing(self.name, self.names, found):
            raise DatasetError(_unfit(where, found, [self.name], self.names))

    def prove_types(self, schema: pa.Schema, where: str) -> None:
        """The format's columns of a Parquet file hold what can become a conversation.

        Raises:
            DatasetError: a column is of another type, so that no row could.
        """
        columns = FORMATS[self.name]
        problems = [
            f"column {name!r} is {schema.field(name).type}, expected {_EXPECTED[columns[own].accepts]}"
            for own, name in self.names.items()
            if name in schema.names and not _fits(schema.field(name).type, columns[own])
        ]
        if problems:
            raise DatasetError(
                f"{where} does not hold conversations in the format {self.name}: {'; '.join(problems)}. "
                "Rewrite the column, or name others in the recipe's dataset.columns"
            )


def choose_format(dataset: DatasetSection, found: Collection[str], where: str) -> SourceFormat:
    """The format that the recipe names or, with `auto`, the only one whose columns are among those found.

    Raises:
        DatasetError: no format fits, or more than one, or `dataset.columns` names a column that no format has.
    """
    formats = list(FORMATS) if dataset.format == "auto" else [dataset.format]
    known = {own for name in formats for own in FORMATS[name]}
    if strangers := sorted(set(dataset.columns) - known):
        raise DatasetError(
            f"The recipe's dataset.columns has {', '.join(strangers)}: its keys are the columns of "
            f"{'a format' if dataset.format == 'auto' else dataset.format} ({', '.join(sorted(known))}), "
            "its values what the source calls them"
        )
    names = {own: dataset.columns.get(own, own) for own in known}
    fitting = [name for name in formats if not _missing(name, names, found)]
    if not fitting:
        raise DatasetError(_unfit(where, found, formats, names))
    if len(fitting) > 1:
        raise DatasetError(
            f"{where} could be in the format {' or '.join(fitting)}: it has the columns {', '.join(found)}. "
            "Say which in the recipe's dataset.format"
        )
    return SourceFormat(fitting[0], {own: names[own] for own in FORMATS[fitting[0]]})


def _missing(name: str, names: Mapping[str, str], found: Collection[str]) -> list[str]:
    return [names[own] for own, column in FORMATS[name].items() if column.required and names[own] not in found]


def _unfit(where: str, found: Collection[str], formats: Collection[str], names: Mapping[str, str]) -> str:
    needs = []
    for name in formats:
        required = [names[own] for own, column in FORMATS[name].items() if column.required]
        needs.append(f"{name} needs {' and '.join(required)} (missing: {', '.join(_missing(name, names, found))})")
    return (
        f"{where} has the columns {', '.join(found) or '(none)'}, which are not those of a conversation: "
        f"{'; '.join(needs)}. Where columns are called otherwise, say so in the recipe's dataset.columns"
    )


_EXPECTED = {
    "text": "string",
    "id": "string",
    "conversation": "list<struct<content: string, role: string>> or list<struct<from: string, value: string>>",
    "text or conversation": "string or list<struct<content: string, role: string>>",
}


def _fits(found: pa.DataType, column: Column) -> bool:
    if pa.types.is_null(found):
        return not column.required
    if column.accepts == "conversation":
        return _is_conversation(found)
    fits = _is_text(found.value_type if pa.types.is_dictionary(found) else found)
    if column.accepts == "id":
        fits = fits or pa.types.is_integer(found)
    elif column.accepts == "text or conversation":
        fits = fits or _is_conversation(found)
    return fits


def _is_text(found: pa.DataType) -> bool:
    return pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found)


def _is_conversation(found: pa.DataType) -> bool:
    # Its texts are no dictionaries: what Arrow writes so inside of lists, it cannot read.
    if not (pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found)):
        return False
    message = found.value_type
    if not pa.types.is_struct(message):
        return pa.types.is_null(message)
    fields = {field.name: field.type for field in message}
    return any(all(name in fields and _holds_text(fields[name]) for name in pair) for pair in SPEAKERS)


def _holds_text(found: pa.DataType) -> bool:
    return _is_text(found) or pa.types.is_null(found)
