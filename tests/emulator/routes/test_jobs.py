"""Jobs on the management plane, over the raw interface: submission, refusals, changes, lists, cancellation, failure."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from phi_assets.emulator.runner.steps import step_environment
from phi_assets.emulator.store.state import Store
from tests.emulator.http import raw_client, token
from tests.emulator.jobs import FILE, Jobs, until
from tests.emulator.testing_registry import COPY, FAIL, NESTED, TWO_COPIES, WAIT, data, literal, pipeline


def copying(suffix: str = "!", **more) -> dict:
    """A job that ends within a second."""
    node = {
        "type": "command",
        "componentId": COPY,
        "inputs": {"source": data(FILE), "suffix": literal(suffix)},
        "outputs": {"target": {"type": "literal", "value": "${{parent.outputs.answer}}"}},
    }
    return pipeline(copy=node) | {"outputs": {"answer": {"jobOutputType": "uri_folder"}}} | more


def waiting(seconds: float = 60, **inputs) -> dict:
    return pipeline(
        wait={"type": "command", "componentId": WAIT, "inputs": {"seconds": literal(str(seconds)), **inputs}}
    )


def error_of(response: httpx.Response) -> dict:
    return response.json()["error"]


def inner_codes(error: dict) -> list[str]:
    value = next(info["info"]["value"] for info in error["additionalInfo"] if info["type"] == "InnerError")
    codes = []
    while value:
        codes.append(value["code"])
        value = value.get("innerError")
    return codes


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def target_of(jobs: Jobs, run_id: str) -> Path:
    """Where a step has written its output `target`, unless it was told a place."""
    return jobs.emulator.directory / "blobs" / "azureml-blobstore" / "azureml" / run_id / "target"


class TestSubmission:
    def test_the_answer_has_what_the_service_sends(self, jobs: Jobs) -> None:
        response = jobs.put("api-answer", copying(tags={"a": "b"}, displayName="shown"))
        assert response.status_code == 201
        body = response.json()
        assert body["id"].endswith("/jobs/api-answer")
        properties = body["properties"]
        assert properties["status"] == "NotStarted"
        assert properties["jobType"] == "Pipeline"
        studio = properties["services"]["Studio"]["endpoint"]
        assert studio.startswith(f"{jobs.emulator.studio_url}/runs/api-answer?wsid=/subscriptions/")
        assert properties["outputs"]["answer"]["jobOutputType"] == "uri_folder"
        assert properties["outputs"]["answer"]["uri"] is None
        assert isinstance(properties["properties"], dict)
        assert "lastModifiedAt" not in body["systemData"]
        assert jobs.ended("api-answer") == "Completed"
        # As recorded: no uri, and the output lies under the run of its step, by its component's own name for it.
        assert jobs.get("api-answer")["properties"]["outputs"]["answer"]["uri"] is None
        (step,) = jobs.children("api-answer")
        assert (target_of(jobs, step["runId"]) / "copied.txt").read_text() == "hello!"

    def test_an_output_lies_where_the_request_says(self, jobs: Jobs) -> None:
        uri = "azureml://datastores/workspaceblobstore/paths/chosen/place/"
        chosen = {"outputs": {"answer": {"jobOutputType": "uri_folder", "uri": uri}}}
        jobs.submitted("api-chosen", copying() | chosen)
        assert jobs.ended("api-chosen") == "Completed"
        assert jobs.get("api-chosen")["properties"]["outputs"]["answer"]["uri"] == uri
        folder = jobs.emulator.directory / "blobs" / "azureml-blobstore" / "chosen" / "place"
        assert (folder / "copied.txt").read_text() == "hello!"

    def test_the_same_request_again_changes_nothing(self, jobs: Jobs) -> None:
        jobs.submitted("api-again", copying())
        assert jobs.ended("api-again") == "Completed"
        again = jobs.put("api-again", copying())
        assert again.status_code == 200
        assert again.json()["properties"]["status"] == "Completed"
        assert len(jobs.children("api-again")) == 1

    def test_a_job_that_was_read_can_be_sent_back(self, jobs: Jobs) -> None:
        jobs.submitted("api-sent-back", copying())
        assert jobs.ended("api-sent-back") == "Completed"
        assert jobs.put("api-sent-back", jobs.get("api-sent-back")["properties"]).status_code == 200

    def test_another_content_under_the_same_name_is_refused(self, jobs: Jobs) -> None:
        jobs.submitted("api-other", copying())
        refused = jobs.put("api-other", copying(suffix="?"))
        assert refused.status_code == 400
        error = error_of(refused)
        assert error["code"] == "UserError"
        assert error["message"].startswith("A job with this name already exists")
        assert "jobs" in error["message"]
        assert inner_codes(error) == ["Immutable", "JobPropertyImmutable"]

    def test_description_tags_and_names_may_change(self, jobs: Jobs) -> None:
        jobs.submitted("api-changed", copying(tags={"a": "1"}, displayName="before"))
        wanted = copying(tags={"b": "2"}, displayName="after", description="text", properties={"own": "1"})
        changed = jobs.put("api-changed", wanted)
        assert changed.status_code == 200
        properties = jobs.get("api-changed")["properties"]
        assert (properties["tags"], properties["displayName"], properties["description"]) == (
            {"b": "2"},
            "after",
            "text",
        )
        assert properties["properties"]["own"] == "1"
        assert jobs.run("api-changed")["tags"] == {"b": "2"}

    def test_of_two_at_once_one_creates(self, jobs: Jobs) -> None:
        with ThreadPoolExecutor(4) as pool:
            codes = sorted(
                answer.status_code for answer in pool.map(lambda _: jobs.put("api-race", copying()), range(4))
            )
        assert codes == [200, 200, 200, 201]
        assert jobs.ended("api-race") == "Completed"
        assert len(jobs.children("api-race")) == 1

    @pytest.mark.parametrize(
        ("properties", "status", "words"),
        [
            (copying() | {"jobType": "Nonsense"}, 400, ["Nonsense", "Pipeline", "Command"]),
            (copying() | {"jobType": "Command"}, 400, ["empty command"]),
            (copying() | {"jobs": ["a"]}, 400, ["'properties.jobs'", "object"]),
            (copying() | {"outputs": 1}, 400, ["'properties.outputs'", "object"]),
            (copying() | {"tags": "a"}, 400, ["'properties.tags'", "object"]),
            (pipeline(n={"componentId": COPY, "inputs": []} | {"outputs": "x"}), 400, ["'inputs'", "object"]),
            (pipeline(n="x"), 400, ["object"]),
            (pipeline(**{"n/../x": {"componentId": COPY}}), 400, ["n/../x"]),
            (pipeline(), 400, ["no nodes"]),
            (pipeline(n={"componentId": COPY.replace("/1", "/7")}), 404, ["copy_file:7"]),
            (pipeline(n={"componentId": COPY}), 400, ["'source'", "required"]),
            (copying(tags={str(number): "" for number in range(51)}), 400, ["50 tags"]),
            (copying(computeId="nobody"), 400, ["'nobody'"]),
        ],
    )
    def test_a_bad_job_is_refused_and_leaves_nothing(
        self, jobs: Jobs, properties: dict, status: int, words: list[str]
    ) -> None:
        refused = jobs.put("api-bad", properties)
        assert refused.status_code == status
        assert all(word in error_of(refused)["message"] for word in words)
        assert [info["type"] for info in error_of(refused)["additionalInfo"]][:1] == ["ComponentName"]
        assert jobs.client.get("/jobs/api-bad").status_code == 404

    @pytest.mark.parametrize("name", ["-start", "a.b", "a" * 257])
    def test_a_malformed_name_is_refused(self, jobs: Jobs, name: str) -> None:
        refused = jobs.put(name, copying())
        assert refused.status_code == 400
        assert name in error_of(refused)["message"]

    def test_a_pipeline_needs_its_users_token(self, jobs: Jobs) -> None:
        assert jobs.put("api-token", copying(), x_azureml_token="").status_code == 401
        foreign = token(jobs.emulator, "https://storage.azure.com")
        assert jobs.put("api-token", copying(), x_azureml_token=foreign).status_code == 401
        assert jobs.client.get("/jobs/api-token").status_code == 404

    def test_no_bearer_no_answer(self, jobs: Jobs) -> None:
        with raw_client(jobs.emulator) as stranger:
            assert stranger.get(f"{jobs.client.base_url}jobs").status_code == 401
            assert stranger.get(jobs.history("runs/x/details").request.url).status_code == 401


class TestLists:
    def test_lists_come_in_pages_newest_first(self, jobs: Jobs) -> None:
        for number in range(3):
            jobs.submitted(f"api-list-{number}", copying(tags={"listed": str(number), "all": "x"}))
        names = [job["name"] for job in jobs.client.get("/jobs", params={"tag": "all"}).json()["value"]]
        assert names == ["api-list-2", "api-list-1", "api-list-0"]
        one = jobs.client.get("/jobs", params={"tag": "listed=1"}).json()
        assert [job["name"] for job in one["value"]] == ["api-list-1"]
        assert "nextLink" not in one

    def test_the_next_page_follows(self, jobs: Jobs) -> None:
        # Enough jobs for two pages, written down instead of run: fifty runs would take a minute.
        template = jobs.get(jobs.submitted("api-page-template", copying()))["properties"]
        assert jobs.ended("api-page-template") == "Completed"
        store = Store(jobs.emulator.directory / "state.sqlite")
        for number in range(60):
            properties = template | {"tags": {"paged": "x"}}
            job = {
                "name": f"api-page-{number:02}",
                "properties": properties,
                "status": "Completed",
                "created": "2026-01-01",
            }
            store.create("job", job["name"], job | {"submitted": {}, "run_id": job["name"]})
        first = jobs.client.get("/jobs", params={"tag": "paged"}).json()
        second = jobs.client.get(first["nextLink"]).json()
        names = [job["name"] for job in first["value"] + second["value"]]
        assert names == [f"api-page-{number:02}" for number in reversed(range(60))]
        assert "nextLink" not in second

    def test_archived_jobs_are_left_out_unless_asked_for(self, jobs: Jobs) -> None:
        jobs.submitted("api-archived", copying(tags={"archive": "x"}))
        jobs.put("api-archived", copying(tags={"archive": "x"}, isArchived=True)).raise_for_status()
        found = {
            view: len(jobs.client.get("/jobs", params={"tag": "archive", "listViewType": view}).json()["value"])
            for view in ("ActiveOnly", "ArchivedOnly", "All")
        }
        assert found == {"ActiveOnly": 0, "ArchivedOnly": 1, "All": 1}

    def test_a_finished_job_can_be_deleted_and_a_running_one_cannot(self, jobs: Jobs) -> None:
        jobs.submitted("api-deleted", copying())
        jobs.ended("api-deleted")
        assert jobs.client.delete("/jobs/api-deleted").status_code == 200
        assert jobs.client.get("/jobs/api-deleted").status_code == 404
        assert jobs.history("runs/api-deleted").status_code == 404
        jobs.submitted("api-kept", waiting())
        assert jobs.client.delete("/jobs/api-kept").status_code == 400
        jobs.client.post("/jobs/api-kept/cancel").raise_for_status()
        assert jobs.ended("api-kept") == "Canceled"


class TestCancellation:
    def cancel(self, jobs: Jobs, name: str, stubborn: str) -> tuple[list[int], list[str]]:
        """Cancels a running job; process ids of its step, and the statuses that it went through afterwards."""
        jobs.submitted(name, waiting(stubborn=literal(stubborn)))
        step = jobs.running_step(name)
        pids = [int(pid) for pid in re.findall(r"\d+", jobs.log(step["runId"]).split("pids", 1)[1])[:2]]
        assert all(alive(pid) for pid in pids)
        accepted = jobs.client.post(f"/jobs/{name}/cancel")
        assert accepted.status_code == 202
        assert "Azure-AsyncOperation" not in accepted.headers
        statuses = [jobs.status(name)]
        poll = accepted.headers["Location"]
        until(lambda: jobs.client.get(poll).status_code == 200, "the cancellation to end")
        return pids, [*statuses, jobs.status(name)]

    @pytest.mark.parametrize("stubborn", ["false", "true"])
    def test_the_whole_process_group_ends(self, jobs: Jobs, stubborn: str) -> None:
        name = f"api-cancel-{stubborn}"
        pids, statuses = self.cancel(jobs, name, stubborn)
        assert statuses[0] in {"CancelRequested", "Canceled"}
        assert statuses[-1] == "Canceled"
        assert not any(alive(pid) for pid in pids)
        assert [child["status"] for child in jobs.children(name)] == ["Canceled"]
        details = jobs.run(name)
        assert details["error"] is None
        assert details["endTimeUtc"]
        assert "-> CancelRequested" in jobs.log(name, "logs/azureml/executionlogs.txt")

    def test_an_ended_job_cannot_be_canceled(self, jobs: Jobs) -> None:
        jobs.submitted("api-too-late", copying())
        jobs.ended("api-too-late")
        refused = jobs.client.post("/jobs/api-too-late/cancel")
        assert refused.status_code == 400
        assert inner_codes(error_of(refused))[-1] == "CancelPipelineRunInTerminalStatus"
        assert jobs.status("api-too-late") == "Completed"

    def test_an_unknown_job_cannot_be_canceled(self, jobs: Jobs) -> None:
        assert jobs.client.post("/jobs/api-nobody/cancel").status_code == 404

    def test_a_job_can_be_canceled_before_its_first_step(self, jobs: Jobs) -> None:
        jobs.submitted("api-early", waiting())
        assert jobs.client.post("/jobs/api-early/cancel").status_code == 202
        assert jobs.ended("api-early") == "Canceled"


class TestFailure:
    def test_the_step_and_its_own_words_are_named(self, jobs: Jobs) -> None:
        properties = pipeline(
            bad={"componentId": FAIL, "inputs": {"message": literal("row 7 has no 'messages'")}},
            after={"componentId": COPY, "inputs": {"source": literal("${{parent.jobs.bad.outputs.target}}")}},
        )
        jobs.submitted("api-failed", properties)
        assert jobs.ended("api-failed") == "Failed"
        error = jobs.run("api-failed")["error"]["error"]
        assert error["code"] == "UserError"
        assert "bad: row 7 has no 'messages'" in error["message"]
        (child,) = jobs.children("api-failed")
        assert (child["displayName"], child["status"]) == ("bad", "Failed")
        assert child["error"]["error"]["message"] == "row 7 has no 'messages' (exit code 3)"
        assert "reading the data" in jobs.log(child["runId"])

    def test_independent_steps_go_on_if_the_job_wants_it(self, jobs: Jobs) -> None:
        nodes = {
            "bad": {"componentId": FAIL, "inputs": {}},
            "after": {"componentId": COPY, "inputs": {"source": literal("${{parent.jobs.bad.outputs.target}}")}},
            "other": {"componentId": COPY, "inputs": {"source": data(FILE)}},
        }
        jobs.submitted("api-goes-on", pipeline(**nodes) | {"settings": {"continue_on_step_failure": True}})
        jobs.submitted("api-stops", pipeline(**nodes) | {"settings": {"continue_on_step_failure": False}})
        assert jobs.ended("api-goes-on") == jobs.ended("api-stops") == "Failed"
        statuses = {child["displayName"]: child["status"] for child in jobs.children("api-goes-on")}
        assert statuses == {"bad": "Failed", "other": "Completed"}
        statuses = {child["displayName"]: child["status"] for child in jobs.children("api-stops")}
        assert statuses["bad"] == "Failed"
        # The other one may have begun beside it.
        assert "after" not in statuses

    def test_data_that_is_not_there_fails_the_step(self, jobs: Jobs) -> None:
        nothing = "azureml://datastores/workspaceblobstore/paths/inputs/nothing.txt"
        jobs.submitted("api-no-data", pipeline(copy={"componentId": COPY, "inputs": {"source": data(nothing)}}))
        assert jobs.ended("api-no-data") == "Failed"
        assert "nothing.txt" in jobs.run("api-no-data")["error"]["error"]["message"]

    def test_a_failure_inside_of_a_pipeline_component_reaches_the_job(self, jobs: Jobs) -> None:
        nothing = "azureml://datastores/workspaceblobstore/paths/inputs/nothing.txt"
        jobs.submitted("api-inner", pipeline(pair={"componentId": TWO_COPIES, "inputs": {"source": data(nothing)}}))
        assert jobs.ended("api-inner") == "Failed"
        (group,) = jobs.children("api-inner")
        assert (group["displayName"], group["status"]) == ("pair", "Failed")
        assert [child["displayName"] for child in jobs.children(group["runId"])] == ["first"]


def test_pipelines_in_pipelines_run(jobs: Jobs) -> None:
    node = {
        "componentId": NESTED,
        "inputs": {"source": data(FILE)},
        "outputs": {"result": {"value": "${{parent.outputs.answer}}"}},
    }
    jobs.submitted("api-nested", pipeline(all=node) | {"outputs": {"answer": {"jobOutputType": "uri_folder"}}})
    assert jobs.ended("api-nested") == "Completed"
    (outer,) = jobs.children("api-nested")
    inner, last = jobs.children(outer["runId"])
    assert (target_of(jobs, last["runId"]) / "copied.txt").read_text() == "hello+in+in+in"
    assert (inner["displayName"], inner["status"], last["displayName"]) == ("inner", "Completed", "last")


def test_an_output_of_a_job_is_an_input_of_another(jobs: Jobs) -> None:
    jobs.submitted("api-source", copying())
    assert jobs.ended("api-source") == "Completed"
    again = copying()
    again["jobs"]["copy"]["inputs"]["source"] = data("azureml://jobs/api-source/outputs/answer", "uri_folder")
    jobs.submitted("api-target", again)
    assert jobs.ended("api-target") == "Completed"
    (step,) = jobs.children("api-target")
    assert (target_of(jobs, step["runId"]) / "copied.txt").read_text() == "hello!!"


def test_steps_do_not_inherit_the_emulators_identity(tmp_path: Path) -> None:
    inherited = {"IDENTITY_HEADER": "secret", "AZUREML_CURRENT_CLOUD": "x", "PATH": os.environ["PATH"]}
    inherited |= {"AZURE_CLIENT_SECRET": "secret", "PHI_ALERT_WEBHOOK": "secret", "HTTPS_PROXY": "http://u:p@h"}
    environment = step_environment(inherited, run_id="r", root_run_id="j", metrics=tmp_path / "m", extra={"OWN": "1"})
    assert environment["AZUREML_RUN_ID"] == "r"
    assert environment["OWN"] == "1"
    assert not (inherited.keys() - {"PATH"}) & environment.keys()
