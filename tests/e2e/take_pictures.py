"""The documentation's pictures, taken of the running UI: `python -m tests.e2e.take_pictures`, in about two minutes.

No picture shows a path, a user or the name of the machine that it was taken on: what has such things in it is left out
of the frame.
"""

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import click
from PIL import Image
from playwright.sync_api import FloatRect, Locator, Page

from phi_assets.config.settings import PROJECT_ROOT
from phi_assets.emulator import process
from tests.e2e.harness.ui import (
    DagsterDev,
    browser_page,
    dagster_dev,
    expand_all_groups,
    follow_studio_link,
    materialized_with,
    open_lineage,
    press_materialize_all,
    wait_until_green,
)

PICTURES = PROJECT_ROOT / ".pictures"
LARGEST_BYTES = 100_000
ALL_BYTES = 300_000

_COLOURS = 128
_MARGIN = 16
_RUN_SECONDS = 480
_ANSWERS_SHOWN = 8

_LEFT = 240
"""Where a page begins beside Dagster's navigation."""

# Dagster's own settings of the lineage. From top to bottom, and with less in each box, the graph is narrow enough to be
# read in a page of text.
_LINEAGE_SETTINGS = {"asset-graph-direction": "vertical", "asset-node-facets": ["status", "checks"]}
# It depends on nothing, and Dagster draws it below another group.
_LINEAGE_SELECTION = 'not key:"still_billing"'


def save(picture: bytes, file: Path) -> None:
    """The screenshot is in the file as a PNG with few colours, which is small and blurs no text.

    Raises:
        click.ClickException: the file would be larger than `LARGEST_BYTES`.
    """
    with Image.open(io.BytesIO(picture)) as image:
        few = image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    few.save(file, optimize=True)
    if file.stat().st_size > LARGEST_BYTES:
        raise click.ClickException(
            f"{file.name} has {file.stat().st_size:,} bytes; at most {LARGEST_BYTES:,} are wanted"
        )


def lineage(page: Page, dev: DagsterDev) -> bytes:
    """The whole graph, green, with nothing around it."""
    page.set_viewport_size({"width": 2400, "height": 1400})
    stored = {key: json.dumps(value) for key, value in _LINEAGE_SETTINGS.items()}
    page.evaluate("settings => Object.entries(settings).forEach(pair => localStorage.setItem(...pair))", stored)
    page.goto(f"{dev.url}/asset-groups~{quote(_LINEAGE_SELECTION)}/")
    page.get_by_role("button", name="Materialize").first.wait_for()
    expand_all_groups(page)
    wait_until_green(page, len(dev.materializable()) - 1, timeout=60)
    return page.screenshot(clip=_around(page.locator("svg foreignObject")))


def loss_curve(page: Page, dev: DagsterDev) -> bytes:
    """The picture among the metadata of `finetune_job`, with the asset's name above it."""
    page.set_viewport_size({"width": 1320, "height": 640})
    materialized_with(page, dev, "finetune_job", "loss_curve").get_by_text("Show Markdown").click()
    dialog = page.get_by_role("dialog")
    dialog.locator("img").wait_for()
    shown = _box(dialog)
    right, bottom = shown["x"] + shown["width"] + _MARGIN, shown["y"] + shown["height"] + _MARGIN
    return page.screenshot(clip={"x": _LEFT, "y": 0, "width": right - _LEFT, "height": bottom}, animations="disabled")


def answers(page: Page, dev: DagsterDev) -> bytes:
    """The first questions and answers in the metadata of `scoring_result`."""
    # As large as it takes to show all columns and what of the rows is wanted.
    page.set_viewport_size({"width": 3000, "height": 2400})
    table = materialized_with(page, dev, "scoring_result", "answers").get_by_role("table")
    whole, last = _box(table), _box(table.get_by_role("row").nth(_ANSWERS_SHOWN))
    return page.screenshot(clip={**whole, "height": last["y"] + last["height"] - whole["y"] + 1})


def studio_job(page: Page, dev: DagsterDev) -> bytes:
    """The job in the emulator's Studio: its steps, when they ran, and the curves."""
    studio = follow_studio_link(page, dev, "finetune_job")
    studio.set_viewport_size({"width": 1320, "height": 1400})
    studio.locator(".chart").first.wait_for()
    last = _box(studio.locator(".card").filter(has=studio.get_by_role("heading", name="Timeline")))
    return studio.screenshot(clip={"x": 0, "y": 0, "width": 1320, "height": last["y"] + last["height"] + _MARGIN})


def studio_endpoint(page: Page, dev: DagsterDev) -> bytes:
    """The endpoint in Studio, asked something."""
    studio = follow_studio_link(page, dev, "live_traffic")
    studio.set_viewport_size({"width": 1200, "height": 1000})
    studio.get_by_role("textbox", name="message").fill("What do cows eat?")
    studio.get_by_role("button", name="Ask").click()
    studio.locator(".theirs").wait_for()
    # The browser goes to the answer, and the page begins above it.
    studio.evaluate("scrollTo(0, 0)")
    shown = _around(studio.locator(".card"))
    return studio.screenshot(clip={"x": 0, "y": 0, "width": 1200, "height": shown["y"] + shown["height"]})


SHOTS: dict[str, Callable[[Page, DagsterDev], bytes]] = {
    "lineage": lineage,
    "loss_curve": loss_curve,
    "answers": answers,
    "studio_job": studio_job,
    "studio_endpoint": studio_endpoint,
}
"""Each picture's name, and how it is taken."""


def _box(locator: Locator) -> FloatRect:
    box = locator.bounding_box()
    assert box is not None, f"{locator} is not on the page"
    return box


def _around(locator: Locator) -> FloatRect:
    """The smallest rectangle with all of the elements in it, and a margin."""
    boxes = [_box(each) for each in locator.all()]
    left, top = min(box["x"] for box in boxes) - _MARGIN, min(box["y"] for box in boxes) - _MARGIN
    right = max(box["x"] + box["width"] for box in boxes) + _MARGIN
    bottom = max(box["y"] + box["height"] for box in boxes) + _MARGIN
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


@contextmanager
def _materialized(folder: Path) -> Iterator[tuple[Page, DagsterDev]]:
    """A browser beside a Dagster in which everything has been materialized, in a home of its own."""
    home = folder / "phi-home"
    try:
        with dagster_dev(folder, {"PHI_HOME": str(home)}) as dev, browser_page() as page:
            known = dev.run_ids()
            open_lineage(page, dev)
            press_materialize_all(page)
            run_id, status = dev.wait_for_run(known, timeout=_RUN_SECONDS)
            if status != "SUCCESS":
                raise click.ClickException("\n".join(dev.failures(run_id)))
            yield page, dev
    finally:
        process.stop(home / "emulator")


@click.command()
@click.option("--to", "folder", default=PICTURES, type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Take all pictures of the documentation anew."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, _materialized(Path(temporary)) as (page, dev):
        for name, take in SHOTS.items():
            save(take(page, dev), folder / f"{name}.png")
            click.echo(f"{name}: {(folder / f'{name}.png').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
