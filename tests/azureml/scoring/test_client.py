"""The scoring client's view of answers that the emulator does not give by itself."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from phi_assets.azureml.connection.errors import ModelFailed, ScoringFailed
from phi_assets.azureml.scoring import auth as scoring_auth
from phi_assets.azureml.scoring.auth import EndpointCredential, Secret
from phi_assets.azureml.scoring.client import ScoringClient
from phi_assets.azureml.scoring.failures import failure, repeats
from phi_assets.azureml.scoring.shared_http import SharedClient
from phi_assets.evaluation.answers import Answer

QUESTION = [{"role": "user", "content": "hello"}]

Handler = Callable[[httpx.Request], httpx.Response]


def client(answer: Handler, lines: list[str] | None = None, fetch: Callable[[], Secret] | None = None) -> ScoringClient:
    credential = EndpointCredential(fetch or (lambda: Secret("the-key")))
    transport = httpx.MockTransport(answer)
    log = (lambda _: None) if lines is None else lines.append
    http = SharedClient(httpx.Client(transport=transport))
    return ScoringClient("https://endpoint/score", credential, http, log)


def questions(count: int) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": str(number)}] for number in range(count)]


def asked(request: httpx.Request) -> str:
    (conversation,) = json.loads(request.content)["input_data"]["input_string"]
    return conversation[-1]["content"]


def echo(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=[{"0": asked(request)}], headers={"azureml-model-deployment": "blue"})


def http_error(status: int, model_status: str | None = None) -> httpx.HTTPStatusError:
    headers = {"ms-azureml-model-error-statuscode": model_status} if model_status else {}
    request = httpx.Request("POST", "https://endpoint/score")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(status, headers=headers, request=request))


def always(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> ScoringClient:
    return client(lambda _: httpx.Response(status, json=content, headers=headers))


@pytest.mark.parametrize(
    "content",
    [[{"0": "hi"}], {"output": "hi"}, [{"output": "hi"}], ["hi"], {"predictions": ["hi"]}, [{"generated": "hi"}]],
)
def test_every_shape_of_answer_is_understood(content: Any) -> None:
    assert always(content).ask([QUESTION], {}).texts == ("hi",)


@pytest.mark.parametrize("content", [[], [{"0": 1}], [{"a": "x", "b": "y"}], 7])
def test_what_is_no_answer_is_said(content: Any) -> None:
    with pytest.raises(ScoringFailed, match="without answers"):
        always(content).ask([QUESTION], {})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, r"answered \{\}: .*exception.*log has the traceback.*serving\.instance_type"),
        ({"output": "None"}, r'answered \{"output": "None"\}: .*longer than .*context.*contract\.context_tokens'),
    ],
)
def test_what_the_container_for_foundation_models_says_in_place_of_an_answer_is_a_failure_of_the_model(
    content: Any, says: str
) -> None:
    calls: list[int] = []

    def answer(_: httpx.Request) -> httpx.Response:
        calls.append(1)
        return httpx.Response(200, json=content)

    with pytest.raises(ModelFailed, match=says):
        client(answer).ask([QUESTION], {})
    assert calls == [1]


@pytest.mark.parametrize("content", [[{"0": "None"}], ["None"], {"predictions": ["None"]}])
def test_a_model_that_says_none_elsewhere_has_said_it(content: Any) -> None:
    assert always(content).ask([QUESTION], {}).texts == ("None",)


@pytest.mark.parametrize("content", [{"output": ""}, {"output": "none"}, {"output": "{}"}])
def test_any_other_text_of_that_container_is_an_answer(content: Any) -> None:
    assert always(content).ask([QUESTION], {}).texts == (content["output"],)


def test_conversations_that_the_container_ignores_are_asked_one_by_one() -> None:
    seen: list[list[str]] = []

    def first_only(request: httpx.Request) -> httpx.Response:
        conversations = json.loads(request.content)["input_data"]["input_string"]
        seen.append([turns[-1]["content"] for turns in conversations])
        return httpx.Response(200, json={"output": seen[-1][0]})

    assert client(first_only).ask(questions(3), {}).texts == ("0", "1", "2")
    assert seen == [["0", "1", "2"], ["1"], ["2"]]


def test_text_that_is_not_json_is_said() -> None:
    with pytest.raises(ScoringFailed, match="did not answer JSON: 'oops'"):
        client(lambda _: httpx.Response(200, text="oops")).ask([QUESTION], {})


def test_too_few_answers_are_not_matched_to_conversations() -> None:
    with pytest.raises(ScoringFailed, match="1 answers to 2 conversations"):
        always([{"0": "hi"}]).ask([QUESTION, QUESTION], {})


def test_the_request_is_the_notebooks_without_the_params_that_hide_its_parameters() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=[{"0": "hi"}], headers={"azureml-model-deployment": "blue"})

    scoring = client(answer)
    assert scoring.ask([QUESTION], {"top_p": 0.9}, deployment="blue").deployment == "blue"
    scoring.ask([QUESTION], {})
    assert json.loads(seen[0].content) == {
        "input_data": {"input_string": [QUESTION], "parameters": {"top_p": 0.9}},
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


def test_a_model_that_fails_again_and_again_is_asked_three_times_in_all() -> None:
    calls: list[int] = []

    def answer(_: httpx.Request) -> httpx.Response:
        calls.append(1)
        return httpx.Response(424, headers={"ms-azureml-model-error-statuscode": "500"}, text="it broke")

    with pytest.raises(ScoringFailed, match="424 it broke"):
        client(answer).ask([QUESTION], {})
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("error", "times"),
    [
        (http_error(400), 0),
        (http_error(401), 0),
        (http_error(404), 0),
        (http_error(408), 1),
        (http_error(424), 2),
        (http_error(424, "500"), 2),
        (http_error(424, "400"), 0),
        (http_error(424, "413"), 0),
        (http_error(424, "429"), 2),
        (http_error(429), 8),
        (http_error(500), 0),
        (http_error(503), 6),
        (httpx.ReadTimeout(""), 1),
        (httpx.ConnectError(""), 4),
        (httpx.RemoteProtocolError(""), 4),
        (ValueError(), 0),
        (None, 0),
    ],
)
def test_how_often_a_request_is_repeated_depends_on_what_its_failure_means(error: Any, times: int) -> None:
    assert repeats(error) == times


def test_a_connection_that_breaks_is_opened_again_and_silence_is_told_from_it() -> None:
    troubles: list[Exception] = [httpx.ReadError("reset"), httpx.ReadTimeout("silence"), httpx.ReadTimeout("silence")]

    def answer(request: httpx.Request) -> httpx.Response:
        if troubles:
            raise troubles.pop(0)
        return echo(request)

    with pytest.raises(ScoringFailed, match=r"did not answer in time.*request_timeout_seconds"):
        client(answer).ask([QUESTION], {})
    assert len(troubles) == 1
    assert client(answer).ask([QUESTION], {}).texts == ("hello",)


def test_an_answer_of_another_deployment_than_asked_for_is_not_taken() -> None:
    scoring = client(echo)
    assert scoring.ask([QUESTION], {}, deployment="Blue").deployment == "blue"
    with pytest.raises(ScoringFailed, match="asked for deployment green, but blue answered"):
        scoring.ask([QUESTION], {}, deployment="green")


def test_as_many_requests_as_allowed_are_underway_and_their_answers_are_in_order() -> None:
    together = threading.Barrier(4)
    lock = threading.Lock()
    underway: list[str] = []
    most: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        with lock:
            underway.append(asked(request))
            most.append(len(underway))
        # Passes only if four requests are here at the same time.
        together.wait(20)
        with lock:
            underway.remove(asked(request))
        return echo(request)

    answers = client(answer).ask_each(questions(12), {}, concurrency=4)
    assert [answer.text for answer in answers] == [str(number) for number in range(12)]
    assert {answer.deployment for answer in answers} == {"blue"}
    assert max(most) == 4


def test_nothing_is_asked_of_nobody() -> None:
    assert client(echo).ask_each([], {}, concurrency=4) == []
    assert client(echo).try_each([], {}) == []


def test_the_first_failure_ends_the_rest_unless_failures_are_wanted() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(asked(request))
        return httpx.Response(400, text="no") if asked(request) == "2" else echo(request)

    with pytest.raises(ScoringFailed, match="answered 400 no"):
        client(answer).ask_each(questions(30), {})
    assert seen == ["0", "1", "2"]

    outcomes = client(answer).try_each(questions(5), {}, concurrency=2)
    assert [outcome.text if isinstance(outcome, Answer) else "failed" for outcome in outcomes] == [
        *("0", "1", "failed", "3", "4")
    ]
    assert isinstance(outcomes[2], ScoringFailed)


def test_nothing_more_is_asked_when_it_is_hopeless() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(asked(request))
        return httpx.Response(404, text="no")

    with pytest.raises(ScoringFailed, match="answered 404 no"):
        client(answer).try_each(questions(5), {}, goes_on=lambda _: len(seen) < 2)
    assert seen == ["0", "1"]


@pytest.mark.parametrize(
    ("status", "is_models"),
    [(400, True), (408, True), (413, True), (424, True), (401, False), (404, False), (429, False), (503, False)],
)
def test_whose_failure_it_is_follows_from_the_status(status: int, is_models: bool) -> None:
    error = failure("https://endpoint/score", http_error(status, "400"))
    assert isinstance(error, ModelFailed) is is_models
    assert isinstance(failure("https://endpoint/score", httpx.ReadTimeout("")), ModelFailed)
    assert not isinstance(failure("https://endpoint/score", httpx.ConnectError("")), ModelFailed)


def test_a_client_that_is_closed_repeats_nothing_any_more() -> None:
    refused = threading.Event()

    def answer(_: httpx.Request) -> httpx.Response:
        refused.set()
        return httpx.Response(503, headers={"Retry-After": "300"})

    with ThreadPoolExecutor(1) as pool:
        with client(answer) as scoring:
            asking = pool.submit(scoring.ask, [QUESTION], {})
            assert refused.wait(20)
        with pytest.raises(ScoringFailed, match=r"503|is closed"):
            asking.result(20)


class Issuer:
    """Gives another secret every time: `secret-1`, `secret-2`, ..."""

    def __init__(self, good_for_seconds: float = float("inf")) -> None:
        self.good_for_seconds = good_for_seconds
        self.issued = 0

    def __call__(self) -> Secret:
        self.issued += 1
        return Secret(f"secret-{self.issued}", self.good_for_seconds)


def accepting(*secrets: str, seen: list[str]) -> Handler:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"].removeprefix("Bearer "))
        return echo(request) if seen[-1] in secrets else httpx.Response(401, text="not this one")

    return answer


def test_a_secret_is_fetched_when_it_is_needed_and_again_when_it_ends() -> None:
    seen: list[str] = []
    lasting, ending = Issuer(), Issuer(good_for_seconds=0)
    for issuer in (lasting, ending):
        scoring = client(accepting("secret-1", "secret-2", seen=seen), fetch=issuer)
        assert issuer.issued == 0
        scoring.ask([QUESTION], {})
        scoring.ask([QUESTION], {})
    assert seen == ["secret-1", "secret-1", "secret-1", "secret-2"]


def test_a_secret_that_was_replaced_meanwhile_is_fetched_again_at_once() -> None:
    seen: list[str] = []
    lines: list[str] = []
    scoring = client(accepting("secret-2", seen=seen), lines, Issuer())
    assert scoring.ask([QUESTION], {}).texts == ("hello",)
    assert scoring.ask([QUESTION], {}).texts == ("hello",)
    assert (seen, lines) == (["secret-1", "secret-2", "secret-2"], [])


@pytest.mark.parametrize("fetch", [lambda: Secret("always-this"), Issuer()])
def test_an_endpoint_that_refuses_new_secrets_too_is_not_asked_for_ever(fetch: Callable[[], Secret]) -> None:
    seen: list[str] = []
    with pytest.raises(ScoringFailed, match=r"401 not this one\..*run again") as failed:
        client(accepting(seen=seen), fetch=fetch).ask([QUESTION], {})
    assert len(seen) == len(set(seen)) <= 2
    assert not [secret for secret in seen if secret in str(failed.value)]


def test_threads_share_one_secret() -> None:
    issuer = Issuer()
    entered = threading.Barrier(8)

    def answer(request: httpx.Request) -> httpx.Response:
        entered.wait(20)
        return echo(request)

    client(answer, fetch=issuer).ask_each(questions(8), {}, concurrency=8)
    assert issuer.issued == 1


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> float:
    """The wall clock stands at this time."""
    monkeypatch.setattr(scoring_auth, "time", SimpleNamespace(time=lambda: 1_000_000.0, monotonic=lambda: 5.0))
    return 1_000_000.0


@pytest.mark.parametrize(
    ("expiry", "refresh_after", "left"),
    [(86_400, 43_200, 43_200), (86_400, 0, 86_160), (3_600, 3_590, 3_360), (100, 50, 0), (-5, -10, 0)],
)
def test_a_token_is_renewed_when_the_service_says_so_and_always_before_it_ends(
    noon: float, expiry: float, refresh_after: float, left: float
) -> None:
    refresh = noon + refresh_after if refresh_after else 0
    token = SimpleNamespace(expiry_time_utc=noon + expiry, refresh_after_time_utc=refresh)
    assert scoring_auth._seconds_left(token, None) == left
    # Tokens of Microsoft Entra have an end only.
    assert scoring_auth._seconds_left(SimpleNamespace(expiry_time_utc=noon + 86_400), None) == 86_160
    # Where the service has said what time it is, this machine's clock does not count.
    two_hours_on = datetime.fromtimestamp(noon + 7200, UTC)
    assert scoring_auth._seconds_left(token, two_hours_on) == max(0, left - 7200)


def test_secrets_are_not_shown() -> None:
    scoring = client(echo, fetch=lambda: Secret("canary"))
    scoring.ask([QUESTION], {})
    assert "canary" not in f"{scoring!r} {scoring.credential!r} {Secret('canary')!r} {vars(scoring)}"
