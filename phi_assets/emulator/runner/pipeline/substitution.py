"""Azure ML's binding expressions: what a pipeline's nodes refer to, and a component's command line.

Syntax: https://learn.microsoft.com/azure/machine-learning/reference-yaml-core-syntax
"""

import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from phi_assets.emulator.wire.errors import ServiceError, user_error

_EXPRESSION = re.compile(r"\$\{\{\s*([^{}]*?)\s*\}\}")
_OPTIONAL_PART = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
_REFERENCE = re.compile(
    r"parent\.(?:inputs\.(?P<input>[\w.-]+)|outputs\.(?P<output>[\w-]+)|jobs\.(?P<node>[\w-]+)\.outputs\.(?P<of>[\w-]+))"
)
_ARGUMENT = re.compile(r"(?P<side>inputs|outputs)\.(?P<name>[\w.-]+?)(?:\.path)?")
_SHELL_OPERATORS = {"&&", "||", "|", ";", ">", ">>", "<", "&", "2>", "2>&1"}


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
    """Names of the inputs and of the outputs that a component's command line refers to."""
    sides: dict[str, set[str]] = {"inputs": set(), "outputs": set()}
    for match in _EXPRESSION.finditer(command):
        side, name = _argument(match[1])
        sides[side].add(name)
    return sides["inputs"], sides["outputs"]


def command_line(command: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> list[str]:
    """The arguments of the process that `command` describes.

    A part in `$[[...]]` is left out if it refers to an input that has no value. Values are put in after the line was
    split, so that nothing in a value, whatever its quotes and spaces, can become an argument of its own. `python` as
    the program means this interpreter.

    Raises:
        ServiceError: 400 if a value outside of `$[[...]]` is missing, quotes do not match, or it needs a shell.
    """
    values = {"inputs": inputs, "outputs": outputs}

    def given(expression: str) -> bool:
        side, name = _argument(expression)
        return name in values[side]

    def keep(match: re.Match[str]) -> str:
        return match[1] if all(given(part) for part in _EXPRESSION.findall(match[1])) else ""

    def put(match: re.Match[str]) -> str:
        side, name = _argument(match[1])
        if name not in values[side]:
            raise user_error(f"The command refers to {side}.{name}, which has no value: {command}", "BadArgument")
        return values[side][name]

    tokens = [_EXPRESSION.sub(put, token) for token in split(_OPTIONAL_PART.sub(keep, command))]
    return [sys.executable, *tokens[1:]] if tokens[0] in {"python", "python3"} else tokens


def split(command: str) -> list[str]:
    """The command's words, expressions left as they are.

    Raises:
        ServiceError: 400 if the command is empty, its quotes do not match, or it needs a shell.
    """
    compact = _EXPRESSION.sub(lambda match: "${{" + match[1] + "}}", _OPTIONAL_PART.sub(r"\1", command))
    try:
        tokens = shlex.split(compact)
    except ValueError as error:
        raise user_error(f"The command cannot be split into arguments ({error}): {command}", "BadArgument") from error
    if not tokens:
        raise user_error("The component has an empty command.", "BadArgument")
    operators = sorted(_SHELL_OPERATORS & set(tokens))
    if operators:
        raise user_error(
            f"The command uses {', '.join(operators)}, which needs a shell; here a step is one process: {command}",
            "BadArgument",
        )
    return tokens


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
