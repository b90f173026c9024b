"""The comparison itself: it sees what is missing, what nobody recorded, and nulls on either side."""

from typing import Any

import pytest

from tests.contract.shapes import Operation, recorded

JOB = "GET {WS}/jobs/{job} 200"


@pytest.fixture(scope="module")
def job() -> Operation:
    return recorded()[JOB]


def document(**changes: Any) -> dict[str, Any]:
    """A service of a job with nothing in it, changed."""
    nothing = dict.fromkeys(("errorMessage", "nodes", "port", "properties", "status"))
    return {"endpoint": "https://studio", "jobServiceType": "Studio", **nothing, **changes}


@pytest.mark.parametrize(
    ("services", "says"),
    [
        ({"Studio": document()}, set()),
        ({"Studio": document(), "Other": document()}, set()),
        ({"Studio": document(port=1)}, {"properties.services.{*}.port: number instead of null"}),
        ({"Studio": document(endpoint=None)}, {"properties.services.{*}.endpoint: null instead of string"}),
        ({"Studio": document(more=True)}, {"properties.services.{*}.more: not recorded"}),
        ({"Studio": {"endpoint": ""}}, None),
        ({"Studio": None}, {"properties.services.{*}: null instead of object"}),
    ],
    ids=["the same", "another name", "not null", "null", "not recorded", "missing", "no object"],
)
def test_each_kind_of_difference_is_seen(job: Operation, services: Any, says: set[str] | None) -> None:
    found = set(job.answer.differences(services, path=("properties", "services")))
    if says is None:
        says = {f"properties.services.{{*}}.{key}: missing" for key in document() if key != "endpoint"}
    assert found == says


def test_what_only_some_had_may_be_missing_and_free_names_are_anybodys(job: Operation) -> None:
    node = {"_source": "YAML.JOB", "type": "command"}
    assert not set(job.answer.differences({"a": node}, path=("properties", "jobs")))
    assert not set(job.answer.differences({"a": 1, "b": None}, path=("properties", "tags")))


def test_elements_of_lists_are_compared_one_by_one() -> None:
    shape = recorded()["GET {WS}/models/{model}/versions 200"].answer
    found = set(shape.differences({"value": [{}, {"id": 1}]}))
    assert "value[].id: missing" in found
    assert "value[].id: number instead of string" in found


def test_keys_with_dots_keep_them(job: Operation) -> None:
    found = set(job.answer.differences({}, path=("properties", "properties")))
    assert 'properties.properties["azureml.DevPlatv2"]: missing' in found
    assert len(found) == 11


def test_a_request_need_not_have_everything_that_was_ever_sent(job: Operation) -> None:
    request = recorded()["PUT {WS}/jobs/{job} 201"].request
    assert not set(request.differences({"properties": {"jobType": "Pipeline"}}, complete=False))
    assert set(request.differences({"properties": {"new": 1}}, complete=False)) == {"properties.new: not recorded"}
