"""The Dagster UI as a person uses it: `dg dev` in its own process group, and a headless Chromium."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, sync_playwright

from phi_assets.config.settings import PROJECT_ROOT
from tests.e2e.harness.graphql import GraphQL
from tests.e2e.harness.processes import end_group, free_port, until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ, reason="no Chromium here: install the system's `chromium` package"
)

_CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

_READY_SECONDS = 120
_PAGE_MILLISECONDS = 60_000
_POLL_SECONDS = 0.5
"""A process of seconds, or a run of a minute; each look costs the webserver as much as one of its own page's."""

_WINDOW: ViewportSize = {"width": 1280, "height": 900}
"""To draw a larger one costs processors more than all else that a browser does."""

FINISHED = ("SUCCESS", "FAILURE", "CANCELED")

_RUNS = """{ runsOrError(limit: 20) { __typename ... on Runs { results { runId status } } } }"""

_ASSETS = """{ assetNodes { assetKey { path } isMaterializable
  assetMaterializations(limit: 1) { runId } } }"""

_FAILURES = """{ logsForRun(runId: "%s", limit: 1000) { __typename ... on EventConnection { events {
  __typename ... on MessageEvent { message }
  ... on ExecutionStepFailureEvent { error { errorChain { error { message } } } } } } } }"""


class UiError(Exception):
    """The UI or what it drives is not as it should be; the message says what was found."""


@dataclass(frozen=True)
class DagsterDev(GraphQL):
    """A running `dg dev`."""

    process: subprocess.Popen[bytes]
    log: Path

    def run_ids(self) -> set[str]:
        """Ids of the newest runs."""
        return {run["runId"] for run in self.query(_RUNS)["runsOrError"]["results"]}

    def wait_for_run(self, known: set[str], timeout: float) -> tuple[str, str]:
        """Id and final status of the one run that is not among the known ones."""

        def finished() -> tuple[str, str] | None:
            results = self.query(_RUNS)["runsOrError"]["results"]
            new = [(run["runId"], run["status"]) for run in results if run["runId"] not in known]
            if len(new) > 1:
                raise UiError(f"One press of the button started {len(new)} runs: {new}")
            return next((run for run in new if run[1] in FINISHED), None)

        return until(finished, timeout, f"No new run has finished, see {self.log},", _POLL_SECONDS)

    def not_materialized(self, run_id: str) -> list[str]:
        """Keys of the materializable assets whose newest materialization is not of this run."""
        return [
            "/".join(node["assetKey"]["path"])
            for node in self.query(_ASSETS)["assetNodes"]
            if node["isMaterializable"]
            and [materialization["runId"] for materialization in node["assetMaterializations"]] != [run_id]
        ]

    def failures(self, run_id: str) -> list[str]:
        """What went wrong in a run: a message for each failed step, and what caused it."""
        messages = []
        for event in self.query(_FAILURES % run_id)["logsForRun"]["events"]:
            if event["__typename"].endswith("FailureEvent"):
                chain = (event.get("error") or {}).get("errorChain", [])
                messages += [event["message"], *(link["error"]["message"] for link in chain)]
        return messages

    def materializable(self) -> list[str]:
        """Keys of all assets that a run can make."""
        nodes = self.query(_ASSETS)["assetNodes"]
        return sorted("/".join(node["assetKey"]["path"]) for node in nodes if node["isMaterializable"])


@contextmanager
def dagster_dev(directory: Path, env: Mapping[str, str], project: Path = PROJECT_ROOT) -> Iterator[DagsterDev]:
    """`dg dev` of a project is up, its code location loaded; afterwards its group is gone.

    Its DAGSTER_HOME lies in `directory` and starts from the project's own `.dagster/dagster.yaml`.
    """
    home = directory / "dagster-home"
    home.mkdir(parents=True)
    shutil.copy(project / ".dagster" / "dagster.yaml", home)
    port, log = free_port(), directory / "dagster-dev.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("dg"), "dev", "--host", "127.0.0.1", "--port", str(port)],
            cwd=project,
            env={**os.environ, **env, "DAGSTER_HOME": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    dev = DagsterDev(f"http://127.0.0.1:{port}", process, log)
    try:
        until(lambda: _loaded(dev), _READY_SECONDS, f"dg dev is not ready, see {log},", _POLL_SECONDS)
        yield dev
    finally:
        end_group(process)


@contextmanager
def browser_page() -> Iterator[Page]:
    """A page of a headless Chromium on which nothing moves."""
    if CHROMIUM is None:
        raise UiError("There is no Chromium: install the system's `chromium` package")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(_CHROMIUM_FLAGS))
        try:
            page = browser.new_page(viewport=_WINDOW)
            page.add_init_script(_CALM)
            page.set_default_timeout(_PAGE_MILLISECONDS)
            yield page
        finally:
            browser.close()


def open_lineage(page: Page, dev: DagsterDev) -> None:
    """The page shows the graph of all assets, in a window that is large enough for the whole of it."""
    # The lineage leaves the text out of its boxes when a large graph has to be made small.
    page.set_viewport_size({"width": 3600, "height": 2400})
    greeted = dev.query("{ shouldShowNux }")["shouldShowNux"]
    page.goto(f"{dev.url}/asset-groups")
    if greeted:
        page.get_by_role("button", name="Skip").click()
    page.get_by_role("button", name="Materialize all").wait_for()


def press_materialize_all(page: Page) -> None:
    """The UI says that it launched a run."""
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_text("Launched run").wait_for()


def expand_all_groups(page: Page) -> None:
    """Every asset of the graph has its own box, with its state written in it."""
    page.locator("body").press("Alt+e")
    page.get_by_text(_STATE).first.wait_for()


def wait_until_green(page: Page, assets: int, timeout: float) -> None:
    """So many boxes say *Materialized*, in green, and none says that it failed or was never materialized."""

    def green() -> bool:
        return page.get_by_text(_STATE).evaluate_all(_GREEN) == ["Materialized"] * assets

    try:
        until(lambda: green() or None, timeout, "not green")
    except TimeoutError as error:
        found = page.get_by_text(_STATE).all_inner_texts()
        raise UiError(f"Expected {assets} green assets in the lineage, found {found}") from error


def follow_studio_link(page: Page, dev: DagsterDev, asset: str) -> Page:
    """The page of the emulator's Studio that the asset's metadata links to, in a tab of its own."""
    page.goto(f"{dev.url}/assets/quickstart/{asset}")
    with page.expect_popup() as opened:
        page.locator('a[target="_blank"][href^="http://127.0.0.1:"]').first.click()
    return opened.value


def materialized_with(page: Page, dev: DagsterDev, asset: str, key: str) -> Locator:
    """The row of the asset's metadata that has this key."""
    page.goto(f"{dev.url}/assets/quickstart/{asset}")
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name=key, exact=True)).first
    row.wait_for()
    return row


_STATE = re.compile(r"^(Materialized|Never materialized|Failed|Materializing.*|Overdue|Check failed)$")

# Without a graphics card, what turns and glides all the time takes a whole core.
_CALM = """
const calm = new CSSStyleSheet();
calm.replaceSync("*, ::before, ::after { animation: none !important; transition: none !important; }");
document.adoptedStyleSheets.push(calm);
// What is drawn anew in every frame, as the bars of a run that goes on, is drawn a few times a second.
window.requestAnimationFrame = draw => window.setTimeout(() => draw(performance.now()), 200);
window.cancelAnimationFrame = window.clearTimeout;
"""

_GREEN = """boxes => boxes.map(box => {
  const [red, green, blue] = getComputedStyle(box).color.match(/\\d+/g).map(Number);
  return green > red && green > blue ? box.innerText : `${box.innerText} in rgb(${red}, ${green}, ${blue})`;
})"""


def _loaded(dev: DagsterDev) -> bool | None:
    if dev.process.poll() is not None:
        raise UiError(f"dg dev ended with exit code {dev.process.returncode}")
    return True if dev.is_loaded() else None
