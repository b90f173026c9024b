"""Azure ML's binding expressions: what a pipeline's nodes refer to, and a component's command line.

Syntax: https://learn.microsoft.com/azure/machine-learning/reference-yaml-core-syntax
"""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from phi_assets.emulator.wire.errors import ServiceError, user_error

_EXPRESSION = re.compile(r"\$\{\{\s*([^{}]*?)\s*\}\}")
_OPTIONAL_PART = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
_REFERENCE = re.compile(
    r"parent\.(?:inputs\.(?P<input>[\w.-]+)|outputs\.(?P<output>[\w-]+)|jobs\.(?P<node>[\w-]+)\.outputs\.(?P<of>[\w-]+))"
)
_ARGUMENT = re.compile(r"(?P<side>inputs|outputs)\.(?P<name>[\w.-]+?)(?:\.path)?")
# A quoted text, an escaped character, a comment, an expression between them.
_SHELL_PART = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.|(?<![^\s;&|(])\#[^\n]*|\$\{\{[^{}]*\}\}""", re.DOTALL)
_QUOTED: Mapping[str, Callable[[str], str]] = {
    "'": lambda value: value.replace("'", "'\\''"),
    '"': lambda value: re.sub(r'([\\"$`])', r"\\\1", value),
    "$": shlex.quote,
}
"""How a value is written in what begins with this character."""


@dataclass(frozen=True)
class Reference:
    """What `${{parent...}}` points to: an input or output of the pipeline, or an output of another of its nodes."""

    input: str | None = None
    output: str | None = None
    node: str | None = None
    of: str | None = None


def references(text: str) -> list[Reference]:
    """All references in `text`, in their order.

    Raises:
        ServiceError: 400 for an expression that is none of the three forms.
    """
    return [_reference(match[1]) for match in _EXPRESSION.finditer(text)]


def sole_reference(text: str) -> Reference | None:
    """The reference if `text` is nothing but one, else None."""
    match = _EXPRESSION.fullmatch(text.strip())
    return _reference(match[1]) if match else None


def substitute(text: str, value: Callable[[Reference], str]) -> str:
    """`text` with every reference replaced by `value(reference)`."""
    return _EXPRESSION.sub(lambda match: value(_reference(match[1])), text)


def command_names(command: str) -> tuple[set[str], set[str]]:
    """Names of the inputs and of the outputs that a command refers to.

    Raises:
        ServiceError: 400 if the command is empty, or for an expression that is neither.
    """
    if not command.strip():
        raise user_error("The component has an empty command.", "BadArgument")
    sides: dict[str, set[str]] = {"inputs": set(), "outputs": set()}
    for match in _EXPRESSION.finditer(command):
        side, name = _argument(match[1])
        sides[side].add(name)
    return sides["inputs"], sides["outputs"]


def command_line(command: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    """What the shell runs for `command`.

    A part in `$[[...]]` is left out if it refers to an input that has no value. Values are quoted for the place where
    they stand, so that nothing in a value, whatever its quotes and spaces, can become an argument of its own.

    Raises:
        ServiceError: 400 if a value outside of `$[[...]]` is missing.
    """
    values = {"inputs": inputs, "outputs": outputs}

    def given(expression: str) -> bool:
        side, name = _argument(expression)
        return name in values[side]

    def keep(match: re.Match[str]) -> str:
        return match[1] if all(given(part) for part in _EXPRESSION.findall(match[1])) else ""

    def value(expression: str) -> str:
        side, name = _argument(expression)
        if name not in values[side]:
            raise user_error(f"The command refers to {side}.{name}, which has no value: {command}", "BadArgument")
        return values[side][name]

    def put(match: re.Match[str]) -> str:
        quoted = _QUOTED.get(match[0][0])
        if quoted is None:  # a character that was escaped, or a comment
            return match[0]
        return _EXPRESSION.sub(lambda each: quoted(value(each[1])), match[0])

    return _SHELL_PART.sub(put, _OPTIONAL_PART.sub(keep, command).strip())


def _reference(expression: str) -> Reference:
    match = _REFERENCE.fullmatch(expression)
    if match is None:
        raise _malformed(expression, "parent.inputs.<name>, parent.outputs.<name> or parent.jobs.<node>.outputs.<name>")
    return Reference(**match.groupdict())


def _argument(expression: str) -> tuple[str, str]:
    match = _ARGUMENT.fullmatch(expression)
    if match is None:
        raise _malformed(expression, "inputs.<name> or outputs.<name>")
    return match["side"], match["name"]


def _malformed(expression: str, allowed: str) -> ServiceError:
    return user_error(f"'${{{{{expression}}}}}' is not a valid binding here; allowed: {allowed}.", "BadArgument")
