"""Conversations as Markdown that a person can read and no conversation can break."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from phi_assets.dataset.reports.report import Conversation, Violation
from phi_assets.refs import Message

CONVERSATIONS_BUDGET = 40_000
"""Bytes of JSON that a rendered set of conversations takes at most; Dagster stores it in its event log."""

_LINE_CHARACTERS = 100
_NAME_CHARACTERS = 40

_CUT = re.compile(r"… \(([\d,]+) more characters\)$")
"""How a report ends a text that it does not hold whole."""

_UNSEEN = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\u2421",
    **{
        code: f"<U+{code:04X}>"
        # C1 controls, ends of line that are none in a file, and marks that turn the direction of what follows.
        for code in (*range(0x80, 0xA0), 0x2028, 0x2029, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    },
}


@dataclass(frozen=True)
class _Limits:
    """How much of each conversation is shown."""

    characters: int
    messages: int
    conversations: int


_CONVERSATION_LIMITS = (_Limits(1000, 8, 5), _Limits(500, 6, 5), _Limits(200, 6, 5), _Limits(40, 3, 5))
_VIOLATION_LIMITS = (_Limits(400, 4, 3), _Limits(200, 4, 3), _Limits(80, 3, 3), _Limits(30, 3, 1))


def conversations_markdown(conversations: Sequence[Conversation], budget: int = CONVERSATIONS_BUDGET) -> str:
    """The conversations one below the other: a heading with the row, then each role with what it says.

    Long texts and long conversations are cut and say how much was left out; the more so, the less fits into `budget`
    bytes of JSON. What people wrote stands in fenced blocks: it is shown as it is and never taken for markup.
    """
    if not conversations:
        return "*There are no conversations.*"
    return _fitting(
        lambda limits: "\n\n".join(_conversation(each, limits) for each in conversations[: limits.conversations]),
        _CONVERSATION_LIMITS,
        budget,
    )


def violations_markdown(violations: Sequence[Violation], budget: int = CONVERSATIONS_BUDGET) -> str:
    """Every rule that some row breaks: how many do, what became of them, and examples as `conversations_markdown`."""
    broken = [violation for violation in violations if violation.rows]
    if not broken:
        return "*Every sampled conversation keeps every rule.*"

    def section(violation: Violation, limits: _Limits) -> str:
        heading = f"### {violation.rule}: {_count(violation.rows, 'row')}, {became(violation)}"
        examples = [_conversation(each, limits) for each in violation.examples[: limits.conversations]]
        return "\n\n".join([heading, *examples])

    return _fitting(
        lambda limits: "\n\n".join(section(violation, limits) for violation in broken), _VIOLATION_LIMITS, budget
    )


def became(violation: Violation) -> str:
    """What has become of the rows that break a rule, in words."""
    if not violation.rows:
        return "-"
    return {"drop": "in quarantine", "warn": "kept, unless another rule drops them", "fail": "the run fails"}[
        violation.policy
    ]


def shown(text: str, characters: int) -> str:
    """A short text on one line, with what cannot be seen made visible."""
    flat = " ".join(text.translate(_UNSEEN).split())
    return flat if len(flat) <= characters else flat[: characters - 1] + "…"


def _fitting(render: Callable[[_Limits], str], limits: Sequence[_Limits], budget: int) -> str:
    text = ""
    for each in limits:
        text = render(each)
        if len(json.dumps(text)) <= budget:
            break
    return text


def _conversation(conversation: Conversation, limits: _Limits) -> str:
    of = f" of {conversation.source}" if conversation.source else ""
    heading = f"#### Row {conversation.row:,}{of}, {_code(conversation.prompt_id, 12)}"
    if conversation.found:
        heading += f": {shown(conversation.found, 100)}"
    return "\n\n".join([heading, *_messages(conversation.messages, limits)])


def _messages(messages: Sequence[Message], limits: _Limits) -> Iterator[str]:
    if not messages:
        yield "*no messages*"
        return
    # The last one is always among them: whether the assistant has the last word is a rule.
    first = messages if len(messages) <= limits.messages else messages[: limits.messages - 1]
    for message in first:
        yield _message(message, limits.characters)
    if len(first) < len(messages):
        if left_out := len(messages) - len(first) - 1:
            yield f"*{_count(left_out, 'message')} left out*"
        yield _message(messages[-1], limits.characters)


def _message(message: Message, characters: int) -> str:
    known = message.role in ("system", "user", "assistant", "tool")
    role = message.role if known else "no role" if message.role is None else _code(message.role, _NAME_CHARACTERS)
    if message.content is None:
        return f"**{role}** *no content*"
    if not message.content.strip():
        return f"**{role}** *blank, {_count(len(message.content), 'character')}*"
    cut = _CUT.search(message.content)
    text, missing = (message.content[: cut.start()], int(cut[1].replace(",", ""))) if cut else (message.content, 0)
    left_out = missing + max(0, len(text) - characters)
    block = f"**{role}**\n\n{_fenced(text[:characters])}"
    return f"{block}\n\n*{_count(left_out, 'character')} left out*" if left_out > 0 else block


def _fenced(text: str) -> str:
    """A block that ends where it should: its fence is longer than any run of backticks inside."""
    lines = [part for line in text.replace("\r\n", "\n").translate(_UNSEEN).split("\n") for part in _wrapped(line)]
    fence = "`" * max(3, 1 + _longest_run("\n".join(lines)))
    return "\n".join([f"{fence}text", *lines, fence])


def _wrapped(line: str) -> list[str]:
    """The line in pieces that fit on a screen: a block in the UI does not break lines."""
    pieces = []
    while len(line) > _LINE_CHARACTERS:
        space = line.rfind(" ", _LINE_CHARACTERS // 2, _LINE_CHARACTERS)
        end = space + 1 if space >= 0 else _LINE_CHARACTERS
        pieces.append(line[:end])
        line = line[end:]
    return [*pieces, line]


def _code(text: str, characters: int) -> str:
    """A short text as a code span, which no backtick in it can end."""
    flat = shown(text, characters) or "blank"
    fence = "`" * (1 + _longest_run(flat))
    return f"{fence} {flat} {fence}" if "`" in flat else f"{fence}{flat}{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
