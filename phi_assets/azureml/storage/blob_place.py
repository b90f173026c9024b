"""A container of Azure Blob Storage as a place of files: by its URL, or by the path of a datastore of the workspace.

With the client that the SDK brings, and not with `adlfs`: it takes the identity of everything else here, and the
certificates and proxies of everything else.
"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import urlsplit

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, ResourceNotFoundError

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.clouds import CLOUDS
from phi_assets.azureml.connection.retry import one_line
from phi_assets.azureml.connection.storage_access import storage_advice
from phi_assets.azureml.storage.datastores import (
    account_of_connection_string,
    container_of,
    is_datastore_uri,
    parts_of,
    place_of,
    uri_of_asset,
)
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.places import Stat
from phi_assets.redaction import without_secrets

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

_AT_ONCE = 4
"""Blocks of one file that are on their way at a time."""

_PIECE = 4 << 20
"""Bytes of a block."""


class BlobPlace:
    """Blobs below a prefix of one container.

    A blob comes to be, or becomes another one, when its blocks are committed, which is one request:
    <https://learn.microsoft.com/rest/api/storageservices/put-block-list>. Blocks of an upload that was killed are no
    blob, and the service forgets them after a week.
    """

    def __init__(self, url: str, prefix: str, connect: Callable[[], "ContainerClient"]) -> None:
        self.url = url.rstrip("/")
        self._prefix = prefix.strip("/")
        self._connect = connect

    @cached_property
    def container(self) -> "ContainerClient":
        """The client of the container."""
        with self._in_words("reached"):
            return self._connect()

    def path(self, name: str) -> str:
        """The blob's name in the container."""
        return f"{self._prefix}/{name}".strip("/")

    def stat(self, name: str) -> Stat | None:
        with self._in_words("looked at"):
            try:
                found = self.container.get_blob_client(self.path(name)).get_blob_properties()
            except ResourceNotFoundError:
                return None
            return Stat(name, int(found.size), str(found.etag).strip('"'))

    def list(self, folder: str) -> "list[Stat]":
        prefix = self.path(folder)
        start = len(self.path("x")) - 1
        with self._in_words("listed"):
            blobs = self.container.list_blobs(name_starts_with=f"{prefix}/" if prefix else None, include=["metadata"])
            # With a hierarchical namespace, folders are listed as well.
            files = (blob for blob in blobs if not (blob.metadata or {}).get("hdi_isfolder"))
            return [Stat(str(blob.name)[start:], int(blob.size or 0), str(blob.etag).strip('"')) for blob in files]

    def put(self, name: str, source: BinaryIO) -> None:
        with self._in_words("written"):
            self.container.upload_blob(self.path(name), source, overwrite=True, max_concurrency=_AT_ONCE)

    def get(self, name: str, target: BinaryIO) -> None:
        with self._in_words("read"):
            blob = self.container.download_blob(self.path(name), max_concurrency=1)
            for piece in blob.chunks():
                target.write(piece)

    def open(self, name: str) -> BinaryIO:
        if (found := self.stat(name)) is None:
            raise FileNotFoundError(f"{self.url}/{name}")
        return cast("BinaryIO", _Ranges(self, found))

    def read(self, name: str, start: int, count: int, version: str) -> bytes:
        """So many bytes of the blob, as it was in that version."""
        from azure.core import MatchConditions

        unchanged: Any = {"etag": f'"{version}"', "match_condition": MatchConditions.IfNotModified}
        with self._in_words("read"):
            return self.container.download_blob(self.path(name), offset=start, length=count, **unchanged).readall()

    @contextmanager
    def _in_words(self, what: str) -> Iterator[None]:
        try:
            yield
        except AzureError as error:
            said = without_secrets(one_line(error).rstrip("."))
            raise DatasetError(f"{self.url} cannot be {what}: {said}. {storage_advice(error)}".rstrip()) from error


class _Ranges(io.RawIOBase):
    """A blob that is read where its reader seeks."""

    def __init__(self, place: BlobPlace, stat: Stat) -> None:
        super().__init__()
        self._place = place
        self._stat = stat
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._stat.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        """Bytes of the whole blob; pyarrow asks for it."""
        return self._stat.size

    def readinto(self, buffer: Any, /) -> int:
        count = min(len(buffer), self._stat.size - self._at)
        if count <= 0:
            return 0
        piece = self._place.read(self._stat.name, self._at, count, self._stat.version)
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def blob_place(
    url: str,
    sign_in: Callable[[], TokenCredential],
    workspace: Callable[[], Workspace],
    suffix: str = CLOUDS["AzureCloud"].storage,
) -> BlobPlace:
    """The place that `abfss://container@account.dfs.core.windows.net/path`, `az://container/path`,
    `azureml://datastores/<name>/paths/<path>` or the data asset `azureml:<name>:<version>` means.

    Nothing is contacted yet, unless for where the data asset lies. A datastore's container is opened as the workspace
    says, every other one by the identity, or with `AZURE_STORAGE_CONNECTION_STRING` where that is set for its account.

    Raises:
        DatasetError: the URL does not say container and account, or there is no such data asset.
    """
    if url.startswith("azureml:") and not url.startswith("azureml://"):
        url = uri_of_asset(workspace(), url)
    if url.startswith("azureml://"):
        if not is_datastore_uri(url):
            raise DatasetError(f"{url} is no path in a datastore: azureml://datastores/<name>/paths/<path> is")
        name, prefix = place_of(url)
        return BlobPlace(url, prefix, lambda: container_of(workspace(), name))
    container, endpoint, prefix = parts_of(url, suffix)
    return BlobPlace(url, prefix, lambda: _container(container, endpoint, sign_in))


def _container(container: str, endpoint: str, sign_in: Callable[[], TokenCredential]) -> "ContainerClient":
    from azure.storage.blob import ContainerClient

    named = urlsplit(endpoint).netloc.partition(".")[0]
    # It opens its own account, which the URL may leave unsaid.
    if (own := account_of_connection_string()) and named in ("", own):
        return ContainerClient.from_connection_string(os.environ["AZURE_STORAGE_CONNECTION_STRING"], container)
    return ContainerClient(endpoint, container, credential=sign_in())
