"""Run history and MLflow over the raw interface: what a job leaves behind, while it runs and afterwards."""

import json
from datetime import datetime
from typing import Any

import httpx
import pytest

from phi_assets.emulator.runner.metrics import latest, read_metrics
from tests.emulator.http import raw_client, workspace_path
from tests.emulator.jobs import FILE, Jobs
from tests.emulator.testing_registry import FAIL, TWO_COPIES, WAIT, data, literal, pipeline

JOB = "history-job"
EXECUTION_LOG = "logs/azureml/executionlogs.txt"


@pytest.fixture(scope="module")
def group(jobs: Jobs) -> dict[str, Any]:
    """The pipeline node of a completed job of two steps."""
    node = {
        "type": "pipeline",
        "componentId": TWO_COPIES,
        "inputs": {"source": data(FILE), "suffix": literal("!")},
        "outputs": {"result": {"type": "literal", "value": "${{parent.outputs.answer}}"}},
    }
    properties = pipeline(pair=node) | {"outputs": {"answer": {"jobOutputType": "mlflow_model"}}, "tags": {"a": "b"}}
    jobs.submitted(JOB, properties | {"displayName": "two copies", "experimentName": "history"})
    assert jobs.ended(JOB) == "Completed"
    (group,) = jobs.children(JOB)
    return group


@pytest.fixture(scope="module")
def steps(jobs: Jobs, group: dict[str, Any]) -> list[dict[str, Any]]:
    return jobs.children(group["runId"])


def query(jobs: Jobs, experiment: str = "experiments/history", **body: Any) -> httpx.Response:
    return jobs.history(f"{experiment}/runs:query", "POST", json=body)


def mlflow(jobs: Jobs, call: str, method: str = "GET", **options: Any) -> httpx.Response:
    resource = f"{jobs.emulator.base_url}{workspace_path(jobs.emulator)}"
    uri = jobs.client.get(resource).raise_for_status().json()["properties"]["mlFlowTrackingUri"]
    assert (
        uri == f"azureml://{jobs.emulator.base_url.removeprefix('https://')}/mlflow/v1.0{workspace_path(jobs.emulator)}"
    )
    return jobs.client.request(method, f"{uri.replace('azureml:', 'https:')}/api/2.0/mlflow/{call}", **options)


class TestQueries:
    """`runs:query`, as azureml-core asks it."""

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            (f"RootRunId eq {JOB}", ["second", "first", "pair", "two copies"]),
            (f"RunId eq {JOB} or RunId eq nobody", ["two copies"]),
            (f"RootRunId eq '{JOB}' and (ParentRunId eq null)", ["two copies"]),
            (
                f"RootRunId eq {JOB} and RunId ne {JOB} and (Status eq Failed or Status eq Completed)",
                ["second", "first", "pair"],
            ),
            (f"RootRunId eq nobody and RunId eq x or RunId eq {JOB}", ["two copies"]),
            ("RunId eq nobody", []),
        ],
    )
    def test_the_newest_runs_that_the_filter_asks_for_come_first(
        self, jobs: Jobs, group, text: str, names: list[str]
    ) -> None:
        answer = query(jobs, filter=text).raise_for_status().json()
        assert [run["displayName"] for run in answer["value"]] == names
        assert answer["continuationToken"] is None

    def test_the_experiment_has_a_name_and_an_id(self, jobs: Jobs, group) -> None:
        experiment = jobs.history(f"runs/{JOB}").json()["experimentId"]
        found = query(jobs, f"experimentids/{experiment}", filter=f"RunId eq {JOB}").json()["value"]
        assert found == [jobs.history(f"runs/{JOB}").json()]
        assert query(jobs, "experiments/nobody").status_code == 404

    def test_a_long_answer_comes_in_pieces(self, jobs: Jobs, group) -> None:
        names, token = [], None
        while True:
            page = query(jobs, filter=f"RootRunId eq {JOB}", top=3, continuationToken=token).json()
            names.append([run["displayName"] for run in page["value"]])
            token = page["continuationToken"]
            if token is None:
                break
        assert names == [["second", "first", "pair"], ["two copies"]]

    @pytest.mark.parametrize(
        "text",
        [
            "RunId",
            "RunId eq",
            "RunId gt a",
            "Tags/a eq b",
            "(RunId eq a",
            "RunId eq a)",
            "RunId eq a RunId eq b",
            "RunId eq 'a",
            " or ".join(["RunId eq a"] * 51),
            "(" * 5000,
        ],
    )
    def test_what_is_not_understood_is_refused(self, jobs: Jobs, group, text: str) -> None:
        answer = query(jobs, filter=text)
        assert answer.status_code == 400
        assert "filter" in answer.json()["error"]["message"].lower()


class TestRuns:
    def test_the_jobs_own_run(self, jobs: Jobs, group) -> None:
        run = jobs.run(JOB)
        assert (run["status"], run["rootRunId"], run["parentRunId"]) == ("Completed", JOB, None)
        assert run["tags"] == {"a": "b"}
        assert list(run["logFiles"]) == [EXECUTION_LOG]
        times = [datetime.fromisoformat(run[key]) for key in ("createdTimeUtc", "startTimeUtc", "endTimeUtc")]
        assert times == sorted(times)
        assert run["outputs"]["answer"]["type"] == "uri_folder"

    def test_the_pipeline_node_and_its_steps(self, jobs: Jobs, group, steps) -> None:
        assert (group["displayName"], group["parentRunId"], group["rootRunId"]) == ("pair", JOB, JOB)
        assert [step["displayName"] for step in steps] == ["first", "second"]
        for step in steps:
            assert (step["parentRunId"], step["rootRunId"], step["status"]) == (group["runId"], JOB, "Completed")
            assert (step["target"], step["compute"]) == ("serverless", None)
            assert step["parameters"]["suffix"] == "!"
            assert step["properties"]["azureml.moduleid"].endswith("copy_file/versions/1")
        assert jobs.log(steps[0]["runId"]).strip() == "copied 6 characters"

    def test_every_change_of_state_is_one_line_of_the_execution_log(self, jobs: Jobs, steps) -> None:
        lines = jobs.log(JOB, EXECUTION_LOG).splitlines()
        moves = [line.rpartition(": ")[2] for line in lines if f"({steps[0]['runId']}):" in line]
        assert moves == [
            "NotStarted -> Queued",
            "Queued -> Preparing",
            "Preparing -> Starting",
            "Starting -> Running",
            "Running -> Finalizing",
            "Finalizing -> Completed",
        ]
        assert [line.rpartition(": ")[2] for line in lines if "Pipeline: " in line] == [
            "NotStarted -> Preparing",
            "Preparing -> Running",
            "Running -> Finalizing",
            "Finalizing -> Completed",
        ]

    def test_children_come_in_pages_if_there_are_many(self, jobs: Jobs) -> None:
        nodes = {f"n{number:02}": {"componentId": FAIL, "inputs": {}} for number in range(3)}
        jobs.submitted("history-three", pipeline(**nodes) | {"settings": {"continue_on_step_failure": True}})
        assert jobs.ended("history-three") == "Failed"
        names = [child["displayName"] for child in jobs.children("history-three")]
        assert sorted(names) == ["n00", "n01", "n02"]
        top = jobs.history("runs/history-three/children", params={"$top": "2"}).json()
        assert [child["displayName"] for child in top["value"]] == names[:2]
        assert "failed steps" in jobs.run("history-three")["error"]["error"]["message"]

    def test_run_data_leads_to_the_outputs(self, jobs: Jobs, group) -> None:
        found = (
            jobs.history("rundata", "POST", json={"runId": JOB, "selectRunMetadata": True}).raise_for_status().json()
        )
        asset_id = found["runMetadata"]["outputs"]["answer"]["assetId"]
        assert found["runDefinition"]["Outputs"]["answer"]["Uri"] is None
        url = f"{jobs.emulator.base_url}/data/v1.0{workspace_path(jobs.emulator)}/dataversion/batchGetResolvedUris"
        uris = (
            jobs.client.post(url, json={"values": [asset_id, "azureml://nothing"]}).raise_for_status().json()["values"]
        )
        assert list(uris) == [asset_id]
        assert uris[asset_id]["uri"].endswith("/target/")

    def test_intermediate_outputs_lie_under_the_steps_run(self, jobs: Jobs, steps) -> None:
        folder = jobs.emulator.directory / "blobs" / "azureml-blobstore" / "azureml" / steps[0]["runId"] / "target"
        assert (folder / "copied.txt").read_text() == "hello!"

    def test_a_log_url_opens_only_that_log(self, jobs: Jobs, steps) -> None:
        url = jobs.run(JOB)["logFiles"][EXECUTION_LOG]
        other = url.replace(JOB, steps[0]["runId"]).replace(EXECUTION_LOG, "user_logs/std_log.txt")
        with raw_client(jobs.emulator) as client:
            assert client.get(url).status_code == 200
            assert client.get(other).status_code == 403
            assert client.put(url, content=b"x", headers={"x-ms-blob-type": "BlockBlob"}).status_code == 403

    def test_a_step_cannot_be_changed_and_an_unknown_run_is_not_found(self, jobs: Jobs, steps) -> None:
        assert jobs.history(f"runs/{steps[0]['runId']}", "PATCH", json={"displayName": "x"}).status_code == 400
        unknown = jobs.history("runs/nobody/details")
        assert unknown.status_code == 404
        assert "nobody" in unknown.json()["error"]["message"]

    def test_a_running_step_shows_its_log_and_its_states(self, jobs: Jobs) -> None:
        jobs.submitted("history-running", pipeline(wait={"componentId": WAIT, "inputs": {}}))
        step = jobs.running_step("history-running")
        assert jobs.status("history-running") == "Running"
        assert jobs.run(step["runId"])["status"] == "Running"
        assert jobs.run(step["runId"])["endTimeUtc"] is None
        assert jobs.log(step["runId"]).endswith("waiting\n")
        assert mlflow(jobs, "runs/get", params={"run_id": step["runId"]}).json()["run"]["info"]["status"] == "RUNNING"
        jobs.client.post("/jobs/history-running/cancel").raise_for_status()
        assert jobs.ended("history-running") == "Canceled"
        assert mlflow(jobs, "runs/get", params={"run_id": step["runId"]}).json()["run"]["info"]["status"] == "KILLED"


class TestMetrics:
    def test_a_step_has_its_own(self, jobs: Jobs, steps) -> None:
        run = mlflow(jobs, "runs/get", params={"run_id": steps[0]["runId"]}).raise_for_status().json()["run"]
        (metric,) = run["data"]["metrics"]
        assert (metric["key"], metric["value"], metric["step"]) == ("loss", 1.0, 2)
        assert {"key": "suffix", "value": "!"} in run["data"]["params"]
        tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
        assert (tags["mlflow.rootRunId"], tags["mlflow.runName"]) == (JOB, "first")
        assert run["info"]["status"] == "FINISHED"
        assert run["info"]["end_time"] >= run["info"]["start_time"]

    def test_the_history_of_a_metric(self, jobs: Jobs, steps) -> None:
        asked = {"run_id": steps[1]["runId"], "metric_key": "loss"}
        points = mlflow(jobs, "metrics/get-history", params=asked).raise_for_status().json()["metrics"]
        assert [(point["step"], point["value"]) for point in points] == [(0, 3.0), (1, 2.0), (2, 1.0)]
        first = mlflow(jobs, "metrics/get-history", params=asked | {"max_results": "2"}).json()
        rest = mlflow(
            jobs, "metrics/get-history", params=asked | {"max_results": "2", "page_token": first["next_page_token"]}
        ).json()
        assert first["metrics"] + rest["metrics"] == points
        assert "next_page_token" not in rest

    def test_the_job_and_the_node_have_those_of_their_steps(self, jobs: Jobs, group) -> None:
        for run_id in (JOB, group["runId"]):
            points = mlflow(jobs, "metrics/get-history", params={"run_id": run_id, "metric_key": "loss"}).json()[
                "metrics"
            ]
            assert len(points) == 6
        assert len(jobs.history(f"runs/{JOB}/metrics").raise_for_status().json()["value"][0]["value"]) == 6

    def test_runs_are_found_by_their_root(self, jobs: Jobs, steps) -> None:
        experiment = mlflow(jobs, "experiments/get-by-name", params={"experiment_name": "history"}).json()["experiment"]
        wanted = {"filter": f"tags.mlflow.rootRunId='{JOB}'", "experiment_ids": [experiment["experiment_id"]]}
        runs = mlflow(jobs, "runs/search", "POST", json=wanted).raise_for_status().json()["runs"]
        assert {run["info"]["run_name"] for run in runs} == {"two copies", "pair", "first", "second"}
        named = {"filter": f"tags.`mlflow.rootRunId` = \"{JOB}\" and attributes.run_name != 'pair'", "max_results": 2}
        page = mlflow(jobs, "runs/search", "POST", json=named).json()
        assert len(page["runs"]) == 2
        assert page["next_page_token"] == "2"

    def test_runs_are_found_by_their_ids(self, jobs: Jobs, steps) -> None:
        ids = ", ".join(f"'{run_id}'" for run_id in (JOB, steps[0]["runId"], "nobody"))
        wanted = {"filter": f"attributes.run_id IN ({ids})"}
        runs = mlflow(jobs, "runs/search", "POST", json=wanted).raise_for_status().json()["runs"]
        assert {run["info"]["run_id"] for run in runs} == {JOB, steps[0]["runId"]}
        assert {metric["key"] for metric in runs[0]["data"]["metrics"]} == {"loss"}
        too_many = {"filter": f"attributes.run_id IN ({', '.join(['ids'.join(chr(39) * 2)] * 51)})"}
        assert mlflow(jobs, "runs/search", "POST", json=too_many).status_code == 400

    def test_the_experiment_is_found_by_its_name(self, jobs: Jobs, group) -> None:
        found = mlflow(jobs, "experiments/get-by-name", params={"experiment_name": "history"}).raise_for_status().json()
        assert found["experiment"]["name"] == "history"
        assert found["experiment"]["experiment_id"] == jobs.history(f"runs/{JOB}").json()["experimentId"]

    @pytest.mark.parametrize(
        ("call", "method", "options", "status", "code"),
        [
            ("runs/get", "GET", {"params": {"run_id": "nobody"}}, 404, "RESOURCE_DOES_NOT_EXIST"),
            ("metrics/get-history", "GET", {"params": {"run_id": "nobody"}}, 404, "RESOURCE_DOES_NOT_EXIST"),
            ("metrics/get-history", "GET", {"params": {"run_id": JOB}}, 400, "INVALID_PARAMETER_VALUE"),
            ("runs/search", "POST", {"json": {"filter": "metrics.loss < 1"}}, 400, "INVALID_PARAMETER_VALUE"),
            ("runs/search", "POST", {"json": {"max_results": 0.5}}, 400, "INVALID_PARAMETER_VALUE"),
            ("experiments/get", "GET", {"params": {"experiment_id": "0"}}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ],
    )
    def test_refusals(self, jobs: Jobs, group, call: str, method: str, options: dict, status: int, code: str) -> None:
        answer = mlflow(jobs, call, method, **options)
        assert (answer.status_code, answer.json()["error_code"]) == (status, code)


class TestMetricsFile:
    def test_a_line_that_is_being_written_is_left(self, tmp_path) -> None:
        path = tmp_path / "metrics.jsonl"
        line = json.dumps({"name": "loss", "value": 1.5, "step": 1, "timestamp": 1_700_000_000.5})
        path.write_text(line + "\n" + line[:20])
        (point,) = read_metrics(path)
        assert (point.value, point.timestamp) == (1.5, 1_700_000_000_500)

    def test_milliseconds_are_kept_and_nonsense_is_left_out(self, tmp_path, caplog) -> None:
        path = tmp_path / "metrics.jsonl"
        good = json.dumps({"name": "loss", "value": "nan", "step": None, "timestamp": 1_700_000_000_500})
        path.write_text("not json\n" + good + "\n[]\n")
        (point,) = read_metrics(path)
        assert point.timestamp == 1_700_000_000_500
        assert not point.is_finite
        assert "line 1" in caplog.text
        assert "line 3" in caplog.text

    def test_the_latest_is_that_of_the_highest_step(self, tmp_path) -> None:
        path = tmp_path / "metrics.jsonl"
        lines = [{"name": "a", "value": step, "step": step, "timestamp": 1e9} for step in (1, 3, 2)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert [point.step for point in latest(read_metrics(path))] == [3]
