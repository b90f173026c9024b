"""A person opens the UI and presses *Materialize all*."""

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page

from phi_assets.emulator import process
from tests.e2e.harness.ui import (
    browser_page,
    dagster_dev,
    expand_all_groups,
    follow_studio_link,
    materialized_with,
    needs_chromium,
    open_lineage,
    press_materialize_all,
    wait_until_green,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    needs_chromium,
]

SCREENSHOT = "lineage.png"


def look_around_in_studio(page: Page) -> None:
    """From the job, with its steps and its loss, along the lineage to an answer of the model."""
    page.get_by_role("heading", name="Completed").wait_for()
    for step in ("chat_completion_datapreprocess", "chat_completion_finetune"):
        page.locator(".flow").get_by_role("link", name=step).wait_for()
    page.locator(".chart").first.wait_for()
    page.locator("pre.log", has_text="'eval_loss': ").wait_for()
    page.get_by_role("row", name="registered model").get_by_role("link").click()
    page.locator(".lineage").get_by_role("link", name="/").last.click()
    page.get_by_role("textbox", name="message").fill("What do cows eat?")
    page.get_by_role("button", name="Ask").click()
    page.locator(".theirs").wait_for()


def test_materialize_all_makes_every_asset_green(tmp_path: Path) -> None:
    home = tmp_path / "phi-home"
    try:
        with dagster_dev(tmp_path, {"PHI_HOME": str(home)}) as dev, browser_page() as page:
            expected = dev.materializable()
            known = dev.run_ids()
            open_lineage(page, dev)
            press_materialize_all(page)
            run_id, status = dev.wait_for_run(known, timeout=480)
            assert status == "SUCCESS", dev.failures(run_id)
            assert dev.not_materialized(run_id) == []
            expand_all_groups(page)
            wait_until_green(page, len(expected), timeout=60)
            page.screenshot(path=tmp_path / SCREENSHOT)
            page.set_viewport_size({"width": 1600, "height": 1400})
            assert "?" in materialized_with(page, dev, "scoring_result", "answers").inner_text()
            materialized_with(page, dev, "finetune_job", "loss_curve")
            look_around_in_studio(follow_studio_link(page, dev, "finetune_job"))
            endpoint = follow_studio_link(page, dev, "live_traffic")
            endpoint.get_by_role("heading", name="Succeeded").first.wait_for()
    finally:
        process.stop(home / "emulator")
    assert (tmp_path / SCREENSHOT).stat().st_size > 0
    shutil.rmtree(home)
