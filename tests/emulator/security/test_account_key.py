"""The account's key: requests and signatures pass that it has signed, for what they say, in time.

What signs is the storage service's own client library, so that ours is not compared with itself.
"""

import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.storage.blob import BlobSasPermissions, ContainerClient, generate_blob_sas
from starlette.datastructures import QueryParams

from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.emulator.security.account_key import KEY_FILE, AccountKey
from phi_assets.emulator.wire.errors import ServiceError
from tests.emulator.http import datastore_key, datastore_sas, raw_client

NAMES = ["account", "localhost:9443/account"]


@pytest.fixture
def key(tmp_path: Path) -> AccountKey:
    return AccountKey(tmp_path, NAMES, now)


@pytest.fixture
def container(emulator: Connection) -> Iterator[ContainerClient]:
    with client_of(emulator) as client:
        yield client


def client_of(emulator: Connection, key: str | None = None, **options: Any) -> ContainerClient:
    url, true_key = datastore_key(emulator)
    options |= {"connection_verify": str(emulator.ca_bundle), "retry_total": 0}
    return ContainerClient.from_container_url(url, key or true_key, **options)


class Changed(SansIOHTTPPolicy[Any, Any]):
    """Changes a request after it was signed."""

    def __init__(self, change: Callable[[Any], object]) -> None:
        self._change = change

    def on_request(self, request: PipelineRequest[Any]) -> None:
        self._change(request.http_request)


def refusal(error: Any) -> tuple[int, str]:
    """Status and code; the code is no attribute of the declared class."""
    return error.status_code, error.error_code


def now() -> datetime:
    return datetime.now(UTC)


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def test_the_key_is_made_once_for_the_owner_only(key: AccountKey, tmp_path: Path):
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert AccountKey(tmp_path, NAMES, now).text == key.text
    before = key.text
    assert key.rotate() != before
    assert AccountKey(tmp_path, NAMES, now).text == key.text


def test_the_client_library_signs_whatever_it_sends(container: ContainerClient):
    name, content = "signed/ä b+c&d=e.txt", bytes(range(256)) * 40
    blob = container.get_blob_client(name)
    blob.upload_blob(content, metadata={"upload_status": "completed", "name": "a name", "z9": "1"}, overwrite=False)
    assert blob.download_blob(offset=5, length=7).readall() == content[5:12]
    assert blob.get_blob_properties().metadata["upload_status"] == "completed"
    etag = str(blob.set_blob_metadata({"version": "2"})["etag"])
    assert blob.get_blob_properties(etag=etag, match_condition=_if_same()).metadata == {"version": "2"}
    blob.upload_blob(b"", overwrite=True)
    assert blob.download_blob().readall() == b""
    found = container.list_blobs(name_starts_with="signed/ä b+", include=["metadata"])
    assert [found.name for found in found] == [name]
    blob.delete_blob()


def _if_same() -> Any:
    from azure.core import MatchConditions

    return MatchConditions.IfNotModified


def test_blocks_are_signed_too(emulator: Connection):
    with client_of(emulator, max_single_put_size=1024, max_block_size=1024) as client:
        blob = client.upload_blob("blocks-by-key", b"x" * 5000, overwrite=True)
        assert blob.get_blob_properties().size == 5000


@pytest.mark.parametrize(
    "change",
    [
        lambda sent: sent.headers.update({"x-ms-range": "bytes=0-1"}),
        lambda sent: sent.headers.update({"If-Match": "*"}),
        lambda sent: sent.headers.update({"x-ms-meta-more": "1"}),
        lambda sent: sent.headers.update({"Authorization": sent.headers["Authorization"][:-4] + "AAA="}),
        lambda sent: sent.headers.update({"Authorization": sent.headers["Authorization"].replace("phi", "phj")}),
        lambda sent: sent.headers.update({"Authorization": "SharedKey"}),
        lambda sent: setattr(sent, "url", sent.url.replace("/kept", "/secret")),
        lambda sent: setattr(sent, "url", sent.url + "?timeout=1"),
        lambda sent: setattr(sent, "method", "HEAD"),
        lambda sent: sent.headers.pop("x-ms-date"),
    ],
    ids=["range", "condition", "metadata", "signature", "account", "nothing", "blob", "query", "method", "no date"],
)
def test_what_was_changed_after_it_was_signed_is_refused(emulator: Connection, change: Callable[[Any], object]):
    with client_of(emulator) as client:
        client.upload_blob("kept", b"kept", overwrite=True)
        client.upload_blob("secret", b"secret", overwrite=True)
    changing = client_of(emulator, _additional_pipeline_policies=[Changed(change)])
    with changing as client, pytest.raises(HttpResponseError) as caught:
        client.download_blob("kept")
    assert refusal(caught.value) == (403, "AuthenticationFailed")


def test_another_key_is_refused(emulator: Connection, key: AccountKey):
    with client_of(emulator, key.text) as client, pytest.raises(HttpResponseError) as caught:
        client.upload_blob("forged", b"")
    assert refusal(caught.value) == (403, "AuthenticationFailed")


@pytest.mark.parametrize(("minutes", "passes"), [(-16, False), (-14, True), (14, True), (16, False)])
def test_a_date_may_be_15_minutes_off(container: ContainerClient, minutes: int, passes: bool):
    container.upload_blob("dated", b"", overwrite=True)

    def date(sent: PipelineRequest[Any]) -> None:
        moment = datetime.now(UTC) + timedelta(minutes=minutes)
        sent.http_request.headers["x-ms-date"] = format_datetime(moment, usegmt=True)

    blob = container.get_blob_client("dated")
    if passes:
        assert blob.get_blob_properties(raw_request_hook=date).size == 0
        return
    with pytest.raises(HttpResponseError, match="Request date header too") as caught:
        container.download_blob("dated", raw_request_hook=date)
    assert refusal(caught.value) == (403, "AuthenticationFailed")


@pytest.mark.parametrize("hours", [-2, 2])
def test_the_time_is_the_service_s(container: ContainerClient, control: Control, hours: int):
    """Who signs by a clock that is hours off is refused by storage, though nobody else minds."""
    container.upload_blob("by-the-clock", b"", overwrite=True)
    control.set_clock(hours * 3600)
    with pytest.raises(HttpResponseError, match="Request date header too"):
        container.download_blob("by-the-clock")
    control.set_clock(0)
    assert container.download_blob("by-the-clock").readall() == b""


def test_a_key_that_was_replaced_opens_nothing_more(emulator: Connection, control: Control):
    url, query = datastore_sas(emulator)
    with client_of(emulator) as before, raw_client(emulator) as raw:
        before.upload_blob("rotated", b"kept", overwrite=True)
        assert raw.get(f"{url}/rotated?{query}").content == b"kept"
        control.rotate_storage_key()
        with pytest.raises(HttpResponseError, match="AuthenticationFailed"):
            before.download_blob("rotated")
        assert raw.get(f"{url}/rotated?{query}").headers["x-ms-error-code"] == "AuthenticationFailed"
    with client_of(emulator) as after:
        assert after.download_blob("rotated").readall() == b"kept"


@pytest.mark.parametrize("account", NAMES)
def test_signatures_of_the_client_library_open_the_blob(key: AccountKey, account: str):
    allowed = BlobSasPermissions(read=True)
    query = generate_blob_sas(account, "azureml", "a b/c.txt", account_key=key.text, permission=allowed, expiry=soon())
    key.check_sas(QueryParams(query), "azureml", "a b/c.txt", "r")
    later = generate_blob_sas(
        account, "azureml", "x", account_key=key.text, permission=allowed, expiry=soon(), start=soon()
    )
    with pytest.raises(ServiceError, match="time frame"):
        key.check_sas(QueryParams(later), "azureml", "x", "r")


@pytest.mark.parametrize(
    ("covered", "name"),
    [("a/b.txt", "a/b.txt"), ("a/", "a/b.txt"), ("a/", "a/"), ("a/b/", "a/b/c/d"), ("", "anything/at/all"), ("", "")],
)
def test_a_signature_opens_what_it_covers(key: AccountKey, covered: str, name: str):
    key.check_sas(QueryParams(key.sign_sas("azureml", covered, "rl", soon())), "azureml", name, "r")


@pytest.mark.parametrize(
    ("covered", "container", "name", "needed", "code"),
    [
        ("a/b.txt", "azureml", "a/c.txt", "r", "AuthenticationFailed"),
        ("a/", "azureml", "ab/c.txt", "r", "AuthenticationFailed"),
        ("a/", "azureml", "a", "r", "AuthenticationFailed"),
        ("a/", "azureml", "", "l", "AuthenticationFailed"),
        ("", "azureml-blobstore", "a/b.txt", "r", "AuthenticationFailed"),
        ("a/b.txt", "azureml", "a/b.txt", "w", "AuthorizationPermissionMismatch"),
    ],
    ids=["other blob", "sibling folder", "blob named as folder", "whole container", "other container", "permission"],
)
def test_a_signature_opens_nothing_else(
    key: AccountKey, covered: str, container: str, name: str, needed: str, code: str
):
    query = key.sign_sas("azureml", covered, "rl", soon())
    with pytest.raises(ServiceError) as caught:
        key.check_sas(QueryParams(query), container, name, needed)
    assert (caught.value.status, caught.value.code) == (403, code)


@pytest.mark.parametrize(
    "forge",
    [
        lambda query: query.replace("sp=r", "sp=rw"),
        lambda query: query.replace("sr=b", "sr=c"),
        lambda query: query.replace("sr=b", "sr=d&sdd=1"),
        lambda query: query.replace("se=20", "se=21"),
        lambda query: query.partition("sig=")[0] + "sig=",
        lambda query: query.partition("sig=")[0] + "sig=AAAA",
        lambda query: "sig=AAAA",
        lambda query: "",
    ],
)
def test_a_changed_signature_opens_nothing(key: AccountKey, forge):
    query = forge(key.sign_sas("azureml", "a/b.txt", "r", soon()))
    with pytest.raises(ServiceError) as caught:
        key.check_sas(QueryParams(query), "azureml", "a/b.txt", "r")
    assert caught.value.status == 403


def test_an_expired_signature_opens_nothing(key: AccountKey):
    query = key.sign_sas("azureml", "a/b.txt", "r", datetime.now(UTC) - timedelta(seconds=2))
    with pytest.raises(ServiceError, match="time frame"):
        key.check_sas(QueryParams(query), "azureml", "a/b.txt", "r")
