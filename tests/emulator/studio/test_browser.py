"""A person looks at Studio: pages renew themselves, and a prompt is answered."""

from typing import TYPE_CHECKING

import pytest

from phi_assets.emulator.process import Connection
from tests.e2e.harness.ui import browser_page, needs_chromium
from tests.emulator.jobs import Jobs
from tests.emulator.serving.conftest import deploy, echo, endpoint, register, set_traffic
from tests.emulator.testing_registry import WAIT, literal, pipeline

if TYPE_CHECKING:
    from phi_assets.azureml.connection.client import Workspace

__all__ = ["echo", "endpoint", "register"]  # fixtures of the serving tests

pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_chromium]


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


def test_a_prompt_is_answered(workspace: "Workspace", emulator: Connection, endpoint: str, echo: str) -> None:
    deploy(workspace, endpoint, echo)
    set_traffic(workspace, endpoint, blue=100)
    with browser_page() as page:
        page.set_viewport_size({"width": 390, "height": 800})
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
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
