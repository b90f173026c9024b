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
    """`text`, `conversation`, `text or conversation`, `turns` (questions and answers before), `tools`, or `id`."""
    required: bool = True


_ID = Column("id", required=False)
_OPTIONAL_TEXT = Column("text", required=False)
_COMMON = {"system": _OPTIONAL_TEXT, "tools": Column("tools", required=False), "prompt_id": _ID}

FORMATS: dict[str, dict[str, Column]] = {
    "messages": {"messages": Column("conversation"), "prompt": _OPTIONAL_TEXT, **_COMMON},
    "prompt_completion": {
        "prompt": Column("text or conversation"),
        "completion": Column("text or conversation"),
        **_COMMON,
    },
    "sharegpt": {"conversations": Column("conversation"), **_COMMON},
    "alpaca": {
        "instruction": Column("text"),
        "output": Column("text"),
        "input": _OPTIONAL_TEXT,
        "history": Column("turns", required=False),
        **_COMMON,
    },
}
"""The columns of each format.

`messages` and `prompt_completion`: <https://huggingface.co/docs/trl/dataset_formats>; `alpaca`:
<https://github.com/tatsu-lab/stanford_alpaca#data-release>, its `history` and the `tools` and `system` of all:
<https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md>. A conversation is a list of `{role, content}` or of
`{from, value}`, or JSON text of one, whatever the format.
"""

_PREFERENCES = ("chosen", "rejected")

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
    _refuse_preferences(dataset, found, where)
    fitting = [name for name in formats if not _missing(name, names, found)]
    if not fitting:
        raise DatasetError(_unfit(where, found, formats, names))
    if len(fitting) > 1:
        raise DatasetError(
            f"{where} could be in the format {' or '.join(fitting)}: it has the columns {', '.join(found)}. "
            "Say which in the recipe's dataset.format"
        )
    return SourceFormat(fitting[0], {own: names[own] for own in FORMATS[fitting[0]]})


def _refuse_preferences(dataset: DatasetSection, found: Collection[str], where: str) -> None:
    """Pairs of a better and a worse answer are for other trainers than Azure's component."""
    unnamed = [name for name in _PREFERENCES if name not in dataset.drop and name not in dataset.columns.values()]
    if all(name in found for name in _PREFERENCES) and unnamed:
        raise DatasetError(
            f"{where} holds preference data (chosen and rejected, as for DPO): the component fine-tunes on one answer "
            "and would learn both alike. To learn the chosen ones, say in the recipe what they are "
            "(dataset.columns: {messages: chosen} where they are whole conversations, {completion: chosen} where they "
            "follow a prompt; else write each behind its conversation) and dataset.drop: [rejected]"
        )


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
    "id": "anything that can be written as text",
    "conversation": "list<struct<content: string, role: string>> or list<struct<from: string, value: string>>, or a "
    "string with JSON of it",
    "text or conversation": "string or list<struct<content: string, role: string>>",
    "turns": "list<list<string>>, or a string with JSON of it",
    "tools": "list<struct<...>>, or a string with JSON of it",
}


def _fits(found: pa.DataType, column: Column) -> bool:
    if pa.types.is_null(found):
        return not column.required
    if column.accepts == "id":
        return True
    if is_text(found.value_type if pa.types.is_dictionary(found) else found):
        return True
    if column.accepts == "text":
        return False
    if "conversation" not in column.accepts:
        return _is_list_of_more(found)
    return _is_conversation(found)


def _is_conversation(found: pa.DataType) -> bool:
    if pa.types.is_struct(found):
        # A list for each field, as `datasets` writes a sequence of objects.
        return _says_who(found) and all(is_list(field.type) for field in found)
    if not _is_list_of_more(found):
        return False
    return not pa.types.is_struct(found.value_type) or _says_who(found.value_type)


def _says_who(message: pa.DataType) -> bool:
    return any({speaker, speech} <= {field.name for field in message} for speaker, speech in SPEAKERS)


def is_text(found: pa.DataType) -> bool:
    """Whether a column of this type holds texts; bytes may be such, which only they can tell."""
    return (
        pa.types.is_string(found)
        or pa.types.is_large_string(found)
        or pa.types.is_string_view(found)
        or pa.types.is_binary(found)
        or pa.types.is_large_binary(found)
        or pa.types.is_binary_view(found)
    )


def is_list(found: pa.DataType) -> bool:
    """Whether a column of this type holds lists, of whatever kind."""
    return (
        pa.types.is_list(found)
        or pa.types.is_large_list(found)
        or pa.types.is_fixed_size_list(found)
        or pa.types.is_list_view(found)
        or pa.types.is_large_list_view(found)
    )


def _is_list_of_more(found: pa.DataType) -> bool:
    return is_list(found) and (pa.types.is_nested(found.value_type) or pa.types.is_null(found.value_type))
