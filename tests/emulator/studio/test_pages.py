"""What the pages of jobs and models say."""

import html
import io
import re
import tarfile
from pathlib import Path

import httpx
import pytest

from phi_assets.emulator import process
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.emulator.jobs import FILE, Jobs
from tests.emulator.testing_registry import COPY, FAIL, TWO_COPIES, WAIT, data, literal, pipeline


def text_of(page: str) -> str:
    """What a reader sees, in one line."""
    visible = re.sub(r"<(style|script)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", visible)).split())


def link(jobs: Jobs, name: str) -> str:
    return jobs.get(name)["properties"]["services"]["Studio"]["endpoint"]


def two_copies(**more: object) -> dict:
    node = {
        "type": "pipeline",
        "componentId": TWO_COPIES,
        "inputs": {"source": data(FILE), "suffix": literal("!")},
        "outputs": {"result": {"type": "literal", "value": "${{parent.outputs.answer}}"}},
    }
    return pipeline(pair=node) | {"outputs": {"answer": {"jobOutputType": "uri_folder"}}} | more


@pytest.fixture(scope="module")
def completed(jobs: Jobs) -> str:
    """A job of two steps that has completed."""
    name = jobs.submitted("studio-completed", two_copies(displayName="Two <copies>", tags={"owner": "<b>me</b>"}))
    assert jobs.ended(name) == "Completed"
    return name


class TestJob:
    def test_the_link_of_a_job_opens_its_page(self, jobs: Jobs, studio: httpx.Client, completed: str) -> None:
        page = studio.get(link(jobs, completed)).raise_for_status()
        shown = text_of(page.text)
        assert "Two <copies> Completed" in shown
        assert f"Name {completed}" in shown
        assert re.search(r"copied [68] characters", shown)  # of the step that took longer
        assert 'data-live="0"' in page.text

    def test_it_shows_the_graph_with_links_to_the_steps(self, jobs: Jobs, studio: httpx.Client, completed: str) -> None:
        page = studio.get(f"/runs/{completed}").text
        (group,) = jobs.children(completed)
        steps = jobs.children(group["runId"])
        graph = page.split('data-part="graph"')[1].split("</section>")[0]
        assert re.findall(r'href="/runs/([^"]+)"', graph) == [step["runId"] for step in steps]
        assert graph.count('class="arrow"') == 1
        assert graph.count('class="step good"') == 2

    def test_it_shows_the_loss(self, studio: httpx.Client, completed: str) -> None:
        page = studio.get(f"/runs/{completed}").text
        chart = page.split('class="chart"')[1].split("</svg>")[0]
        assert "loss 3 at step 0" in chart
        assert "loss 1 at step 2" in chart

    def test_other_peoples_texts_are_texts(self, studio: httpx.Client, completed: str) -> None:
        page = studio.get(f"/runs/{completed}").text
        assert "&lt;b&gt;me&lt;/b&gt;" in page
        assert "<b>me</b>" not in page
        assert "Two <copies>" not in studio.get("/jobs").text

    def test_a_step_has_a_page_with_its_own_log(self, jobs: Jobs, studio: httpx.Client, completed: str) -> None:
        (group,) = jobs.children(completed)
        step = jobs.children(group["runId"])[0]
        shown = text_of(studio.get(f"/runs/{step['runId']}").text)
        assert "Jobs / Two <copies> / pair first Completed" in shown
        assert "copied 6 characters" in shown
        assert "Compute serverless" in shown

    def test_another_log_can_be_chosen_and_read_whole(self, jobs: Jobs, studio: httpx.Client, completed: str) -> None:
        name = "logs/azureml/executionlogs.txt"
        shown = studio.get(f"/runs/{completed}", params={"log": f"{completed}/{name}"}).text
        assert "Pipeline: NotStarted -&gt; Preparing" in shown
        whole = studio.get(f"/runs/{completed}/logs/{name}")
        assert whole.text == jobs.log(completed, name)
        assert whole.headers["Content-Type"].startswith("text/plain")
        for other in ("../../state.sqlite", "user_logs/nothing.txt"):
            assert studio.get(f"/runs/{completed}/logs/{other}").status_code == 404

    def test_a_running_job_shows_what_is_to_come(self, jobs: Jobs, studio: httpx.Client) -> None:
        nodes = {
            "wait": {"type": "command", "componentId": WAIT, "inputs": {"seconds": literal("60")}},
            "after": {
                "type": "command",
                "componentId": COPY,
                "inputs": {"source": literal("${{parent.jobs.wait.outputs.target}}"), "suffix": literal("!")},
                "outputs": {"target": {"type": "literal", "value": "${{parent.outputs.answer}}"}},
            },
        }
        wanted = pipeline(**nodes) | {"outputs": {"answer": {"jobOutputType": "uri_folder"}}}
        name = jobs.submitted("studio-running", wanted)
        jobs.running_step(name)
        page = studio.get(f"/runs/{name}").text
        assert "planned" in page.split('data-part="graph"')[1]
        assert "after Not started" in text_of(page)
        assert 'data-live="1.5"' in page
        assert "waiting" in page.split('class="log"')[1]
        assert "Running wait" in text_of(studio.get("/jobs").text)
        jobs.client.post(f"/jobs/{name}/cancel").raise_for_status()
        assert jobs.ended(name) == "Canceled"
        assert "after Skipped" in text_of(studio.get(f"/runs/{name}").text)

    def test_a_failed_job_says_why_and_shows_the_log_of_the_step(self, jobs: Jobs, studio: httpx.Client) -> None:
        node = {"type": "command", "componentId": FAIL, "inputs": {"message": literal("the data is <empty>")}}
        name = jobs.submitted("studio-failed", pipeline(reads=node))
        assert jobs.ended(name) == "Failed"
        page = studio.get(f"/runs/{name}").text
        assert "the data is &lt;empty&gt; (exit code 3)" in page.split('class="alert bad"')[1].split("</div>")[0]
        assert "reading the data" in page.split('class="log"')[1]

    def test_a_job_of_an_older_emulator_has_a_graph_too(self, jobs: Jobs, studio: httpx.Client, tmp_path: Path) -> None:
        from phi_assets.emulator.studio.jobs import run_page
        from tests.emulator.testing_registry import without_server

        old = without_server(tmp_path / "emulator").emulator
        job = two_copies()
        old.store.create("job", "old", {"name": "old", "properties": job, "status": "Completed", "created": "x"})
        from phi_assets.emulator.runner.records import Records

        records = Records(old)
        records.create_root("old", job)
        for step in ("one", "two"):
            records.create_child(records.run("old") or {}, step, COPY)
        shown = run_page(old, "old")
        assert [step.name for step in shown.steps] == ["one", "two"]
        assert len(shown.drawing.arrows) == 1

    def test_what_does_not_exist_has_a_page_that_says_so(self, studio: httpx.Client) -> None:
        for path in (
            "/runs/nobody",
            "/model/nobody:1/details",
            "/model/x/details",
            "/endpoints/realtime/nobody/detail",
        ):
            answer = studio.get(path)
            assert answer.status_code == 404
            assert "was not found" in answer.text
            assert 'href="/jobs"' in answer.text


class TestModel:
    def test_it_shows_where_it_comes_from(self, jobs: Jobs, studio: httpx.Client, completed: str) -> None:
        body = {
            "modelUri": f"azureml://jobs/{completed}/outputs/answer",
            "modelType": "custom_model",
            "tags": {"a": "b"},
        }
        jobs.client.put("/models/studio-model/versions/7", json={"properties": body}).raise_for_status()
        shown = text_of(studio.get("/model/studio-model:7/details").raise_for_status().text)
        archive = studio.get("/model/studio-model:7/files").raise_for_status()
        assert archive.headers["Content-Disposition"].endswith("studio-model-7.tar")
        assert int(archive.headers["Content-Length"]) == len(archive.content)
        with tarfile.open(fileobj=io.BytesIO(archive.content)) as opened:
            files = {each.name: opened.extractfile(each) for each in opened}
            assert {name: len(file.read()) for name, file in files.items() if file} == {"copied.txt": 8}
        assert "Two <copies> Completed" in shown
        assert "source inputs/file.txt" in shown
        assert "copied.txt" in shown
        assert "Not deployed" in shown
        assert "studio-model:7" in text_of(studio.get("/models").text)
        assert "studio-model:7" in text_of(studio.get(f"/runs/{completed}").text)


def test_jobs_are_compared_by_what_differs_with_their_curves_on_one_chart(
    jobs: Jobs, studio: httpx.Client, completed: str
) -> None:
    wanted = two_copies(displayName="Other")
    wanted["jobs"]["pair"]["inputs"]["suffix"] = literal("?")
    other = jobs.submitted("studio-other", wanted)
    assert jobs.ended(other) == "Completed"
    listed = studio.get("/jobs").text
    assert "loss 1" in text_of(listed)
    # What the jobs of the list differ in, beside what people ask for first.
    assert "suffix ?" in text_of(listed)
    assert listed.count('type="checkbox" name="run"') >= 2
    page = studio.get("/jobs/compare", params={"run": [completed, other]}).raise_for_status().text
    chart = page.split('class="chart"')[1].split("</svg>")[0]
    assert "1. Two &lt;copies&gt; 3 at step 0" in chart
    assert "2. Other 3 at step 0" in chart
    shown = text_of(page)
    assert f"Parameters that differ Two <copies> {completed} Other {other} suffix ! ?" in shown
    assert f"Metrics, the last values Two <copies> {completed} Other {other}" in shown
    assert studio.get("/jobs/compare").status_code == 200
    assert studio.get("/jobs/compare", params={"run": "no-such-job"}).status_code == 404


def test_home_is_the_list_of_jobs(studio: httpx.Client) -> None:
    assert studio.get("/").headers["Location"] == "/jobs"


def test_links_outlive_a_restart(tmp_path: Path) -> None:
    directory = tmp_path / "emulator"
    try:
        first = process.ensure_running(directory)
        assert process.stop(directory)
        with pytest.raises(httpx.ConnectError):
            httpx.get(first.studio_url, trust_env=False)
        second = process.ensure_running(directory)
        assert second.studio_url == first.studio_url
        assert httpx.get(second.studio_url + "/jobs", trust_env=False).status_code == 200
    finally:
        process.stop(directory)


def test_a_reset_leaves_empty_pages(tmp_path: Path) -> None:
    directory = tmp_path / "emulator"
    try:
        connection: Connection = process.ensure_running(directory)
        with Control(connection) as control:
            control.reset()
        for path in ("/jobs", "/models", "/endpoints"):
            assert 'class="none"' in httpx.get(connection.studio_url + path, trust_env=False).raise_for_status().text
    finally:
        process.stop(directory)
