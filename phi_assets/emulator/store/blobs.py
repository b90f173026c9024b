"""Blob storage of the workspace: plain files in a folder for each container, properties in the store."""

import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from phi_assets.emulator.store.blob_names import check_name, is_container, names_below
from phi_assets.emulator.store.blocks import Blocks
from phi_assets.emulator.store.state import Document, Store
from phi_assets.emulator.store.uploads import Upload
from phi_assets.emulator.wire.errors import ServiceError

DEFAULT_CONTAINER = "azureml-blobstore"
ARTIFACT_CONTAINER = "azureml"
CONTAINER_OF_DATASTORE = {"workspaceblobstore": DEFAULT_CONTAINER, "workspaceartifactstore": ARTIFACT_CONTAINER}
DATASTORE_OF_CONTAINER = {container: datastore for datastore, container in CONTAINER_OF_DATASTORE.items()}

_DATASTORE_URI = re.compile(
    r"azureml://(?:[^?#]*/)?datastores/(?P<datastore>[^/]+)/paths/(?P<path>[^?#]*)", re.IGNORECASE
)
_CHUNK = 1 << 20
_LOCKS = 64


@dataclass(frozen=True)
class BlobProperties:
    """A blob as it is at the time of asking; `size` in bytes."""

    container: str
    name: str
    size: int
    modified: datetime
    etag: str
    content_type: str
    metadata: dict[str, str] = field(default_factory=dict)
    content_md5: str | None = None
    """Base64, of the content of a blob that came as a whole; None once somebody else has written into its file."""


Listing = list[BlobProperties]

Check = Callable[[BlobProperties | None], None]
"""Looks at the blob that a write is about to replace, or None; raises ServiceError to keep it."""


def parse_datastore_uri(uri: str) -> tuple[str, str]:
    """Datastore and path of `azureml://datastores/<d>/paths/<p>`, in the short or the long form.

    Raises:
        ServiceError: 400 if the uri has another form.
    """
    match = _DATASTORE_URI.fullmatch(uri)
    if match is None:
        raise ServiceError(
            400, "UserError", f"'{uri}' is not a datastore uri (azureml://datastores/<name>/paths/<path>)."
        )
    return match["datastore"], match["path"]


def datastore_uri(container: str, name: str) -> str:
    """The short `azureml://datastores/...` form of a place in a workspace container."""
    return f"azureml://datastores/{DATASTORE_OF_CONTAINER[container]}/paths/{name}"


class BlobStore:
    """Containers of blobs under `root`.

    A blob is the file `root/<container>/<name>`. Content type, metadata and MD5 of blobs that came over the wire are
    documents of kind `blob`; a file that a job wrote into the folder is a blob without them. A write becomes visible
    as a whole: nobody ever sees half a blob, after a crash either, or the content of one version with the properties
    of another.
    """

    def __init__(self, root: Path, store: Store):
        self.root = root
        self._store = store
        self._staging = root / ".staging"
        self._blocks = Blocks(root / ".blocks")
        self._locks = [threading.RLock() for _ in range(_LOCKS)]
        self._make_folders()
        for leftover in self._staging.iterdir():
            leftover.unlink()

    def path(self, container: str, name: str) -> Path:
        """Where the blob's file lies or would lie.

        Raises:
            ServiceError: 400 `InvalidUri` for a name that no blob can have here (empty or dot segments, a backslash,
                a control character, too long) or that a symbolic link leads out of the container; 404
                `ContainerNotFound`.
        """
        base = self.container_path(container)
        check_name(name)
        path = base.joinpath(*name.split("/"))
        if not path.resolve().is_relative_to(base.resolve()):
            raise ServiceError(400, "InvalidUri", f"The blob name '{name}' leads out of its container.")
        return path

    def container_path(self, container: str) -> Path:
        """The container's folder. Raises ServiceError: 404 `ContainerNotFound`."""
        path = self.root / container
        if not is_container(container) or not path.is_dir():
            raise ServiceError(404, "ContainerNotFound", f"The container '{container}' does not exist.")
        return path

    def create_container(self, container: str) -> None:
        """Makes the container unless it is there."""
        if not is_container(container):
            raise ServiceError(400, "InvalidResourceName", f"'{container}' is not a valid container name.")
        (self.root / container).mkdir(mode=0o700, exist_ok=True)

    def exists(self, container: str, name: str) -> bool:
        """Whether there is a blob of exactly this name."""
        return self._find(container, name) is not None

    def properties(self, container: str, name: str) -> BlobProperties:
        """Raises ServiceError: 404 `BlobNotFound`."""
        found = self.find(container, name)
        if found is None:
            raise _no_blob()
        return found

    def find(self, container: str, name: str) -> BlobProperties | None:
        """The blob's properties, or None if there is none."""
        with self._lock(container, name):
            path = self._find(container, name)
            return self._describe(container, name, path, self._document(container, name)) if path else None

    def open(self, container: str, name: str) -> tuple[BlobProperties, BinaryIO]:
        """One version of the blob: what it is, and its content, which later writes and deletions leave as it is.

        Raises:
            ServiceError: 404 `BlobNotFound`.
        """
        with self._lock(container, name):
            path = self._find(container, name)
            try:
                file = path.open("rb") if path else None
            except FileNotFoundError:
                file = None
            if file is None:
                raise _no_blob()
            status = os.fstat(file.fileno())
            return _described(container, name, status, self._document(container, name)), file

    def writing(
        self,
        container: str,
        name: str,
        *,
        content_type: str = "application/octet-stream",
        metadata: dict[str, str] | None = None,
        content_md5: str | None = None,
        overwrite: bool = True,
        check: Check | None = None,
    ) -> Upload:
        """A writable context: the blob appears when it ends without an exception, and not at all otherwise.

        Raises:
            ServiceError: 409 `BlobAlreadyExists` unless `overwrite`; at the end of the context 400 `Md5Mismatch` if
                what went through `Upload.write` does not have the base64 MD5 `content_md5`, and what `check` raises.
        """
        target = self.path(container, name)
        if not overwrite and target.exists():
            raise _already_exists()
        properties = {"content_type": content_type, "metadata": metadata or {}}

        def publish(staged: Path, md5: str | None) -> BlobProperties:
            with self._lock(container, name):
                if check is not None:
                    check(self.find(container, name))
                document = properties | {"content_md5": md5, "size": staged.stat().st_size}
                self._publish(staged, f"{container}/{name}", target, document, overwrite)
                return _described(container, name, target.stat(), document)

        return Upload(self._staging / uuid.uuid4().hex, publish, content_md5)

    def set_metadata(self, container: str, name: str, metadata: dict[str, str]) -> BlobProperties:
        """Replaces all metadata. Raises ServiceError: 404 `BlobNotFound`."""
        with self._lock(container, name):
            current = self.properties(container, name)
            document = {
                "content_type": current.content_type,
                "metadata": metadata,
                "content_md5": current.content_md5,
                "size": current.size,
                "mtime_ns": self.path(container, name).stat().st_mtime_ns,
                "modified": datetime.now(UTC).timestamp(),
            }
            self._store.put("blob", f"{container}/{name}", document)
            return self.properties(container, name)

    def delete(self, container: str, name: str) -> None:
        """Removes the blob. Raises ServiceError: 404 `BlobNotFound`."""
        with self._lock(container, name):
            path = self._find(container, name)
            if path is None:
                raise _no_blob()
            path.unlink(missing_ok=True)
            self._store.delete("blob", f"{container}/{name}")

    def list(self, container: str, prefix: str = "") -> Listing:
        """Blobs whose name starts with `prefix`, in the order of their names."""
        base = self.container_path(container)
        documents = dict(self._store.items("blob", f"{container}/{prefix}"))
        found: Listing = []
        for name in sorted(names_below(base, prefix)):
            described = self._describe(container, name, base / name, documents.get(f"{container}/{name}"))
            if described is not None:  # else it was deleted a moment ago
                found.append(described)
        return found

    def writing_block(self, container: str, name: str, block_id: str, *, content_md5: str | None = None) -> Upload:
        """A writable context that ends with a block, kept until a block list names it."""
        self.path(container, name)

        def publish(staged: Path, _: str | None) -> None:
            with self._lock(container, name):
                self._blocks.add(f"{container}/{name}", block_id, staged)

        return Upload(self._staging / uuid.uuid4().hex, publish, content_md5)

    def put_block_list(
        self,
        container: str,
        name: str,
        block_ids: Sequence[str],
        *,
        content_type: str = "application/octet-stream",
        metadata: dict[str, str] | None = None,
        overwrite: bool = True,
        check: Check | None = None,
    ) -> BlobProperties:
        """Makes the blob out of its blocks and forgets them.

        Raises:
            ServiceError: 400 `InvalidBlockList` if a block was never put, else as `writing`.
        """
        self.path(container, name)
        key = f"{container}/{name}"
        with self._lock(container, name):
            taken = self._blocks.take(key, block_ids)
        with (
            taken.files() as files,
            self.writing(
                container, name, content_type=content_type, metadata=metadata, overwrite=overwrite, check=check
            ) as upload,
        ):
            for file in files:
                with file.open("rb") as source:
                    shutil.copyfileobj(source, upload.file, _CHUNK)
        with self._lock(container, name):
            self._blocks.forget(key)
        return upload.published

    def clear(self) -> None:
        """Removes all blobs, blocks and containers; the two of the workspace are there again, empty."""
        for folder in self.root.iterdir():
            shutil.rmtree(folder)
        self._make_folders()

    def _make_folders(self) -> None:
        for folder in (self.root, self._staging):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for container in (DEFAULT_CONTAINER, ARTIFACT_CONTAINER):
            (self.root / container).mkdir(mode=0o700, exist_ok=True)

    def _find(self, container: str, name: str) -> Path | None:
        # Clients ask in this way whether a folder is a blob.
        path = self.path(container, name.removesuffix("/"))
        return path if path.is_file() and not name.endswith("/") else None

    def _lock(self, container: str, name: str) -> threading.RLock:
        return self._locks[hash((container, name.removesuffix("/"))) % _LOCKS]

    def _document(self, container: str, name: str) -> Document | None:
        return self._store.get("blob", f"{container}/{name}")

    def _publish(self, staged: Path, key: str, target: Path, properties: dict[str, Any], overwrite: bool) -> None:
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.utime(staged)  # of two versions the later one is the one that is published later
            properties = properties | {"mtime_ns": staged.stat().st_mtime_ns}
            # A crash between the two steps must not leave the old blob's "upload completed" mark on the new content.
            if overwrite:
                self._store.delete("blob", key)
                staged.replace(target)
            else:
                os.link(staged, target)
                staged.unlink()
        except FileExistsError as error:
            if target.exists() and not overwrite:
                raise _already_exists() from error
            raise _is_folder(key) from error
        except (IsADirectoryError, NotADirectoryError) as error:
            raise _is_folder(key) from error
        self._store.put("blob", key, properties)

    def _describe(self, container: str, name: str, path: Path, document: Document | None) -> BlobProperties | None:
        try:
            return _described(container, name, path.stat(), document)
        except FileNotFoundError:
            return None


def _described(container: str, name: str, status: os.stat_result, document: Document | None) -> BlobProperties:
    document = document or {}
    if document.get("size", status.st_size) != status.st_size:
        document = {}  # a job has written into the file since
    # Documents of earlier versions have none.
    is_as_written = document.get("mtime_ns", status.st_mtime_ns) == status.st_mtime_ns
    modified = max(status.st_mtime, document.get("modified", 0.0))
    return BlobProperties(
        container=container,
        name=name,
        size=status.st_size,
        modified=datetime.fromtimestamp(modified, UTC),
        etag=f'"0x{int(modified * 1e6):X}{status.st_size:X}"',
        content_type=document.get("content_type") or "application/octet-stream",
        metadata=document.get("metadata") or {},
        content_md5=document.get("content_md5") if is_as_written else None,
    )


def _no_blob() -> ServiceError:
    return ServiceError(404, "BlobNotFound", "The specified blob does not exist.")


def _already_exists() -> ServiceError:
    return ServiceError(409, "BlobAlreadyExists", "The specified blob already exists.")


def _is_folder(key: str) -> ServiceError:
    return ServiceError(
        409, "PathConflict", f"'{key}' conflicts with a blob that has this name as a folder, or in reverse."
    )
