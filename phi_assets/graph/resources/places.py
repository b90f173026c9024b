"""Where the project's data lies, opened with the identity of everything else."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from phi_assets.config.settings import Settings, load_settings
from phi_assets.dataset.files.places import FsspecPlace, Place
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.graph.resources.workspace import connected

_AZURE = frozenset({"abfs", "abfss", "az", "azureml"})


@dataclass(frozen=True)
class Places:
    """Opens a place by its path or URL, each once; the workspace is connected to where a datastore is meant."""

    target: str
    home: str
    _open: dict[str, Place] = field(default_factory=dict, compare=False, repr=False)

    def __call__(self, url: str) -> Place:
        """The place; nothing is contacted yet."""
        if url not in self._open:
            self._open[url] = self._opened(url)
        return self._open[url]

    def _opened(self, url: str) -> Place:
        if urlsplit(url).scheme not in _AZURE:
            return FsspecPlace(url)
        from phi_assets.azureml.connection.client import signed_in
        from phi_assets.azureml.connection.clouds import CLOUDS
        from phi_assets.azureml.storage.blob_place import blob_place

        settings = load_settings()
        return blob_place(
            url,
            lambda: signed_in(settings),
            lambda: connected(self.target, self.home),
            CLOUDS[settings.cloud].storage,
        )


def data_storage(settings: Settings) -> DataStorage:
    """`PHI_DATA` of these settings; nothing is contacted yet."""
    return DataStorage(settings.data, settings.data_dir, Places(settings.target, str(settings.home)))
