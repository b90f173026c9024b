"""The page of an endpoint, and the box in which a prompt is tried."""

import html
import json
import re
from typing import TYPE_CHECKING

import httpx
import pytest

from phi_assets.emulator.process import Connection
from tests.emulator.serving.conftest import deploy, echo, endpoint, front, ml, register, set_traffic
from tests.emulator.serving.echo import ask

if TYPE_CHECKING:
    from phi_assets.azureml.connection.client import Workspace

__all__ = ["echo", "endpoint", "front", "register"]  # fixtures of the serving tests

NAMES = ("blue", "green")


@pytest.fixture
def page(workspace: "Workspace", emulator: Connection, endpoint: str, echo: str) -> str:
    """Path of the page of an endpoint with two deployments, of which one gets 90 % of the traffic."""
    for name in NAMES:
        deploy(workspace, endpoint, echo, name)
    set_traffic(workspace, endpoint, blue=90, green=10)
    return workspace.endpoint_studio_url(endpoint).removeprefix(emulator.studio_url)


def card(text: str, name: str) -> str:
    """What the page says about a deployment."""
    return next(part for part in text.split('<section class="card">') if f'</i>{name} <span class="pill' in part)


def numbers(text: str) -> dict[str, str]:
    return dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", text))


class TestPage:
    def test_it_shows_deployments_traffic_and_requests_but_no_key(
        self, workspace: "Workspace", studio: httpx.Client, page: str, endpoint: str, front: httpx.Client
    ) -> None:
        front.post("/score", json=ask("hi"), headers={"azureml-model-deployment": "green"}).raise_for_status()
        front.post("/score", json=ask("fail:no"), headers={"azureml-model-deployment": "green"})
        shown = studio.get(page).raise_for_status().text
        assert 'aria-label="blue 90 % green 10 % "' in shown
        green = card(shown, "green")
        assert "echo-" in green
        assert numbers(green) == {"live": "0", "by name": "2", "mirrored": "0", "underway": "0", "answered 424": "1"}
        assert numbers(card(shown, "blue"))["by name"] == "0"
        assert "the echo model is loading" in green
        keys = ml(workspace).online_endpoints.get_keys(endpoint)
        for path in (page, "/endpoints"):
            text = studio.get(path).text
            assert endpoint in text
            assert keys.primary_key not in text
            assert keys.secondary_key not in text

    def test_the_list_names_it(self, studio: httpx.Client, endpoint: str) -> None:
        shown = studio.get("/endpoints").text
        assert f'href="/endpoints/realtime/{endpoint}/detail"' in shown
        assert "No deployment gets traffic." in shown


class TestPrompt:
    def test_it_is_answered_by_whoever_is_chosen_and_the_conversation_goes_on(
        self, studio: httpx.Client, page: str
    ) -> None:
        asked = Conversation(studio, page)
        first = asked.say("sun", deployment="green")
        assert ("mine", "sun") in first
        assert ("theirs", "echo|sun|1") in first
        second = asked.say("moon", deployment="green")
        assert [turn for turn in second if turn[0] == "theirs"] == [("theirs", "echo|sun|1"), ("theirs", "echo|moon|1")]
        assert "green, " in asked.text
        assert numbers(card(studio.get(page).text, "green"))["by name"] == "2"
        said = asked.say("<script>alert(1)</script>")
        assert ("theirs", "echo|<script>alert(1)</script>|1") in said
        assert "<script>alert" not in asked.text

    def test_what_went_wrong_is_said_and_nothing_is_lost(self, studio: httpx.Client, page: str) -> None:
        asked = Conversation(studio, page)
        asked.say("sun")
        for message, fields, why in (
            ("refuse:no such thing", {"deployment": "green"}, "424 ModelError: The model refused the request: no such"),
            ("hello", {"deployment": "red"}, "404 DeploymentNotFound"),
            ("hello", {"new_tokens": "many"}, "New tokens must be a whole number"),
            ("  ", {}, "Write something first."),
            ("hello", {"history": '[{"role": "owner", "content": "x"}]'}, "role' must be one of"),
        ):
            asked.say(message, **fields)
            assert why in html.unescape(asked.text.split('role="alert"')[1].split("</div>")[0])
            assert asked.status == 200
            assert html.escape(message.strip()) in asked.text.split("<textarea")[1].split("</textarea>")[0]
        asked.say("hello", history="nonsense")
        assert "The form cannot be read" in asked.text
        assert ("theirs", "echo|moon|1") in asked.say("moon")


class Conversation:
    """What a person does with the form: writes, presses, reads, writes again."""

    def __init__(self, studio: httpx.Client, page: str):
        self._studio = studio
        self._page = page
        self.text = studio.get(page).text
        self.status = 200

    def say(self, message: str, **fields: str) -> list[tuple[str, str]]:
        """The turns that the page shows afterwards."""
        (history,) = re.findall(r'name="history" value="([^"]*)"', self.text)
        form = {"history": html.unescape(history), "message": message, "new_tokens": "20", **fields}
        origin = str(self._studio.base_url).rstrip("/")
        answer = self._studio.post(self._page, data=form, headers={"Origin": origin})
        self.text, self.status = answer.text, answer.status_code
        turns = re.findall(r'class="turn (\w+)"><p>(.*?)</p>', self.text, flags=re.DOTALL)
        return [(side, html.unescape(content)) for side, content in turns]


def test_a_conversation_that_is_too_long_is_refused(studio: httpx.Client, emulator: Connection) -> None:
    form = {"history": json.dumps([{"role": "user", "content": "x" * (1 << 20)}]), "message": "more"}
    headers = {"Origin": emulator.studio_url}
    assert studio.post("/endpoints/realtime/nobody/detail", data=form, headers=headers).status_code == 413
