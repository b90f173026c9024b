"""A sample that is made by a job on a cluster: the bytes of one that is made here, once, and what a failure costs."""

import re
from hashlib import sha256
from pathlib import Path

import pytest

from phi_assets.azureml.billing.bill import Billed, read_bill
from phi_assets.azureml.billing.prices import load_prices
from phi_assets.azureml.billing.teardown import plan_teardown
from phi_assets.azureml.compute.live_jobs import live_jobs
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import JobFailed
from phi_assets.azureml.models.folders import container_of
from phi_assets.azureml.preparation.samples import Place, PreparedBeside, ensure_samples
from phi_assets.azureml.training.history import RunHistory
from phi_assets.azureml.training.usage import job_usage
from phi_assets.azureml.training.waiting import OnPoll
from phi_assets.config.dataset import ContractSection, DatasetSection, SampleSection
from phi_assets.config.recipe import PreparationSection, Recipe
from phi_assets.dataset.contract.tokenizers import ModelTokenizer
from phi_assets.dataset.reports.report import read_report
from phi_assets.dataset.samples.findings import Findings, look
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.samples.usable import rows_in
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.emulator.store.state import Store
from phi_assets.fingerprint import file_sha256
from phi_assets.refs import DataFile, SampleRef, SplitRef
from tests.dataset.contract.test_tokens import TOKENIZER
from tests.dataset.shards import Row, make_odd_rows, quiet, raw_split
from tests.emulator_requests import Requests

EVERYTHING = SampleSection(percent=100)
CONTRACT = ContractSection(context_tokens=8000)
TOKENS = ModelTokenizer(TOKENIZER, "owner/model")
STORE = "azureml://datastores/workspaceblobstore/paths"
SAMPLES = ("train_sft", "validation_sft")
CLUSTER = PreparationSection(name="cpu-prepare", max_nodes=2)
RECIPE = Recipe(name="beside", dataset=DatasetSection(prepare="cluster"), preparation=CLUSTER)


class Beside:
    """A raw split that lies in the workspace's storage, below a folder of the test's own."""

    def __init__(self, ws: Workspace, raw: SplitRef, folder: Path, test: SampleRef) -> None:
        self.ws, self.raw, self.folder, self.test = ws, raw, folder, test
        self.root = f"{STORE}/{folder.name}"
        with container_of(ws, "workspaceblobstore") as container:
            for file in (*raw.files, test.parquet):
                container.upload_blob(f"{folder.name}/raw/{Path(file).name}", Path(file).read_bytes())

    def prepare(self, on_poll: OnPoll | None = None) -> PreparedBeside:
        """The sample, made by a job."""
        place = Place(
            files=[f"{self.root}/raw/{Path(file).name}" for file in self.raw.files],
            rows=[rows_in(file) for file in self.raw.files],
            root=self.root,
            test=f"{self.root}/raw/{Path(self.test.parquet).name}",
        )
        return ensure_samples(
            self.ws,
            CLUSTER,
            self.raw,
            EVERYTHING,
            CONTRACT,
            place,
            validation=True,
            against=self.test,
            tokenizer=TOKENS,
            recipe=RECIPE.name,
            on_poll=on_poll,
        )

    def here(self) -> tuple[SampleRef, ...]:
        """The same sample, made in one pass on this machine."""
        out = self.folder / "here"
        return prepare_split(
            self.raw, EVERYTHING, CONTRACT, out, quiet, validation=True, against=self.test, tokenizer=TOKENS
        )

    def delete(self, refs: tuple[SampleRef, ...], below: str = "") -> list[str]:
        """The sample's files are gone, or those of them that are below a folder; their names."""
        prefix = str(refs[0].jsonl).removeprefix(f"{STORE}/").rpartition("/")[0] + f"/{below}"
        with container_of(self.ws, "workspaceblobstore") as container:
            names = [blob.name for blob in container.list_blobs(name_starts_with=prefix)]
            for name in names:
                container.delete_blob(name)
        return names

    def files(self, refs: tuple[SampleRef, ...]) -> dict[str, bytes]:
        """Everything in the folder of the sample."""
        prefix = str(refs[0].jsonl).removeprefix(f"{STORE}/").rpartition("/")[0] + "/"
        with container_of(self.ws, "workspaceblobstore") as container:
            names = [blob.name for blob in container.list_blobs(name_starts_with=prefix)]
            return {name.removeprefix(prefix): container.download_blob(name).readall() for name in names}

    def reused(self, job: str) -> dict[str, bool]:
        """By the names of the job's steps, whether each was taken over."""
        history = RunHistory(self.ws)
        steps = {run.label: history.details(run.run_id) for run in history.children(job)}
        return {name: (run.properties or {})["azureml.isreused"] == "true" for name, run in steps.items()}


def _die() -> None:
    raise KeyboardInterrupt


class AtWork:
    """What is said of the cluster each time that its job is looked at."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.billed: list[Billed] = []
        self.kept: set[str] = set()

    def look(self) -> None:
        """The bill, and what a teardown would do, as they are now."""
        bill = read_bill(self.ws, load_prices())
        self.billed += [item for item in bill.of("cluster") if item.name == CLUSTER.name]
        (line,) = [line for line in plan_teardown(self.ws, RECIPE, bill).lines if CLUSTER.name in line]
        if line.startswith("Keep"):
            self.kept.add(line.partition(" is ")[0])
        else:
            assert not any(job.may_use(CLUSTER.name) for job in live_jobs(self.ws))


@pytest.fixture(scope="module")
def beside(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Beside:
    folder = tmp_path_factory.mktemp("beside")
    tested = raw_split(folder / "t", make_odd_rows(60, seed=4), split="test_sft")
    (test,) = prepare_split(tested, EVERYTHING, ContractSection(), folder / "test", quiet)
    return Beside(workspace, raw_split(folder / "raw", _long_rows(), shards=2, group=100), folder, test)


def _long_rows() -> list[Row]:
    """More text than a tokenizer counts, some rows of it near the limit; by one half, the other is estimated wrong."""
    rows = make_odd_rows(900, words=700)
    for row in rows[450:]:
        for message in filter(None, row["messages"] or ()):
            message["content"] = message["content"] and message["content"].replace("river", "日本語")
    return rows


def test_one_shard_that_is_killed_is_done_again_alone_and_the_sample_has_the_bytes_of_one_made_here(
    beside: Beside, emulator: Connection, control: Control
) -> None:
    control.add_scenario("job", scenario="preempted", match="phi3-prep*", step="judge_1")
    with pytest.raises(JobFailed, match=r"judge_1: .*PreemptionError"):
        beside.prepare()
    at_work = AtWork(beside.ws)
    with Requests(emulator) as requests:
        with pytest.raises(KeyboardInterrupt):
            beside.prepare(_die)
        made = beside.prepare(at_work.look)
    # A run that has died has left its job, which the next one finds.
    assert (made.action, made.job.rpartition("-")[2]) == ("attached", "r2")
    # Steps that it has taken over have cost nothing, whatever times the service shows of them.
    took = job_usage(beside.ws, made.job, gpus=0)
    store = Store(next(emulator.directory.glob("*.sqlite*")))
    (shown,) = [run.run_id for run in RunHistory(beside.ws).children(made.job) if run.label == "judge_0"]
    assert store.update("run", shown, lambda run: run | {"started": "2020-01-01T00:00:00.000000+00:00"}) is not None
    assert job_usage(beside.ws, made.job, gpus=0) == took
    assert took.node_hours > 0

    # While it ran, its nodes were on the bill, and a teardown would have left the cluster to it.
    assert at_work.billed
    assert {(item.is_ours, item.recipe, item.hourly) for item in at_work.billed} <= {
        (True, RECIPE.name, machines * 0.252) for machines in (1, 2)
    }
    assert at_work.kept == {f"Keep cluster cpu-prepare: job {made.job} of recipe 'beside' of project 'phi_assets'"}
    again = dict.fromkeys(("judge_1", "compare", "write_0", "write_1", "merge", "verify"), False)
    assert beside.reused(made.job) == {"calibrate": True, "judge_0": True, **again}

    here = beside.here()
    assert [ref.sha256 for ref in made.refs] == [ref.sha256 for ref in here]
    assert [ref.parquet.sha256 for ref in made.refs] == [file_sha256(Path(ref.parquet)) for ref in here]
    expected = {path.name: path.read_bytes() for path in Path(here[0].jsonl).parent.glob("[!.]*")}
    found = beside.files(made.refs)
    seen = [f"{split}.{kind}" for split in SAMPLES for kind in ("findings.json", "keys.parquet")]
    verified = [f"verified/{name}" for name in (*seen, "train_sft.hashes.json")]
    assert sorted(found) == sorted([*expected, "train_sft.hashes.json", *verified])
    assert [name for name in expected if found[name] != expected[name]] == []

    # Tokens were estimated by some rows of all shards, and counted near the limit.
    counted = read_report(Path(here[0].report)).samples["train_sft"].token_counter
    near = re.search(r"^estimated.* of (\d+) rows near the limit, (\d+) counted", counted)
    assert near is not None
    assert int(near[1]) == int(near[2]) > 10

    # What looking at the rows has shown is known beside them.
    test = beside.test
    for ref, mine, others in zip(made.refs, here, ([test, here[1]], [test]), strict=True):
        shown = found[f"verified/{ref.split}.findings.json"]
        assert sha256(shown).hexdigest() == ref.findings.sha256
        assert Findings.model_validate_json(shown) == look(mine, CONTRACT, others)
        assert sha256(found[f"verified/{ref.split}.keys.parquet"]).hexdigest() == ref.keys.sha256

    # Of the data, nothing comes here and nothing goes from here.
    names = {Path(entry.path).name for entry in requests.entries if (entry.plane, entry.method) == ("blob", "GET")}
    assert {"train_sft.sample.json", "train_sft.hashes.json"} <= names
    assert not any(name.endswith((".jsonl", ".parquet")) for name in (*names, *requests.uploaded))
    assert 0 < sum(requests.uploaded.values()) < 1_000_000

    with Requests(emulator) as requests:
        once_more = beside.prepare()
    assert (once_more.action, once_more.refs, once_more.job) == ("reused", made.refs, "")
    assert requests.writes == []


def test_a_sample_that_was_deleted_is_made_anew_by_steps_that_all_run(beside: Beside) -> None:
    made = beside.prepare()
    before = beside.files(made.refs)
    assert beside.delete(made.refs, "verified/")
    blind = beside.prepare()
    assert blind.action == "reused"
    assert [(ref.jsonl, ref.findings, ref.keys) for ref in blind.refs] == [
        (ref.jsonl, DataFile(), DataFile()) for ref in made.refs
    ]
    assert beside.delete(made.refs)
    again = beside.prepare()
    assert again.action == "resubmitted"
    assert "there is no manifest of a sample" in again.reason
    assert set(beside.reused(again.job).values()) == {False}
    assert again.refs == made.refs
    assert beside.files(again.refs) == before
