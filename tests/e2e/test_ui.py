"""A person opens the UI and presses *Materialize all*."""

import shutil
from pathlib import Path

import pytest

from phi_assets.emulator import process
from tests.e2e.ui import (
    browser_page,
    dagster_dev,
    expand_all_groups,
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
    finally:
        process.stop(home / "emulator")
    assert (tmp_path / SCREENSHOT).stat().st_size > 0
    shutil.rmtree(home)
