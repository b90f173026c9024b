"""Names, tags and numbers that Azure ML takes or refuses: recipe, preflight and emulator say the same of each."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pydantic import ValidationError

from phi_assets.azureml.preflight.findings import Findings
from phi_assets.azureml.preflight.names import look_at_names
from phi_assets.config import limits
from phi_assets.config.recipe import Recipe
from phi_assets.emulator.process import Connection
from tests.emulator.http import arm_client, token

SIZE = "Standard_NC24ads_A100_v4"


def tags(count: int, name: str = "t", value: str = "v") -> dict[str, str]:
    return {f"{name}{number}": value for number in range(count)}


DATA = {"properties": {"dataType": "uri_file", "dataUri": "https://example.org/file"}}
GROUP = "/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/g"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/phi"
SUBNET = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/net/subnets/default"

# (the rule, the recipe's key, the field of the request, values that are taken, values that are refused)
TABLE: list[tuple[limits.Rule, str, str, list[Any], list[Any]]] = [
    (
        limits.CLUSTER_NAME,
        "compute.name",
        "name",
        ["abc", "phi-finetune", "a" * 24, "gpu-1a", "a1-2b", "A--b", "a123", "one-two-three"],
        ["ab", "a" * 25, "1abc", "-abc", "gpu-1", "abc-", "phi-finetune-2", "a-b-007", "a_b", "a.b", "äbc", "a b"],
    ),
    (
        limits.ENDPOINT_NAME,
        "serving.endpoint",
        "name",
        ["abc", "A-1", "ultrachat-completion-1732300000", "a" * 32, "a-b-c"],
        ["ab", "a" * 33, "1ab", "-ab", "ab-", "ab--c", "a_b", "a.b", "äbc"],
    ),
    (
        limits.ASSET_NAME,
        "serving.model_name",
        "name",
        ["m", "Phi-4-ultrachat-200k", "a_b", "4you", "a" * 255],
        ["a" * 256, "-m", "_m", "Phi-3.5-mini", "a b", "ä"],
    ),
    (
        limits.EXPERIMENT_NAME,
        "finetune.experiment",
        "experimentName",
        ["e", "chat_completion_Phi-4", "a" * 256],
        ["a" * 257, "_e", "an experiment", "a.b", "a/b"],
    ),
    (limits.DISPLAY_NAME, "finetune.display_name", "displayName", ["Phi-4, once more", "a" * 256], ["a" * 257]),
    (
        limits.JOB_TAGS,
        "finetune.tags",
        "tags",
        [{}, tags(20), {"k" * 100: "v" * 1000}, {"cost centre <1>": "a"}],
        [tags(21), {"k" * 101: "v"}, {"k": "v" * 1001}],
    ),
    (
        limits.RESOURCE_TAGS,
        "serving.tags",
        "tags",
        [{}, tags(40), {"k" * 512: "v" * 256}, {"owner": "me <me@example.org>"}],
        [tags(41), {"k" * 513: "v"}, {"k": "v" * 257}, {"": "v"}, {"a/b": "v"}, {"a?": "v"}, {"50%": "v"}, {"a\n": ""}],
    ),
    (limits.INSTANCES, "serving.instance_count", "sku.capacity", [1, 50], [0, 51, -1]),
    (limits.REQUEST_SECONDS, "serving.request_timeout_seconds", "requestSettings.requestTimeout", [1, 180], [0, 181]),
    (limits.MIRRORED_PERCENT, "rollout.mirror_percent", "mirrorTraffic", [0, 1, 50], [51, 100, -1]),
    (
        limits.IDENTITY_ID,
        "compute.identity",
        "identity.userAssignedIdentities",
        ["none", "system", IDENTITY, IDENTITY.lower()],
        [
            "phi",
            "/subscriptions/s/resourceGroups/g",
            IDENTITY.replace("userA", "systemA"),
            f"{IDENTITY}/x",
        ],
    ),
    (limits.IDENTITY_ID, "serving.identity", "identity.userAssignedIdentities", ["system", IDENTITY], ["phi"]),
    (
        limits.SUBNET_ID,
        "compute.subnet",
        "subnet.id",
        [SUBNET, SUBNET.upper()],
        ["default", f"{SUBNET}/x", SUBNET.replace("11111111-1111", "11111111")],
    ),
    (limits.CLUSTER_NODES, "compute.max_nodes", "maxNodeCount", [1, 100], [101, 1000]),
]
ROWS = [
    pytest.param(rule, key, field, value, taken, id=f"{key}={str(value)[:24]!r}-{'taken' if taken else 'refused'}")
    for rule, key, field, good, bad in TABLE
    for values, taken in ((good, True), (bad, False))
    for value in values
]


def test_there_are_at_least_forty_rows_each_with_its_source() -> None:
    assert len(ROWS) >= 40
    rules = [rule for rule in vars(limits).values() if isinstance(rule, limits.Rule)]
    assert all(rule.source.startswith("https://") for rule in rules)
    sent_by_the_recipe = {rule.code for rule, *_ in TABLE}
    assert {rule.code for rule in rules} - sent_by_the_recipe == {
        # Made by the project itself; the emulator's answers are tested below.
        "deployment_name",
        # Of the settings: tests/config/test_settings.py.
        "workspace_name",
        # Of a recipe and of the settings: there, and in tests/config/test_recipe.py.
        "owner_name",
        "job_name",
        "asset_version",
        "description",
    }


@pytest.mark.parametrize(("rule", "key", "field", "value", "taken"), ROWS)
def test_recipe_preflight_and_emulator_agree(
    rule: limits.Rule, key: str, field: str, value: Any, taken: bool, service: "Service"
) -> None:
    assert recipe_takes(key, value) == taken
    assert preflight_takes(rule, key, value) == taken
    assert service.takes(key, field, value) == taken


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/jobs/" + "a" * 256, {"properties": {}}, "name"),
        ("/jobs/-a", {"properties": {}}, "name"),
        ("/jobs/a", {"properties": {"jobType": "Pipeline", "description": "d" * 5001}}, "description"),
        ("/data/d/versions/" + "1" * 256, DATA, "version"),
        ("/data/d/versions/-1", DATA, "version"),
        ("/data/d.e/versions/1", DATA, "name"),
        ("/onlineEndpoints/limits-endpoint/deployments/a--b", {"properties": {}}, "name"),
        ("/onlineEndpoints/limits-endpoint/deployments/ab", {"properties": {}}, "name"),
    ],
)
def test_the_emulator_refuses_what_only_the_project_names(
    service: "Service", path: str, body: dict[str, Any], field: str
) -> None:
    assert service.refuses(path, body, field)


def recipe_takes(key: str, value: Any) -> bool:
    section, _, field = key.partition(".")
    try:
        Recipe.model_validate({"name": "limits", section: {field: value}})
    except ValidationError as error:
        return [".".join(map(str, each["loc"])) for each in error.errors()] != [key]
    return True


def preflight_takes(rule: limits.Rule, key: str, value: Any) -> bool:
    """Of a recipe that got past its own checks, as one that is made by code may."""
    section, _, field = key.partition(".")
    recipe = Recipe(name="limits")
    changed = getattr(recipe, section).model_copy(update={field: value})
    found = Findings()
    look_at_names(recipe.model_copy(update={section: changed}), found)
    assert {finding.code for finding in found.all} <= {rule.code}
    assert all(key in finding.in_words for finding in found.all)
    return not found.all


class Service:
    """The emulator, asked for things that would fail for another reason where the value is taken."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def takes(self, key: str, field: str, value: Any) -> bool:
        """What the emulator says of the value in the request that carries the recipe's key."""
        path, body = REQUESTS[key](value)
        return not self.refuses(path, body, field)

    def refuses(self, path: str, body: dict[str, Any], field: str) -> bool:
        """Whether the answer is 400 and names the field; anything else that is wrong is no answer to the question."""
        answer = self._client.put(path, json=body)
        assert answer.status_code in (400, 404), f"{answer.status_code} {answer.text}"
        return answer.status_code == 400 and f"'{field}" in answer.json()["error"]["message"]


def named(collection: str, name: str, rest: str = "") -> str:
    return f"/{collection}/{quote(name, safe='')}{rest}"


def job(**properties: Any) -> tuple[str, dict[str, Any]]:
    return "/jobs/limits", {"properties": {"jobType": "Nothing", **properties}}


def deployment(properties: dict[str, Any] | None = None, capacity: Any = 1) -> tuple[str, dict[str, Any]]:
    inner = {"instanceType": SIZE, "model": "azureml:no-such-model:1", **(properties or {})}
    body = {"location": "emulator", "sku": {"name": "Default", "capacity": capacity}, "properties": inner}
    return "/onlineEndpoints/limits-endpoint/deployments/blue", body


def cluster(name: str = "limits", **inner: Any) -> tuple[str, dict[str, Any]]:
    # Nodes without public addresses that have no network, and a tag that there cannot be.
    given = {"vmSize": SIZE, "scaleSettings": {"maxNodeCount": 1}, "enableNodePublicIp": False, **inner}
    properties = {"computeType": "AmlCompute", "properties": given}
    return named("computes", name), {"properties": properties, "tags": {"a/b": ""}}


def with_identity(request: tuple[str, dict[str, Any]], identity: str) -> tuple[str, dict[str, Any]]:
    kinds = {"none": {"type": "None"}, "system": {"type": "SystemAssigned"}}
    assigned = {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}
    return request[0], request[1] | {"identity": kinds.get(identity, assigned)}


def endpoint(name: str, **body: Any) -> tuple[str, dict[str, Any]]:
    return named("onlineEndpoints", name), {"properties": {"authMode": "Nobody"}, **body}


REQUESTS: dict[str, Callable[[Any], tuple[str, dict[str, Any]]]] = {
    "compute.name": cluster,
    "compute.max_nodes": lambda most: cluster(scaleSettings={"maxNodeCount": most}),
    "compute.identity": lambda identity: with_identity(cluster(), identity),
    "compute.subnet": lambda subnet: cluster(subnet={"id": subnet}),
    "serving.endpoint": endpoint,
    "serving.identity": lambda identity: with_identity(endpoint("limits"), identity),
    "serving.tags": lambda given: endpoint("limits", tags={**given, **tags(limits.RESOURCE_TAGS.own, "own")}),
    "serving.model_name": lambda name: (named("models", name, "/versions/1"), {"properties": {"modelType": "none"}}),
    "serving.instance_count": lambda count: deployment(capacity=count),
    "serving.request_timeout_seconds": lambda s: deployment({"requestSettings": {"requestTimeout": f"PT{s}S"}}),
    "rollout.mirror_percent": lambda percent: endpoint(
        "limits-endpoint", properties={"authMode": "Nobody", "mirrorTraffic": {"green": percent}}
    ),
    "finetune.experiment": lambda name: job(experimentName=name),
    "finetune.display_name": lambda name: job(displayName=name),
    "finetune.tags": lambda given: job(tags={**given, **tags(limits.JOB_TAGS.own, "own")}),
}
"""By the recipe's key: a request that has the value, and that is refused for another reason where it is taken."""


@pytest.fixture(scope="module")
def service(emulator: Connection) -> Iterator[Service]:
    with arm_client(emulator) as client:
        client.headers["x-azureml-token"] = token(emulator)
        body = {"location": "emulator", "properties": {"authMode": "Key"}}
        client.put("/onlineEndpoints/limits-endpoint", json=body).raise_for_status()
        yield Service(client)
        client.delete("/onlineEndpoints/limits-endpoint")
