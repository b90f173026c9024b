"""The blob folder: whole blobs or none, and no way out of it."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from phi_assets.emulator.store.blobs import (
    ARTIFACT_CONTAINER,
    CONTAINER_OF_DATASTORE,
    DEFAULT_CONTAINER,
    BlobProperties,
    BlobStore,
    datastore_uri,
    parse_datastore_uri,
)
from phi_assets.emulator.store.state import Store
from phi_assets.emulator.wire.errors import ServiceError


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs", Store(tmp_path / "state.sqlite"))


def put_bytes(blobs: BlobStore, container: str, name: str, content: bytes, **options: Any) -> BlobProperties:
    with blobs.writing(container, name, **options) as upload:
        upload.write(content)
    return blobs.properties(container, name)


def names(blobs: BlobStore, prefix: str = "", container: str = "azureml") -> list[str]:
    return [blob.name for blob in blobs.list(container, prefix)]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../state.sqlite",
        "a/../../b",
        "/etc/passwd",
        "a//b",
        "a/",
        "./a",
        "a\\..\\b",
        "a\x00b",
        "a\nb",
        "x" * 256,
        "a/" * 600 + "b",
    ],
)
def test_names_that_lead_elsewhere_are_refused(blobs: BlobStore, name: str):
    with pytest.raises(ServiceError) as caught:
        put_bytes(blobs, "azureml", name, b"x")
    assert (caught.value.status, caught.value.code) == (400, "InvalidUri")
    assert names(blobs) == []


@pytest.mark.parametrize("container", ["..", ".staging", "missing", "AZUREML", "a/b"])
def test_containers_that_are_none_are_refused(blobs: BlobStore, container: str):
    with pytest.raises(ServiceError) as caught:
        put_bytes(blobs, container, "a", b"x")
    assert caught.value.code == "ContainerNotFound"


def test_symbolic_links_do_not_lead_out(blobs: BlobStore, tmp_path: Path):
    (tmp_path / "secret").write_text("s")
    (blobs.root / "azureml" / "link").symlink_to(tmp_path)
    (blobs.root / "azureml" / "file").symlink_to(tmp_path / "secret")
    for name in ("link/secret", "file"):
        with pytest.raises(ServiceError, match="leads out"):
            blobs.properties("azureml", name)
    assert names(blobs) == []


def test_an_upload_that_breaks_off_leaves_nothing(blobs: BlobStore):
    put_bytes(blobs, "azureml", "a/old", b"old", metadata={"upload_status": "completed"})

    def write_half() -> None:
        with blobs.writing("azureml", "a/old") as upload:
            upload.write(b"half")
            assert blobs.properties("azureml", "a/old").size == 3
            raise OSError("the network went away")

    with pytest.raises(OSError, match="went away"):
        write_half()
    assert blobs.path("azureml", "a/old").read_bytes() == b"old"
    assert blobs.properties("azureml", "a/old").metadata == {"upload_status": "completed"}
    assert list((blobs.root / ".staging").iterdir()) == []


def test_new_content_does_not_keep_old_marks(blobs: BlobStore):
    first = put_bytes(blobs, "azureml", "a", b"one", metadata={"upload_status": "completed"})
    second = put_bytes(blobs, "azureml", "a", b"twoo")
    assert second.metadata == {}
    assert first.etag != second.etag


def test_metadata_changes_the_etag_and_survives(blobs: BlobStore, tmp_path: Path):
    before = put_bytes(blobs, "azureml", "a", b"one", content_type="text/plain")
    after = blobs.set_metadata("azureml", "a", {"k": "v"})
    assert before.etag != after.etag
    again = BlobStore(tmp_path / "blobs", Store(tmp_path / "state.sqlite")).properties("azureml", "a")
    assert (again.metadata, again.content_type, again.etag) == ({"k": "v"}, "text/plain", after.etag)


def test_an_existing_blob_is_not_overwritten_unless_asked(blobs: BlobStore):
    put_bytes(blobs, "azureml", "a", b"one")
    with pytest.raises(ServiceError) as caught:
        put_bytes(blobs, "azureml", "a", b"two", overwrite=False)
    assert (caught.value.status, caught.value.code) == (409, "BlobAlreadyExists")
    # Two writers began before either ended: the second to end loses.
    first = blobs.writing("azureml", "b", overwrite=False)
    second = blobs.writing("azureml", "b", overwrite=False)
    first.write(b"first")
    second.write(b"second")
    first.commit()
    with pytest.raises(ServiceError, match="already exists"):
        second.commit()
    assert blobs.path("azureml", "b").read_bytes() == b"first"


def test_wrong_checksum_is_refused(blobs: BlobStore):
    right = base64.b64encode(hashlib.md5(b"content").digest()).decode()
    with blobs.writing("azureml", "a", content_md5=right) as upload:
        upload.write(b"content")
    broken = blobs.writing("azureml", "b", content_md5=right)
    broken.write(b"contend")
    with pytest.raises(ServiceError, match="MD5"):
        broken.commit()
    assert names(blobs) == ["a"]


def test_blocks_become_a_blob_in_the_order_of_the_list(blobs: BlobStore):
    for block, content in (("Mg==", b"two"), ("MQ==", b"one"), ("Mw==", b"unused")):
        with blobs.writing_block("azureml", "big", block) as upload:
            upload.write(content)
    assert names(blobs) == []
    with pytest.raises(ServiceError) as caught:
        blobs.put_block_list("azureml", "big", ["MQ==", "missing"])
    assert caught.value.code == "InvalidBlockList"
    blobs.put_block_list("azureml", "big", ["MQ==", "Mg=="], metadata={"k": "v"})
    assert blobs.path("azureml", "big").read_bytes() == b"onetwo"
    assert blobs.properties("azureml", "big").metadata == {"k": "v"}
    assert list((blobs.root / ".blocks").iterdir()) == []


def test_files_of_a_job_are_blobs(blobs: BlobStore):
    path = blobs.path("azureml", "ExperimentRun/dcid.job/user_logs/std_log.txt")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"line\n")
    assert names(blobs, "ExperimentRun/dcid.job/user") == ["ExperimentRun/dcid.job/user_logs/std_log.txt"]
    assert names(blobs, "ExperimentRun/dcid.jo") == ["ExperimentRun/dcid.job/user_logs/std_log.txt"]
    assert names(blobs, "ExperimentRun/dcid.other/") == []


def test_a_name_cannot_be_blob_and_folder(blobs: BlobStore):
    put_bytes(blobs, "azureml", "a/b", b"x")
    for name in ("a", "a/b/c"):
        with pytest.raises(ServiceError) as caught:
            put_bytes(blobs, "azureml", name, b"x")
        assert caught.value.code == "PathConflict"
    assert names(blobs) == ["a/b"]


def test_deleted_blobs_are_gone(blobs: BlobStore):
    put_bytes(blobs, "azureml", "a", b"x", metadata={"k": "v"})
    blobs.delete("azureml", "a")
    with pytest.raises(ServiceError) as caught:
        blobs.properties("azureml", "a")
    assert caught.value.code == "BlobNotFound"
    assert put_bytes(blobs, "azureml", "a", b"y").metadata == {}


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("azureml://datastores/workspaceblobstore/paths/a/b.txt", (DEFAULT_CONTAINER, "a/b.txt")),
        ("azureml://datastores/WorkspaceArtifactStore/paths/x/", (ARTIFACT_CONTAINER, "x/")),
        (
            "azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/workspaceblobstore/paths/a b",
            (DEFAULT_CONTAINER, "a b"),
        ),
        (
            "azureml://subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
            "/datastores/workspaceblobstore/paths/LocalUpload/1/f.jsonl",
            (DEFAULT_CONTAINER, "LocalUpload/1/f.jsonl"),
        ),
    ],
)
def test_datastore_uris(uri: str, place: tuple[str, str]):
    for each in (uri, datastore_uri(*place)):
        datastore, path = parse_datastore_uri(each)
        assert (CONTAINER_OF_DATASTORE[datastore.lower()], path) == place


def test_other_uris_are_refused():
    with pytest.raises(ServiceError) as caught:
        parse_datastore_uri("https://x/y")
    assert caught.value.status == 400
