"""Operations on endpoints and clusters that go out of sight once they are underway are looked for, not given up."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.compute.clusters import delete_compute, ensure_compute
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import SightLost
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.azureml.serving.endpoints import delete_endpoint, ensure_endpoint
from phi_assets.config.recipe import ComputeSection, ServingSection
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.azureml import toys as toy
from tests.azureml.out_of_sight import LOSSES, attentive
from tests.azureml.training.waiting_room import Lines
from tests.emulator_requests import Requests

Make = Callable[[Workspace, Lines], Any]


def make_cluster(ws: Workspace, lines: Lines) -> Any:
    return ensure_compute(ws, ComputeSection(name="unseen", size=toy.SIZE), get_foundation_model(ws, toy.MODEL), lines)


def make_endpoint(ws: Workspace, lines: Lines) -> Any:
    return ensure_endpoint(ws, ServingSection(endpoint="unseen-made", instance_type=toy.SIZE), log=lines)


THINGS: dict[str, tuple[str, str, Make]] = {
    "cluster": ("/computes/{name}", "Compute unseen", make_cluster),
    "endpoint": ("/onlineendpoints/{endpoint}", "Endpoint unseen-made", make_endpoint),
}


@pytest.fixture
def slowly(background: ThreadPoolExecutor, toys: Workspace, control: Control) -> Any:
    """Operations take some seconds; what they have made is gone afterwards."""
    control.set_time_scale(0.3)
    yield control
    control.clear_faults()
    control.set_time_scale(5)
    delete_endpoint(toys, "unseen-made")
    delete_compute(toys, "unseen")


@pytest.mark.parametrize("lost", ["401 for ten minutes", "network gone for ten minutes"])
@pytest.mark.parametrize("thing", THINGS)
def test_what_was_accepted_is_looked_for_and_asked_for_once(
    background: ThreadPoolExecutor, slowly: Control, emulator: Connection, tmp_path: Path, thing: str, lost: str
) -> None:
    route, what, make = THINGS[thing]
    ws, lines = attentive(emulator), Lines()
    accepted = slowly.add_fault(method="PUT", route=route, action="delay", seconds=0, when="after")
    with Requests(emulator) as requests:
        making = background.submit(make, ws, lines)
        while not slowly.fault(accepted).applied:
            assert not making.done()
        LOSSES[lost].begin(slowly, tmp_path)
        lines.expect(f"{what} cannot be seen", "It stays as it is", "end it at")
        slowly.clear_faults()
        assert making.result(60).action == "created"
    assert [line.split()[0] for line in requests.writes] == ["PUT"]


def test_at_last_it_is_left_as_it_is_and_found_by_the_next_call(
    background: ThreadPoolExecutor, slowly: Control, toys: Workspace, emulator: Connection, tmp_path: Path
) -> None:
    route, what, make = THINGS["endpoint"]
    accepted = slowly.add_fault(method="PUT", route=route, action="delay", seconds=0, when="after")
    making = background.submit(make, attentive(emulator, limit_seconds=0.3), Lines())
    while not slowly.fault(accepted).applied:
        assert not making.done()
    LOSSES["403"].begin(slowly, tmp_path)
    with pytest.raises(SightLost, match=f"{what} could not be seen for 0 s.*nothing was done to it"):
        making.result(60)
    slowly.clear_faults()
    with Requests(emulator) as requests:
        assert make(toys, Lines()).action == "reused"
    assert requests.writes == []
