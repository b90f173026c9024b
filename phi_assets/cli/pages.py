"""The documentation that comes with the package, in the terminal."""

from pathlib import Path

import click

from phi_assets.cli.main import main
from phi_assets.cli.tables import print_table

_PAGES = Path(__file__).parents[1] / "docs"


@main.command()
@click.argument("page", required=False)
def docs(page: str | None) -> None:
    """List the pages of the documentation, or print a PAGE (its name, or a part of it that no other page has)."""
    pages = {str(path.relative_to(_PAGES).with_suffix("")): path for path in sorted(_PAGES.rglob("*.md"))}
    if page is None:
        print_table([{"page": name, "about": _title(path)} for name, path in pages.items()])
        return
    found = [name for name in pages if page == name] or [name for name in pages if page in name]
    if len(found) != 1:
        raise click.ClickException(f"{page!r} names {'no page' if not found else ', '.join(found)}.")
    click.echo_via_pager(pages[found[0]].read_text(encoding="utf-8"))


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()
