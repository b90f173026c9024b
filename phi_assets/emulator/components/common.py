"""What every component program shares: its entry point, the way it fails, and small readers of its arguments."""

import argparse
import atexit
import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn


class ComponentError(Exception):
    """Something that the person who submitted the job can put right; the message says what, where and how."""


class Arguments(argparse.ArgumentParser):
    """Options of a component, given in full; a wrong one is the submitter's mistake like any other."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Called by argparse for anything that it cannot accept."""
        raise ComponentError(message)


def run(main: Callable[[], None]) -> NoReturn:
    """End the process with 0 after ``main``, or with 1 and one ``ERROR:`` line after a ComponentError."""
    # Nothing of torch is looked through for garbage once more: the memory goes as a whole.
    atexit.register(gc.freeze)
    try:
        main()
    except ComponentError as error:
        sys.stdout.flush()
        print(f"ERROR: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    sys.exit(0)


def say(text: str) -> None:
    """One line of the step's log."""
    print(text, flush=True)


def flag(text: str) -> bool:
    """An enum input "true" or "false"; the service also writes booleans as "True" and "False"."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ComponentError: the file is missing or holds something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ComponentError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(document, dict):
        raise ComponentError(f"{path} holds {type(document).__name__} where a JSON object is expected")
    return document


def write_json(path: Path, document: dict[str, Any]) -> None:
    """The object as an indented JSON file, its folder made if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
