"""The graph with refs and data in object storage, from machines that share nothing on their disks.

What they share is the instance: PostgreSQL, where that is at hand.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from phi_assets.config.dataset import SAMPLED_SPLITS
from phi_assets.dataset.files.places import FsspecPlace
from phi_assets.emulator.process import Connection
from tests.azurite import Azurite
from tests.graph_runs import FAST_PARAMETERS, Graph, actions, failure_message, write_recipe
from tests.object_stores import running
from tests.postgres import IS_AT_HAND, Database, Server

MACHINES = ("prepares", "trains", "deploys", "scores")
SAMPLES = " or ".join(f"key:sampled_{split}" for split in SAMPLED_SPLITS)
SCORES = "base_answers or scoring_result"


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Database | None:
    if not IS_AT_HAND:
        return None
    server: Server = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def instance(tmp_path: Path, database: Database | None) -> Iterator[dg.DagsterInstance]:
    overrides = {"storage": database.storage} if database else {}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as instance:
        yield instance


@pytest.fixture
def written(tmp_path: Path, database: Database | None) -> Callable[[], str]:
    """All that the instance has recorded."""

    def on_sqlite() -> str:
        return b"".join(file.read_bytes() for file in tmp_path.rglob("*.db")).decode(errors="replace")

    return database.content if database else on_sqlite


def machine(folder: Path, recipe: Path, emulator: Connection, instance: dg.DagsterInstance) -> Graph:
    """A `PHI_HOME` of its own, from where the emulator is reached as Azure would be."""
    folder.mkdir()
    (folder / "emulator").symlink_to(emulator.directory)
    return Graph(folder, recipe, "az://graph/refs", instance, data="az://graph/data")


@pytest.mark.slow
def test_what_one_machine_makes_another_goes_on_with(
    azurite: Azurite,
    emulator: Connection,
    instance: dg.DagsterInstance,
    written: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    azurite.container("graph")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    # Nobody else who shares this emulator trains or asks so: all of it is made here.
    own = {**FAST_PARAMETERS, "max_steps": 3}
    changes = {"parameters": own, "serving": {"endpoint": "stored"}, "scoring": {"max_new_tokens": 62}}
    recipe = write_recipe(tmp_path / "recipe.yaml", changes)
    one, two, three, four = (machine(tmp_path / name, recipe, emulator, instance) for name in MACHINES)
    prepared = one.materialize(f"+({SAMPLES})")
    assert prepared.success, failure_message(prepared)
    trained = two.materialize("preflight or foundation_model or finetune_compute or finetune_job or registered_model")
    assert trained.success, failure_message(trained)
    scored = three.materialize(f"online_endpoint or online_deployment or live_traffic or {SCORES} or still_billing")
    assert scored.success, failure_message(scored)
    assert set(instance.get_asset_keys()) == set(three.keys.values())
    # What was asked once is known to a machine that has never asked.
    again = four.materialize(SCORES)
    assert again.success, failure_message(again)
    assert set(actions(again).values()) == {"reused"}
    # Samples that are there are made again, and nothing is sent again.
    before = len(azurite.requests())
    assert two.materialize(SAMPLES).success
    sent = [each.path for each in azurite.requests(before) if each.method == "PUT" and "/graph/data/" in each.path]
    assert sent == []
    fetched = [{path.name for path in (tmp_path / name / "data").rglob("*.jsonl")} for name in MACHINES]
    assert fetched[1] == {f"{split}.jsonl" for split in SAMPLED_SPLITS}
    assert "test_gen.jsonl" in fetched[3]
    assert not fetched[3] & {"train_sft.jsonl", "validation_sft.jsonl"}
    assert not any((tmp_path / name / "storage").exists() for name in MACHINES)
    assert "az://graph/data/sampled/" in written()
    assert azurite.key not in written()
    refs = [blob.name for blob in azurite.container("graph").list_blobs(name_starts_with="refs/")]
    assert len(refs) >= 15


@pytest.mark.parametrize("protocol", ["s3", "gs"])
def test_samples_of_one_machine_are_known_to_another_in_any_object_store(
    protocol: str, instance: dg.DagsterInstance, written: Callable[[], str], tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", {"parameters": FAST_PARAMETERS})
    with running(protocol) as store:
        data, refs = f"{store.url}/data", f"{store.url}/refs"
        one, two = (Graph(tmp_path / name, recipe, refs, instance, data=data) for name in ("one", "two"))
        prepared = one.materialize(f"+({SAMPLES})")
        assert prepared.success, failure_message(prepared)
        kept = FsspecPlace(data).list("")
        assert {Path(found.name).name for found in kept} >= {f"{split}.jsonl" for split in SAMPLED_SPLITS}
        again = two.materialize(SAMPLES)
        assert again.success, failure_message(again)
        # Made again of the raw splits that the other has kept, to the byte, and nothing is sent again.
        assert FsspecPlace(data).list("") == kept
        assert len(FsspecPlace(refs).list("")) >= 8
    assert not any((tmp_path / name / "storage").exists() for name in ("one", "two"))
    assert f"{data}/sampled/" in written()
    assert "secret-of-nobody" not in written()
