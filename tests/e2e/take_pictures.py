"""The README's pictures, taken of the running UI: `python -m tests.e2e.take_pictures`, in about two minutes."""

import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from PIL import Image
from playwright.sync_api import FloatRect, Page

from phi_assets.emulator import process
from phi_assets.settings import PROJECT_ROOT
from tests.e2e.ui import (
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
LARGEST_BYTES = 120_000

_QUALITY = 75
_MARGIN = 24
_RUN_SECONDS = 480


def save(picture: bytes, file: Path, *, width: int) -> None:
    """The screenshot is in the file as WebP, no wider than that.

    Raises:
        click.ClickException: the file would be larger than `LARGEST_BYTES`.
    """
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    if image.width > width:
        image = image.resize((width, image.height * width // image.width), Image.Resampling.LANCZOS)
    image.save(file, quality=_QUALITY, method=6)
    if file.stat().st_size > LARGEST_BYTES:
        raise click.ClickException(
            f"{file.name} has {file.stat().st_size:,} bytes; at most {LARGEST_BYTES:,} are wanted"
        )


def lineage(page: Page, dev: DagsterDev) -> bytes:
    """All assets, green, with nothing around them."""
    open_lineage(page, dev)
    expand_all_groups(page)
    wait_until_green(page, len(dev.materializable()), timeout=60)
    return page.screenshot(clip=_around(page, "[class*=AssetNode], [class*=GroupNode], foreignObject"))


def loss_curve(page: Page, dev: DagsterDev) -> bytes:
    """The picture among the metadata of `finetune_job`."""
    page.set_viewport_size({"width": 1300, "height": 900})
    materialized_with(page, dev, "finetune_job", "loss_curve").get_by_text("Show Markdown").click()
    dialog = page.get_by_role("dialog")
    dialog.locator("img").wait_for()
    return dialog.screenshot()


def answers(page: Page, dev: DagsterDev) -> bytes:
    """The table of questions and answers in the metadata of `scoring_result`."""
    # As wide as it takes to show all columns.
    page.set_viewport_size({"width": 3000, "height": 1300})
    return materialized_with(page, dev, "scoring_result", "answers").locator("table").screenshot()


def studio_job(page: Page, dev: DagsterDev) -> bytes:
    """The job in the emulator's Studio: steps, curves, log."""
    studio = follow_studio_link(page, dev, "finetune_job")
    studio.set_viewport_size({"width": 1300, "height": 1000})
    studio.locator("pre.log", has_text="evaluation loss").wait_for()
    return studio.screenshot(full_page=True)


def studio_endpoint(page: Page, dev: DagsterDev) -> bytes:
    """The endpoint in Studio, asked something."""
    studio = follow_studio_link(page, dev, "live_traffic")
    studio.set_viewport_size({"width": 1300, "height": 720})
    studio.get_by_role("textbox", name="message").fill("What do cows eat?")
    studio.get_by_role("button", name="Ask").click()
    studio.locator(".theirs").wait_for()
    return studio.screenshot(full_page=True)


SHOTS: dict[str, tuple[Callable[[Page, DagsterDev], bytes], int]] = {
    "lineage": (lineage, 2000),
    "loss_curve": (loss_curve, 1200),
    "answers": (answers, 1500),
    "studio_job": (studio_job, 1300),
    "studio_endpoint": (studio_endpoint, 1300),
}
"""Each picture's name, how it is taken, and its greatest width."""


def _around(page: Page, selector: str) -> FloatRect:
    boxes = [box for each in page.locator(selector).all() if (box := each.bounding_box())]
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
    """Take all pictures of the README anew."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, _materialized(Path(temporary)) as (page, dev):
        for name, (take, width) in SHOTS.items():
            save(take(page, dev), folder / f"{name}.webp", width=width)
            click.echo(f"{name}: {(folder / f'{name}.webp').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
