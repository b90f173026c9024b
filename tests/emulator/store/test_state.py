"""Documents on disk: atomic, ordered, private."""

import stat
import threading
from pathlib import Path

import pytest

from phi_assets.emulator.store.state import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state.sqlite")


def test_only_one_of_many_threads_creates_a_document(store: Store):
    won: list[int] = []

    def create(number: int) -> None:
        if store.create("job", "same", {"by": number}):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get("job", "same") == {"by": won[0]}


def test_updates_of_many_threads_are_not_lost(store: Store):
    store.put("counter", "c", {"value": 0})

    def add() -> None:
        for _ in range(50):
            store.update("counter", "c", lambda body: {"value": body["value"] + 1})

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("counter", "c") == {"value": 400}


def test_an_exception_or_none_in_a_change_leaves_the_document(store: Store):
    store.put("job", "a", {"status": "Running"})

    def fail(body: dict) -> dict:
        body["status"] = "Failed"
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.update("job", "a", fail)
    assert store.update("job", "a", lambda body: None) is None
    assert store.get("job", "a") == {"status": "Running"}
    assert store.update("job", "missing", lambda body: body) is None


def test_a_change_may_use_the_store(store: Store):
    store.put("job", "a", {"n": 1})

    def change(body: dict) -> dict:
        store.put("run", "a", {"seen": body["n"]})
        return {"n": 2}

    store.update("job", "a", change)
    assert (store.get("job", "a"), store.get("run", "a")) == ({"n": 2}, {"seen": 1})


def test_lists_are_in_creation_order_and_by_literal_prefix(store: Store):
    for key in ("m/10", "m/9", "m_/1", "n/1", "m%/1"):
        store.put("model", key, {"key": key})
    store.put("model", "m/10", {"key": "m/10", "changed": True})
    assert [body["key"] for body in store.list("model", "m/")] == ["m/10", "m/9"]
    assert [body["key"] for body in store.list("model")] == ["m/10", "m/9", "m_/1", "n/1", "m%/1"]
    assert store.delete("model", "m/10")
    assert not store.delete("model", "m/10")


def test_documents_survive_and_only_the_owner_can_read_them(tmp_path: Path):
    first = Store(tmp_path / "state.sqlite")
    first.put("job", "a", {"name": "ä"})
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    # No close: what was written is there even if the process was killed.
    assert Store(tmp_path / "state.sqlite").get("job", "a") == {"name": "ä"}
