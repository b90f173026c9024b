"""A person looks at Studio: pages renew themselves, and a prompt is answered."""

from typing import TYPE_CHECKING

import pytest

from phi_assets.emulator.process import Connection
from tests.e2e.harness.ui import browser_page, needs_chromium
from tests.emulator.jobs import FILE, Jobs
from tests.emulator.serving.conftest import deploy, echo, endpoint, register, set_traffic
from tests.emulator.testing_registry import COPY, WAIT, data, literal, pipeline

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from phi_assets.azureml.connection.client import Workspace

__all__ = ["echo", "endpoint", "register"]  # fixtures of the serving tests

ONE_COPY = pipeline(
    copy={
        "type": "command",
        "componentId": COPY,
        "inputs": {"source": data(FILE), "suffix": literal("!")},
        "outputs": {"target": {"type": "literal", "value": "${{parent.outputs.answer}}"}},
    }
) | {"outputs": {"answer": {"jobOutputType": "uri_folder"}}}

pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_chromium]

PAGES = (
    *("/jobs", "/runs/{job}", "/jobs/compare?run={job}"),
    *("/models", "/model/{model}/details", "/endpoints", "/endpoints/realtime/{endpoint}/detail"),
)

NOT_READABLE = """() => {
  const numbers = text => {
    const found = text.match(/[\\d.]+/g).map(Number);
    return text.startsWith("color(") ? [...found.slice(0, 3).map(each => each * 255), found[3] ?? 1] : found;
  };
  const light = ([r, g, b]) => [r, g, b].map(each => each / 255)
    .map(each => each <= 0.03928 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
    .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = each => {
    const color = numbers(getComputedStyle(each).backgroundColor);
    return color[3] === 0 && each.parentElement ? behind(each.parentElement) : color;
  };
  const poor = [];
  for (const each of document.querySelectorAll("body *")) {
    const said = [...each.childNodes].filter(node => node.nodeType === 3).map(node => node.data.trim()).join("");
    if (!said || !each.checkVisibility() || each.closest("svg, script, style, .skip, [hidden]")) continue;
    const [text, ground] = [light(numbers(getComputedStyle(each).color)), light(behind(each))];
    const ratio = (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
    if (ratio < 4.5) poor.push(`${said.slice(0, 40)}: ${ratio.toFixed(1)}`);
  }
  return poor;
}"""
"""Texts of a page with less contrast than https://www.w3.org/TR/WCAG22/#contrast-minimum asks for."""

CUT = """() => [...document.querySelectorAll("main *")]
  .filter(each => each.checkVisibility() && !each.closest("svg, .scroll, .log, .hidden, thead, option"))
  .filter(each => each.getBoundingClientRect().right > innerWidth)
  .map(each => `${each.tagName}.${each.className}`)"""

CONTROLS = "a[href], button, input:not([type=hidden]), select, textarea, summary, pre"
REACHABLE = f"""() => [...document.querySelectorAll("{CONTROLS}")]
  .filter(each => each.checkVisibility()).length"""

AT = """() => {
  const each = document.activeElement;
  if (!each || each === document.body) return null;
  each.dataset.visited ??= Math.random();
  const {outlineStyle, outlineWidth} = getComputedStyle(each);
  const shown = outlineStyle !== "none" && parseFloat(outlineWidth) > 0 || !!each.closest("svg");
  return [each.dataset.visited, shown ? "" : each.outerHTML.slice(0, 80)];
}"""


def test_a_page_follows_its_job_without_being_loaded_again(jobs: Jobs) -> None:
    node = {"type": "command", "componentId": WAIT, "inputs": {"seconds": literal("60")}}
    name = jobs.submitted("studio-browser", pipeline(wait=node))
    jobs.running_step(name)
    with browser_page() as page:
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(jobs.get(name)["properties"]["services"]["Studio"]["endpoint"])
        page.evaluate("window.kept = true")
        page.get_by_role("heading", name="Running").wait_for()
        page.locator("pre.log", has_text="waiting").wait_for()
        page.get_by_text("0 tags").wait_for(state="detached")
        jobs.client.post(f"/jobs/{name}/cancel").raise_for_status()
        page.get_by_role("heading", name="Canceled").wait_for()
        assert page.evaluate("window.kept") is True
        assert "Canceled" in page.title()
        assert said == []  # among others, nothing was refused by the content security policy


def test_a_prompt_is_answered_and_every_page_is_used_by_keyboard_on_a_narrow_screen(
    workspace: "Workspace", emulator: Connection, endpoint: str, echo: str, jobs: Jobs
) -> None:
    job = jobs.submitted("studio-walk", ONE_COPY)
    deploy(workspace, endpoint, echo)
    set_traffic(workspace, endpoint, blue=100)
    with browser_page() as page:
        page.set_viewport_size({"width": 420, "height": 900})
        page.goto(workspace.endpoint_studio_url(endpoint))
        box = page.get_by_role("textbox", name="message")
        box.fill("sun")
        page.get_by_role("button", name="Ask").click()
        page.get_by_text("echo|sun|1").wait_for()
        box.press_sequentially("moon")
        box.press("Shift+Enter")
        box.press_sequentially("light")
        assert box.input_value() == "moon\nlight"
        box.press("Enter")
        page.get_by_text("moon\nlight|1").wait_for()
        assert page.locator(".turn").count() == 4
        # What is shown beside it renews itself, and the conversation stays.
        page.locator("div", has=page.get_by_text("live", exact=True)).get_by_text("2", exact=True).first.wait_for()
        assert page.locator(".turn").count() == 4
        assert jobs.ended(job) == "Completed"
        model = ":".join(echo.split("/models/")[1].split("/versions/"))
        for path in PAGES:
            shown = path.format(job=job, model=model, endpoint=endpoint)
            walk(page, f"{emulator.studio_url}{shown}")
        stays(page, f"{emulator.studio_url}/jobs", jobs, job)


def walk(page: "Page", address: str) -> None:
    """Nothing of the page is cut or pale, and Tab goes to whatever can be used, visibly."""
    page.goto(address)
    # Nothing may be replaced while it is looked at, and a dozen of what other tests have made stands for all of it.
    page.evaluate("document.body.dataset.live = 0")
    page.evaluate("document.querySelectorAll('tbody tr:nth-child(n+13)').forEach(row => row.remove())")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
    assert page.evaluate(CUT) == [], address
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(NOT_READABLE) == [], (address, scheme)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    visited: dict[str, str] = {}
    while (at := page.evaluate(AT)) is not None and at[0] not in visited:
        visited |= dict([at])
        page.keyboard.press("Tab")
    assert len(visited) >= page.evaluate(REACHABLE), address
    assert set(visited.values()) == {""}, address


def stays(page: "Page", address: str, jobs: Jobs, job: str) -> None:
    """The list renews itself, and the keyboard stays where it is."""
    page.goto(address)
    box = page.get_by_label(f"Compare {job}", exact=True)
    box.focus()
    page.keyboard.press("Space")
    later = jobs.submitted("studio-walk-later", ONE_COPY)
    page.get_by_label(f"Compare {later}").wait_for()
    assert page.evaluate("document.activeElement.value") == job
    assert box.is_checked()
