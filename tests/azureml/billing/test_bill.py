"""What is billing is listed completely, whoever made it: with age, price, owner, lease, and what nobody knows."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from phi_assets.azureml.billing.bill import Bill, Billed, read_bill
from phi_assets.azureml.billing.orphans import KnownThings, orphans
from phi_assets.azureml.billing.prices import PriceList
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ListingFailed
from phi_assets.azureml.ownership import MANAGED_TAG, RECIPE_TAG, Owner
from phi_assets.azureml.serving.leases import EXPIRES_TAG, has_expired, lease_end
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.emulator.store.state import Store
from phi_assets.graph.operations.metadata import billing_metadata, billing_rows
from tests.azureml import toys as toy
from tests.azureml.serving.serving_toys import make_cluster, make_deployment, make_endpoint, register
from tests.emulator_requests import Requests

PRICES = PriceList(
    region="eastus", as_of=date(2026, 1, 1), low_priority_share=0.25, hourly={toy.SIZE: 4, "Standard_DS3_v2": 0.5}
)
OURS = {MANAGED_TAG: "true"}
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def crowd(emulator: Connection, toys: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace in which several people have left something."""
    with Control(emulator) as control:
        control.reset()
    model = register(toys, tmp_path_factory.mktemp("model"), "billed")
    ended = (datetime.now(UTC) - timedelta(hours=3)).isoformat(timespec="seconds")
    make_endpoint(toys, "ours", {**OURS, RECIPE_TAG: "toy", "Owner": "alice", EXPIRES_TAG: ended})
    make_deployment(toys, "ours", "live", model, count=2, tags=OURS)
    make_deployment(toys, "ours", "by-hand", model, size="Standard_DS3_v2", tags={"owner": "bob"})
    endpoint: Any = toys.ml.online_endpoints.get("ours")
    endpoint.traffic = {"live": 100}
    toys.ml.online_endpoints.begin_create_or_update(endpoint).wait()
    make_endpoint(toys, "theirs")
    make_cluster(toys, "idle", tags=OURS)
    make_cluster(toys, "warm", nodes=2, tier="LowPriority", tags={**OURS, "owner": "carol"})
    yield toys
    with Control(emulator) as control:
        control.reset()


def by_name(bill: Bill) -> dict[str, Billed]:
    return {item.name: item for item in bill.items}


def test_everything_is_on_the_bill_but_what_has_no_nodes(crowd: Workspace) -> None:
    bill = read_bill(crowd, PRICES)
    assert [(item.kind, item.name, item.machines, item.hourly) for item in bill.items] == [
        ("endpoint", "ours", 0, 0),
        ("deployment", "ours/live", 2, 8),
        ("deployment", "ours/by-hand", 1, 0.5),
        ("endpoint", "theirs", 0, 0),
        ("cluster", "warm", 2, 2),
    ]
    assert bill.hourly == 10.5
    assert bill.in_words == (
        f"Billing in workspace {crowd.name}: 2 endpoints, 2 deployments, 1 cluster; 10.50 USD an hour (list price)."
    )


def test_who_made_it_when_and_for_how_long(crowd: Workspace) -> None:
    bill = read_bill(crowd, PRICES)
    found = by_name(bill)
    assert [item.owner for item in bill.items][:3] == ["alice", "alice", "bob"]
    assert found["warm"].owner == "carol"
    # The service knows who sent the request.
    assert found["theirs"].owner
    assert [found[name].is_ours for name in ("ours", "ours/live", "ours/by-hand", "theirs")] == [
        True,
        True,
        False,
        False,
    ]
    assert [found[name].percent for name in ("ours/live", "ours/by-hand")] == [100, 0]
    assert found["ours"].recipe == found["ours/live"].recipe == "toy"
    for item in bill.items:
        assert item.created is not None, item.name
        assert timedelta(0) <= bill.at - item.created < timedelta(minutes=30), item.name
    assert found["ours"].has_expired
    assert not found["theirs"].has_expired
    assert found["ours/live"].model.endswith("/models/billed/versions/1")


def test_looking_writes_nothing_and_asks_once_for_each_endpoint(crowd: Workspace, emulator: Connection) -> None:
    _ = crowd.location
    with Requests(emulator) as requests:
        read_bill(crowd, PRICES)
    asked = [line for line in requests.lines if "/msi/" not in line]
    assert requests.writes == []
    assert len(asked) == 1 + 2 + 1, asked


def test_what_has_no_price_is_never_taken_for_free(crowd: Workspace) -> None:
    cheap = PRICES.model_copy(update={"hourly": {"Standard_DS3_v2": 0.5}})
    bill = read_bill(crowd, cheap)
    assert [item.name for item in bill.unpriced] == ["ours/live", "warm"]
    assert "0.50 USD an hour (list price) and 2 without a known price" in bill.in_words
    without = read_bill(crowd, None)
    assert len(without.unpriced) == 3
    assert "no prices are known" in without.in_words
    assert {row["an hour"] for row in billing_rows(without, []) if row["machines"] != "-"} == {"unknown"}


def test_a_compute_instance_bills_while_it_runs(crowd: Workspace, emulator: Connection) -> None:
    store = Store(next(emulator.directory.glob("*.sqlite*")))
    document = store.get("compute", "idle")
    assert document is not None

    def instance(state: str) -> None:
        inner = {"vmSize": toy.SIZE, "state": state, "createdBy": {"userName": "dora"}}
        properties = {**document["properties"], "computeType": "ComputeInstance", "properties": inner}
        store.put("compute", "laptop", {**document, "name": "laptop", "tags": {}, "properties": properties})

    try:
        instance("Running")
        found = by_name(read_bill(crowd, PRICES))["laptop"]
        assert (found.kind, found.state, found.machines, found.hourly, found.owner) == (
            "instance",
            "Running",
            1,
            4,
            "dora",
        )
        instance("Stopped")
        assert "laptop" not in by_name(read_bill(crowd, PRICES))
    finally:
        store.delete("compute", "laptop")


def test_a_bill_is_read_without_the_sdk(crowd: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Workspace, "ml", property(lambda _: pytest.fail("The SDK is asked.")))
    assert read_bill(crowd, PRICES).of("deployment")


def test_where_the_service_does_not_say_nothing_is_claimed(crowd: Workspace, control: Control) -> None:
    for path in ("/computes$", "/onlineEndpoints$", "/deployments$"):
        control.add_fault(plane="arm", method="GET", path=f"(?i){path}", action="status", status=403, code="Forbidden")
        with pytest.raises(ListingFailed, match="cannot be listed"):
            read_bill(crowd, PRICES)
        control.clear_faults()


def test_orphans_are_ours_and_unknown(crowd: Workspace) -> None:
    bill = read_bill(crowd, PRICES)

    def names(endpoints: list[str], deployments: list[str], clusters: list[str]) -> list[str]:
        return [item.name for item in orphans(bill, KnownThings.of(endpoints, deployments, clusters))]

    assert names([], [], []) == ["ours", "ours/live", "warm"]
    # Live on a known endpoint is known.
    assert names(["OURS"], [], ["Warm"]) == []
    assert names([], ["ours/Live"], ["warm"]) == ["ours"]
    idle = replace(bill.items[1], percent=0)
    without_traffic = Bill(bill.workspace, bill.region, bill.at, bill.prices, (idle,))
    assert orphans(without_traffic, KnownThings.of(["ours"], [], [])) == [idle]


def test_the_table_says_all_of_it(crowd: Workspace) -> None:
    bill = read_bill(crowd, PRICES)
    orphaned = orphans(bill, KnownThings.of(["ours"], [], []))
    rows = {row["name"]: row for row in billing_rows(bill, orphaned)}
    assert rows["ours"]["owner"] == "alice, recipe toy"
    assert rows["ours"]["lease ends"] == "3 h 0 min ago"
    assert rows["ours"]["remarks"] == "its lease has ended"
    assert rows["ours/live"]["machines"] == f"2 x {toy.SIZE}"
    assert rows["ours/live"]["an hour"] == "8.00"
    assert rows["theirs"]["remarks"] == "not this project's"
    assert rows["theirs"]["lease ends"] == "-"
    assert rows["warm"]["remarks"] == "orphan: this graph does not know it"
    metadata = billing_metadata(bill, orphaned)
    numbers = {key: value for key, value in metadata.items() if type(value) in (int, float)}
    assert numbers == {
        "hourly_price": 10.5,
        "endpoints": 2,
        "deployments": 2,
        "nodes": 2,
        "orphans": 1,
        "leases_ended": 1,
        "unpriced": 0,
    }
    assert len(metadata["billing"].records) == 5
    assert metadata["prices"] == "USD, eastus, as of 2026-01-01"


def test_an_empty_workspace_has_an_empty_bill() -> None:
    bill = Bill("w", "eastus", NOW, PRICES, ())
    assert (bill.hourly, bill.in_words) == (0, "Nothing is billing in workspace w.")
    assert billing_metadata(bill, [])["billing"].records == []


@pytest.mark.parametrize(
    ("tags", "expired"),
    [
        ({**OURS, EXPIRES_TAG: "2026-05-01T12:00:00+00:00"}, True),
        ({RECIPE_TAG: "toy", EXPIRES_TAG: "2026-05-01T11:59:59"}, True),
        ({**OURS, EXPIRES_TAG: "2026-05-01T12:00:01+00:00"}, False),
        ({**OURS, EXPIRES_TAG: "2026-05-01T13:30:00+02:00"}, True),
        ({**OURS, EXPIRES_TAG: "soon"}, False),
        ({**OURS, EXPIRES_TAG: ""}, False),
        (OURS, False),
        ({EXPIRES_TAG: "2020-01-01T00:00:00+00:00"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_only_what_is_ours_and_past_its_lease_has_expired(tags: dict[str, str] | None, expired: bool) -> None:
    assert has_expired(tags, NOW, Owner("any")) is expired
    assert lease_end(tags) is None or lease_end(tags).tzinfo is not None  # type: ignore[union-attr]


def test_times_are_told_in_what_people_use() -> None:
    def row(**changes: Any) -> dict[str, str]:
        fields = {"kind": "endpoint", "name": "e", "state": "Succeeded", "owner": "", "recipe": "", "is_ours": True}
        item = Billed(**{**fields, "created": None, **changes})
        return billing_rows(Bill("w", "r", NOW, PRICES, (item,)), [])[0]

    assert row()["age"] == "unknown"
    assert row()["owner"] == "unknown"
    assert row(created=NOW - timedelta(minutes=59, seconds=59))["age"] == "59 min"
    assert row(created=NOW - timedelta(hours=23, minutes=5))["age"] == "23 h 5 min"
    assert row(created=NOW - timedelta(days=9, hours=2, minutes=1))["age"] == "9 d 2 h"
    assert row(expires=NOW + timedelta(hours=2))["lease ends"] == "in 2 h 0 min"
