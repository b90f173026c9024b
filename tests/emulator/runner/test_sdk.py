"""Jobs through the unmodified SDK: submitted, streamed, listed, downloaded, canceled, changed."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from tests.emulator import testing_registry
from tests.emulator.jobs import Jobs


@pytest.fixture(scope="module")
def ml(emulator, workspace) -> Any:
    testing_registry.install(emulator.directory)
    return workspace.ml


@pytest.fixture(scope="module")
def registry(ml, workspace) -> Any:
    return workspace.registry("testing")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "hello.txt"
    path.write_text("hello")
    return path


def pipeline(**settings: Any) -> Any:
    """The SDK's decorator, whose type says nothing about what it makes of the function."""
    from azure.ai.ml import dsl

    decorator: Any = dsl.pipeline
    return decorator(**settings)


def two_copies(registry: Any, source: Path, **inputs: Any) -> Any:
    from azure.ai.ml import Input

    component = registry.components.get("two_copies", label="latest")

    @pipeline(name="two copies of a file")
    def create() -> dict[str, Any]:
        pair = component(source=Input(type="uri_file", path=str(source)), **inputs)
        return {"answer": pair.outputs.result}

    job = create()
    job.settings.force_rerun = True
    job.settings.continue_on_step_failure = False
    return job


@pytest.fixture(scope="module")
def streamed(ml, registry, source) -> tuple[Any, str]:
    """A job of two copies, and what `stream` printed until its end."""
    job = ml.jobs.create_or_update(two_copies(registry, source, suffix="+ a b"), experiment_name="streams")
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        ml.jobs.stream(job.name)
    return job, output.getvalue()


class TestOneJob:
    """What the SDK shows of a job that has been streamed to its end."""

    def test_stream_prints_the_execution_log(self, streamed) -> None:
        job, output = streamed
        assert f"RunId: {job.name}" in output
        assert "Streaming logs/azureml/executionlogs.txt" in output
        assert "Pipeline: NotStarted -> Preparing" in output

    def test_get_shows_status_and_outputs(self, ml, streamed) -> None:
        job = ml.jobs.get(streamed[0].name)
        assert job.status == "Completed"
        assert job.display_name == "two copies of a file"
        assert job.experiment_name == "streams"
        assert job.outputs["answer"].type == "mlflow_model"
        assert job.outputs["answer"].path is None  # as recorded, also of a job that has completed
        assert job.studio_url.startswith("http://127.0.0.1:")
        assert job.creation_context.created_at

    def test_children_are_listed_and_read(self, ml, streamed) -> None:
        (group,) = ml.jobs.list(parent_job_name=streamed[0].name)
        assert (group.display_name, group.status) == ("pair", "Completed")
        steps = list(ml.jobs.list(parent_job_name=group.name))
        assert [step.display_name for step in steps] == ["first", "second"]
        step = ml.jobs.get(steps[0].name)
        assert step.status == "Completed"

    def test_a_child_cannot_be_streamed(self, ml, streamed) -> None:
        from azure.ai.ml.exceptions import PipelineChildJobError

        (group,) = ml.jobs.list(parent_job_name=streamed[0].name)
        with pytest.raises(PipelineChildJobError):
            ml.jobs.stream(group.name)

    def test_an_output_can_be_downloaded(self, ml, streamed, tmp_path: Path) -> None:
        ml.jobs.download(streamed[0].name, output_name="answer", download_path=tmp_path)
        assert (tmp_path / "named-outputs" / "answer" / "copied.txt").read_text() == "hello+ a b+ a b+ a b"

    def test_logs_can_be_downloaded(self, ml, streamed, tmp_path: Path) -> None:
        ml.jobs.download(streamed[0].name, download_path=tmp_path)
        log = (tmp_path / "artifacts" / "logs" / "azureml" / "executionlogs.txt").read_text()
        assert re.search(r"Step first \([0-9a-f-]{36}\): Running -> Finalizing", log)
        assert log.rstrip().endswith("Pipeline: Finalizing -> Completed")

    def test_everything_can_be_downloaded(self, ml, streamed, tmp_path: Path) -> None:
        ml.jobs.download(streamed[0].name, download_path=tmp_path, all=True)
        assert (tmp_path / "named-outputs" / "answer" / "copied.txt").is_file()
        assert (tmp_path / "artifacts" / "logs" / "azureml" / "executionlogs.txt").is_file()

    def test_the_output_can_be_registered_from_the_job(self, ml, streamed) -> None:
        from azure.ai.ml.entities import Model

        name = streamed[0].name
        path = f"azureml://jobs/{name}/outputs/answer"
        model = ml.models.create_or_update(Model(path=path, type="custom_model", name="copied", version="1"))
        assert model.path.rstrip("/").endswith("/target")  # under the step's run id, by its component's name for it
        assert f"/azureml/{name}/" not in model.path
        assert model.job_name == name

    def test_it_is_in_the_list(self, ml, streamed) -> None:
        assert streamed[0].name in [job.name for job in ml.jobs.list()]

    def test_its_name_tags_and_description_can_be_changed(self, ml, streamed) -> None:
        changed = ml.jobs.update(streamed[0].name, display_name="renamed", tags={"x": "y"}, description="words")
        assert (changed.display_name, changed.tags, changed.description) == ("renamed", {"x": "y"}, "words")
        again = ml.jobs.update(streamed[0].name, tags={"z": "1"})
        assert again.tags == {"x": "y", "z": "1"}

    def test_it_can_be_archived_and_restored(self, ml, streamed) -> None:
        ml.jobs.archive(streamed[0].name)
        assert streamed[0].name not in [job.name for job in ml.jobs.list()]
        ml.jobs.restore(streamed[0].name)
        assert streamed[0].name in [job.name for job in ml.jobs.list()]


def test_a_failed_job_raises_in_stream(ml, registry) -> None:
    from azure.ai.ml.exceptions import JobException

    component = registry.components.get("fail", label="latest")

    @pipeline(name="fails", default_compute="serverless")
    def create() -> None:
        component(message="no usable rows")

    job = ml.jobs.create_or_update(create())
    with pytest.raises(JobException, match="no usable rows"):
        ml.jobs.stream(job.name)
    assert ml.jobs.get(job.name).status == "Failed"


def test_begin_cancel_waits_for_the_end(ml, registry) -> None:
    component = registry.components.get("wait", label="latest")

    @pipeline(name="waits", default_compute="serverless")
    def create() -> None:
        component(seconds=60.5, stubborn=False)

    job = ml.jobs.create_or_update(create())
    ml.jobs.begin_cancel(job.name).result()
    assert ml.jobs.get(job.name).status == "Canceled"


def test_a_job_on_a_compute_of_the_workspace(ml, registry, source, jobs: Jobs) -> None:
    from azure.ai.ml.entities import AmlCompute

    ml.compute.begin_create_or_update(AmlCompute(name="runner-cpu", size="Standard_NC24ads_A100_v4")).result()
    job = ml.jobs.create_or_update(two_copies(registry, source, compute_copy="runner-cpu"))
    ml.jobs.stream(job.name)
    (group,) = ml.jobs.list(parent_job_name=job.name)
    assert {step["target"] for step in jobs.children(group.name)} == {"runner-cpu"}
    assert jobs.history(f"runs/{job.name}").json()["uniqueChildRunComputeTargets"] == ["runner-cpu"]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"compute_copy": "nobody"}, ["compute 'nobody'", "serverless"]),
        ({"rate": 1.5}, ["'rate'", "maximum is 1"]),
    ],
)
def test_a_refused_job_says_why(ml, registry, source, inputs: dict[str, Any], words: list[str]) -> None:
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError) as caught:
        ml.jobs.create_or_update(two_copies(registry, source, **inputs))
    assert caught.value.status_code == 400
    assert caught.value.error is not None
    assert caught.value.error.code == "UserError"
    for word in words:
        assert word in str(caught.value)


def test_an_unknown_job_is_not_found(ml) -> None:
    from azure.core.exceptions import ResourceNotFoundError

    with pytest.raises(ResourceNotFoundError, match="nobody"):
        ml.jobs.get("nobody")
