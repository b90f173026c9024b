"""A file that is not what was uploaded is noticed, unless a job has written it."""

import os
from pathlib import Path

from phi_assets.emulator.store import uploaded
from phi_assets.emulator.store.blobs import DEFAULT_CONTAINER, BlobStore
from phi_assets.emulator.store.state import Store


def test_what_a_job_has_written_is_no_damage(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.sqlite")
    blobs = BlobStore(tmp_path / "blobs", store)
    for name in ("a/one", "a/two", "ab/three"):
        with blobs.writing(DEFAULT_CONTAINER, name) as upload:
            upload.write(b"content")
    folder = blobs.path(DEFAULT_CONTAINER, "a")
    os.utime(folder / "two")  # as in a copy
    assert list(uploaded.damaged(store, blobs.root, folder)) == []
    for name in ("one", "new"):
        (folder / name).write_bytes(b"CONTENT")
    blobs.path(DEFAULT_CONTAINER, "ab/three").write_bytes(b"")
    assert list(uploaded.damaged(store, blobs.root, folder)) == [folder / "one"]
    assert list(uploaded.damaged(store, blobs.root, folder / "one")) == [folder / "one"]
    uploaded.accept(store, blobs.root, folder)
    assert list(uploaded.damaged(store, blobs.root, folder)) == []
    assert len(list(uploaded.damaged(store, blobs.root, blobs.root / DEFAULT_CONTAINER))) == 1
    assert list(uploaded.damaged(store, blobs.root, tmp_path)) == []
