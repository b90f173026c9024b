"""The management plane without the SDK: who may ask, how it refuses, how work in progress looks."""

import time
from collections.abc import Iterator

import httpx
import jwt
import pytest

from phi_assets.emulator.process import VERSION, Connection
from tests.emulator.http import arm_client, raw_client, token, workspace_path

SIZE = "Standard_NC24ads_A100_v4"


@pytest.fixture
def client(emulator: Connection) -> Iterator[httpx.Client]:
    with arm_client(emulator) as client:
        yield client


def cluster(**inner: object) -> dict:
    return {
        "location": "emulator",
        "properties": {"computeType": "AmlCompute", "properties": {"vmSize": SIZE, **inner}},
    }


def wait_for(client: httpx.Client, answer: httpx.Response) -> dict:
    """The final document of the operation that `answer` began."""
    url = answer.headers["azure-asyncoperation"]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        status = client.get(url)
        body = status.raise_for_status().json()
        if body["status"] in {"Succeeded", "Failed", "Canceled"}:
            return body
        assert status.headers["retry-after-ms"] == "200"
        time.sleep(0.05)
    raise AssertionError(f"{url} did not end")


def error(answer: httpx.Response) -> dict:
    body = answer.json()["error"]
    assert [entry["type"] for entry in body["additionalInfo"]][:5] == [
        "ComponentName",
        "Correlation",
        "Environment",
        "Location",
        "Time",
    ]
    assert answer.headers["x-ms-response-type"] == "error"
    return body


def test_health_tells_who_answers(emulator: Connection):
    with raw_client(emulator) as client:
        answer = client.get("/healthz").json()
    assert answer["version"] == VERSION
    assert len(answer["id"]) == 32


@pytest.mark.parametrize(
    "path",
    ["", "/computes", "/datastores/workspaceblobstore", "/data", "/models", "/environments", "/codes/x/versions"],
)
def test_nobody_gets_in_without_a_good_token(emulator: Connection, path: str):
    forged = jwt.encode({"aud": emulator.base_url, "exp": time.time() + 99}, "0" * 32)
    for authorization in ({}, {"Authorization": f"Bearer {forged}"}, {"Authorization": "Basic eDp5"}):
        with raw_client(emulator) as client:
            answer = client.get(workspace_path(emulator) + path, headers=authorization)
        assert answer.status_code == 401
        assert error(answer)["code"] in {"AuthenticationFailed", "InvalidAuthenticationToken"}


def test_a_storage_token_is_no_management_token(emulator: Connection):
    with raw_client(emulator) as client:
        client.headers["Authorization"] = f"Bearer {token(emulator, 'https://storage.azure.com')}"
        assert error(client.get(workspace_path(emulator)))["code"] == "InvalidAuthenticationTokenAudience"


def test_tokens_are_given_to_holders_of_the_identity_header_only(emulator: Connection):
    with raw_client(emulator) as client:
        ask = {"resource": emulator.base_url}
        assert client.get("/msi/token", params=ask).status_code == 401
        assert client.get("/msi/token", params=ask, headers={"X-IDENTITY-HEADER": "x"}).status_code == 401
        header = {"X-IDENTITY-HEADER": emulator.identity_header}
        assert client.get("/msi/token", params={"resource": "https://evil"}, headers=header).status_code == 400
        answer = client.get("/msi/token", params=ask, headers=header).json()
    assert answer["token_type"] == "Bearer"
    assert int(answer["expires_on"]) > time.time() + 3600


@pytest.mark.parametrize("what", ["subscriptions", "resourceGroups", "workspaces"])
def test_another_workspace_does_not_exist(emulator: Connection, client: httpx.Client, what: str):
    head, _, tail = workspace_path(emulator).partition(f"/{what}/")
    path = f"{head}/{what}/other{tail[tail.index('/') :] if '/' in tail else ''}"
    answer = client.get(emulator.base_url + path)
    codes = {"subscriptions": "SubscriptionNotFound", "resourceGroups": "ResourceGroupNotFound"}
    assert (answer.status_code, error(answer)["code"]) == (404, codes.get(what, "ResourceNotFound"))


def test_paths_are_matched_in_any_case(emulator: Connection, client: httpx.Client):
    path = workspace_path(emulator)
    assert client.get(emulator.base_url + path.lower()).status_code == 200
    assert client.get(emulator.base_url + path.upper() + "/DataStores/WorkspaceBlobStore").status_code == 200


def test_unknown_paths_and_methods_answer_json(client: httpx.Client):
    assert error(client.get("/nothing"))["code"] == "NotImplemented"
    answer = client.delete("/datastores")
    assert (answer.status_code, error(answer)["code"]) == (405, "MethodNotAllowed")
    answer = client.put("/computes/c", content=b"{broken")
    assert (answer.status_code, error(answer)["code"]) == (400, "UserError")
    for body in (b"", b"[]", b'{"properties": 1}'):
        assert client.put("/computes/c", content=body).status_code == 400


def test_a_compute_is_seen_creating(client: httpx.Client):
    answer = client.put("/computes/Slow-One", json=cluster(vmPriority="LowPriority", scaleSettings={"maxNodeCount": 2}))
    assert answer.status_code == 201
    assert answer.headers["azure-asyncoperation"].count("/computeOperationsStatus/") == 1
    assert "location" not in answer.headers
    body = client.get("/computes/slow-one").json()
    assert (body["name"], body["properties"]["provisioningState"]) == ("Slow-One", "Creating")
    assert body["properties"]["properties"]["allocationState"] == "Resizing"
    # The same request again, as the SDK sends it when an answer was lost.
    again = client.put("/computes/slow-one", json=cluster(vmPriority="LowPriority", scaleSettings={"maxNodeCount": 2}))
    assert again.status_code == 200
    busy = client.delete("/computes/slow-one")
    assert (busy.status_code, error(busy)["code"]) == (409, "ComputeInTransition")
    assert wait_for(client, answer)["status"] == "Succeeded"
    wait_for(client, again)
    properties = client.get("/computes/slow-one").json()["properties"]
    assert properties["provisioningState"] == "Succeeded"
    assert properties["properties"]["vmSize"] == SIZE.upper()
    assert properties["properties"]["vmPriority"] == "LowPriority"
    assert properties["properties"]["allocationState"] == "Steady"


def test_a_compute_is_changed_and_deleted(client: httpx.Client):
    wait_for(client, client.put("/computes/changing", json=cluster()))
    scale = {"properties": {"properties": {"scaleSettings": {"minNodeCount": 1, "maxNodeCount": 3}}}}
    wait_for(client, client.patch("/computes/changing", json=scale))
    inner = client.get("/computes/changing").json()["properties"]["properties"]
    assert inner["scaleSettings"] == {"minNodeCount": 1, "maxNodeCount": 3, "nodeIdleTimeBeforeScaleDown": "PT2M"}
    assert inner["currentNodeCount"] == 1
    other_size = client.put("/computes/changing", json=cluster(vmSize="Standard_NC6s_v3"))
    assert (other_size.status_code, error(other_size)["code"]) == (400, "UserError")
    gone = client.delete("/computes/changing", params={"underlyingResourceAction": "Delete"})
    assert (gone.status_code, gone.content) == (202, b"")
    wait_for(client, gone)
    assert client.get("/computes/changing").status_code == 404


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("good-name", cluster(vmSize="Standard_Nothing")),
        ("good-name", cluster(vmSize=None)),
        ("good-name", cluster(vmPriority="Spot")),
        ("good-name", cluster(scaleSettings={"maxNodeCount": -1})),
        ("good-name", cluster(scaleSettings={"minNodeCount": 3, "maxNodeCount": 2})),
        ("good-name", cluster(scaleSettings={"nodeIdleTimeBeforeScaleDown": "soon"})),
        ("good-name", {"properties": {"computeType": "Kubernetes", "properties": {}}}),
        ("bad_name", cluster()),
        ("a", cluster()),
        ("a" * 33, cluster()),
        ("1abc", cluster()),
        ("abc-", cluster()),
    ],
)
def test_computes_that_cannot_be(client: httpx.Client, name: str, body: dict):
    answer = client.put(f"/computes/{name}", json=body)
    assert (answer.status_code, error(answer)["code"]) == (400, "UserError")
    assert client.get(f"/computes/{name}").status_code == 404


def data_version(uri: str = "azureml://datastores/workspaceblobstore/paths/d/f.jsonl", **more: object) -> dict:
    return {"properties": {"dataUri": uri, "dataType": "uri_file", **more}}


def test_data_versions_are_immutable(client: httpx.Client):
    created = client.put("/data/facts/versions/1", json=data_version(tags={"a": "b"}))
    assert created.status_code == 201
    assert created.json()["properties"]["dataUri"].startswith("azureml://subscriptions/")
    assert client.put("/data/facts/versions/1", json=data_version(tags={"a": "c"})).status_code == 200
    assert client.get("/data/facts/versions/1").json()["properties"]["tags"] == {"a": "c"}
    for other in (
        data_version("azureml://datastores/workspaceblobstore/paths/d/g.jsonl"),
        data_version() | {"properties": data_version()["properties"] | {"dataType": "uri_folder"}},
    ):
        answer = client.put("/data/facts/versions/1", json=other)
        assert (answer.status_code, error(answer)["code"]) == (400, "UserError")
    assert client.get("/data/facts/versions/1").json()["properties"]["dataUri"].endswith("/paths/d/f.jsonl")


def test_the_uri_of_a_folder_ends_in_a_slash(client: httpx.Client):
    """The test of the SDK says so: `data.path` of a folder ends in `/`, however it was sent."""
    for version, end in (("1", ""), ("2", "/")):
        body = data_version(f"azureml://datastores/workspaceblobstore/paths/d/folder{end}", dataType="uri_folder")
        made = client.put(f"/data/folders/versions/{version}", json=body).json()
        assert made["properties"]["dataUri"].endswith("/paths/d/folder/")
        # The same again, with and without, is no change.
        body["properties"]["dataUri"] = "azureml://datastores/workspaceblobstore/paths/d/folder"
        assert client.put(f"/data/folders/versions/{version}", json=body).status_code == 200


def test_latest_is_the_one_created_last(client: httpx.Client):
    for version in ("7", "hash-abc", "3"):
        client.put(f"/data/ordered/versions/{version}", json=data_version())
    container = client.get("/data/ordered").json()["properties"]
    assert (container["latestVersion"], container["nextVersion"], container["dataType"]) == ("3", "8", "uri_file")
    listed = client.get("/data/ordered/versions", params={"$orderBy": "createdtime desc", "$top": "1"}).json()["value"]
    assert [entry["name"] for entry in listed] == ["3"]
    oldest = client.get("/data/ordered/versions", params={"$orderBy": "createdtime asc"}).json()["value"]
    assert [entry["name"] for entry in oldest] == ["7", "hash-abc", "3"]


def test_archived_versions_are_listed_when_asked_for(client: httpx.Client):
    client.put("/data/archive/versions/1", json=data_version())
    client.put("/data/archive/versions/2", json=data_version())
    client.put("/data/archive/versions/2", json=data_version(isArchived=True))

    def names(view: str) -> list[str]:
        listed = client.get("/data/archive/versions", params={"listViewType": view}).json()["value"]
        return [entry["name"] for entry in listed]

    assert (names("ActiveOnly"), names("ArchivedOnly"), names("All")) == (["1"], ["2"], ["2", "1"])


def test_missing_assets(client: httpx.Client):
    for path, detail in (
        ("models", "ModelNotFound"),
        ("data", "DataNotFound"),
        ("environments", "EnvironmentNotFound"),
    ):
        for url in (f"/{path}/missing", f"/{path}/missing/versions/1"):
            body = error(client.get(url))
            assert (body["code"], body["details"][0]["code"]) == ("UserError", detail)
        assert client.get(f"/{path}/missing/versions").json() == {"value": []}
        assert client.delete(f"/{path}/missing/versions/1").status_code == 204


@pytest.mark.parametrize("name", ["bad name", "-x", "x" * 256, "a:b"])
def test_asset_names_that_cannot_be(client: httpx.Client, name: str):
    assert client.put(f"/data/{name}/versions/1", json=data_version()).status_code == 400


@pytest.mark.parametrize(
    ("uri", "status", "code"),
    [
        ("azureml://jobs/no-such-job/outputs/trained_model", 404, "UserError"),
        ("azureml://datastores/workspaceblobstore/paths/nothing/here", 400, "UserError"),
        ("azureml://datastores/unknown/paths/x", 404, "ResourceNotFound"),
        ("azureml://datastores/workspaceblobstore/paths/../../x", 400, "InvalidUri"),
        ("", 400, "UserError"),
        ("runs:/no-such-run/model", 404, "UserError"),
    ],
)
def test_models_without_files(client: httpx.Client, uri: str, status: int, code: str):
    body = {"properties": {"modelType": "mlflow_model", "modelUri": uri}}
    answer = client.put("/models/ghost/versions/1", json=body)
    assert (answer.status_code, error(answer)["code"]) == (status, code)
    assert client.get("/models/ghost/versions/1").status_code == 404


@pytest.mark.parametrize("parameter", ["$top", "$skip"])
@pytest.mark.parametrize("number", ["-1", "x", "\N{SUPERSCRIPT TWO}"])
def test_a_page_is_asked_for_by_numbers(client: httpx.Client, parameter: str, number: str):
    answer = client.get("/jobs", params={parameter: number})
    assert (answer.status_code, error(answer)["code"]) == (400, "UserError")


@pytest.mark.parametrize("version", ["v1", "0", "01", "-1", "1.0"])
def test_the_version_of_a_model_is_a_positive_integer(client: httpx.Client, version: str):
    body = {"properties": {"modelUri": "azureml://datastores/workspaceblobstore/paths/nothing"}}
    answer = client.put(f"/models/numbered/versions/{version}", json=body)
    assert answer.status_code == 400
    assert "must be a positive integer" in answer.json()["error"]["message"]


def test_environments_keep_their_definition(client: httpx.Client):
    body = {"properties": {"image": "mcr.microsoft.com/x:1", "condaFile": "name: e\ndependencies: [python=3.11]\n"}}
    first = client.put("/environments/env/versions/1", json=body)
    assert first.status_code == 201
    assert first.json()["properties"]["condaFile"].startswith("{")
    again = client.put("/environments/env/versions/1", json=body)
    assert again.status_code == 201  # as recorded
    assert again.json()["systemData"]["createdAt"] == first.json()["systemData"]["createdAt"]
    other = client.put("/environments/env/versions/1", json={"properties": {"image": "mcr.microsoft.com/x:2"}})
    assert other.status_code == 409


@pytest.mark.parametrize(
    ("method", "path", "named"),
    [
        ("GET", "{workspace}/schedules", "/schedules"),
        ("GET", "{workspace}/batchEndpoints/some", "/batchEndpoints/some"),
        ("PUT", "{workspace}/datastores/workspaceblobstore", "/datastores/workspaceblobstore"),
        ("PUT", "{workspace}", "PUT"),
        ("POST", "/mlflow/v1.0{workspace}/api/2.0/mlflow/runs/create", "/api/2.0/mlflow/runs/create"),
        ("GET", "/history/v1.0{workspace}/experiments", "/experiments"),
        ("GET", "/subscriptions/{subscription}/locations", "/locations"),
        ("GET", "/subscriptions/{subscription}/providers/Microsoft.Compute/skus", "Microsoft.Compute/skus"),
    ],
)
def test_what_is_not_built_says_so_and_is_no_404(
    emulator: Connection, client: httpx.Client, method: str, path: str, named: str
):
    """A 404 would be taken for something that is not there yet."""
    url = path.format(workspace=workspace_path(emulator), subscription=emulator.subscription_id)
    answer = client.request(method, emulator.base_url + url, json={})
    assert (answer.status_code, error(answer)["code"]) == (501, "NotImplemented")
    assert named in error(answer)["message"]
    assert error(client.get(emulator.base_url + "/favicon.ico"))["code"] == "ResourceNotFound"
