"""What the generated parts of the reference are written with."""


class DocsError(ValueError):
    """A part cannot be made or put into its page; the message says why."""


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


def sentence(text: str) -> str:
    """The text on one line, with a full stop where it has no end."""
    text = " ".join(text.split())
    return text if text.endswith((".", "?", "!")) else f"{text}."
