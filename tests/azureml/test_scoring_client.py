"""The scoring client's view of answers that the emulator does not give by itself."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from phi_assets.azureml.errors import ScoringFailed
from phi_assets.azureml.scoring import ScoringClient

QUESTION = [{"role": "user", "content": "hello"}]


def client(answer: Callable[[httpx.Request], httpx.Response], lines: list[str] | None = None) -> ScoringClient:
    transport = httpx.MockTransport(answer)
    log = (lambda _: None) if lines is None else lines.append
    return ScoringClient("https://endpoint/score", "the-key", httpx.Client(transport=transport), log)


def always(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> ScoringClient:
    return client(lambda _: httpx.Response(status, json=content, headers=headers))


@pytest.mark.parametrize(
    "content",
    [[{"0": "hi"}], {"output": "hi"}, [{"output": "hi"}], ["hi"], {"predictions": ["hi"]}, [{"generated": "hi"}]],
)
def test_every_shape_of_answer_is_understood(content: Any) -> None:
    assert always(content).ask([QUESTION], {}).texts == ("hi",)


@pytest.mark.parametrize("content", [[], {}, [{"0": 1}], [{"a": "x", "b": "y"}], 7])
def test_what_is_no_answer_is_said(content: Any) -> None:
    with pytest.raises(ScoringFailed, match="without answers"):
        always(content).ask([QUESTION], {})


def test_text_that_is_not_json_is_said() -> None:
    with pytest.raises(ScoringFailed, match="did not answer JSON: 'oops'"):
        client(lambda _: httpx.Response(200, text="oops")).ask([QUESTION], {})


def test_too_few_answers_are_not_matched_to_conversations() -> None:
    with pytest.raises(ScoringFailed, match="1 answers to 2 conversations"):
        always([{"0": "hi"}]).ask([QUESTION, QUESTION], {})


def test_the_request_is_the_notebooks() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=[{"0": "hi"}], headers={"azureml-model-deployment": "blue"})

    scoring = client(answer)
    assert scoring.ask([QUESTION], {"top_p": 0.9}, deployment="blue").deployment == "blue"
    scoring.ask([QUESTION], {})
    assert json.loads(seen[0].content) == {
        "input_data": {"input_string": [QUESTION], "parameters": {"top_p": 0.9}},
        "params": {},
    }
    assert seen[0].headers["Authorization"] == "Bearer the-key"
    assert seen[0].headers["azureml-model-deployment"] == "blue"
    # The SDK's own client would still send it here.
    assert "azureml-model-deployment" not in seen[1].headers
    assert "the-key" not in repr(scoring)


@pytest.mark.parametrize("status", [408, 424, 429, 503])
def test_passing_failures_are_tried_again(status: int) -> None:
    answers = [httpx.Response(status, text="busy"), httpx.Response(200, json=[{"0": "hi"}])]
    lines: list[str] = []
    assert client(lambda _: answers.pop(0), lines).ask([QUESTION], {}).texts == ("hi",)
    assert lines == [f"Endpoint: {status} busy; trying again."]


def test_a_model_that_refuses_is_not_asked_again() -> None:
    calls: list[int] = []

    def answer(_: httpx.Request) -> httpx.Response:
        calls.append(1)
        headers = {"ms-azureml-model-error-statuscode": "400", "ms-azureml-model-error-reason": "no input_string"}
        return httpx.Response(424, headers=headers)

    with pytest.raises(ScoringFailed, match=r"424 no input_string \(model status 400\).*its log has the reason"):
        client(answer).ask([QUESTION], {})
    assert len(calls) == 1
