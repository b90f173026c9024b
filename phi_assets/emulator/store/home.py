"""Whether a folder of state is the one that it was, has been moved, or is a copy whose original may be running."""

from dataclasses import dataclass
from pathlib import Path

from phi_assets.emulator.folder import folder_id
from phi_assets.emulator.store.state import Store

_DOCUMENT = ("home", "folder")


@dataclass(frozen=True)
class Home:
    """The folder, and where the state in it has been before."""

    path: Path
    is_copy: bool = False
    """Processes and sockets that the state speaks of belong to the original."""
    earlier: Path | None = None
    """The path that it had, if that was another one."""

    def here(self, path: str) -> str:
        """A path that the state has kept, as it is now: what lay in the earlier folder lies in this one."""
        if self.earlier is None or not Path(path).is_relative_to(self.earlier):
            return path
        return str(self.path / Path(path).relative_to(self.earlier))

    def keep(self, store: Store) -> None:
        """From now on the state says that it is in this folder: it has been brought in line with it."""
        store.put(*_DOCUMENT, {"path": str(self.path), "id": folder_id(self.path)})


def home_of(directory: Path, store: Store) -> Home:
    """What the state in `store` says of its folder, which is `directory`."""
    directory = directory.resolve()
    kept = store.get(*_DOCUMENT)
    if kept is None:  # made by an earlier version, or new
        return Home(directory)
    earlier = Path(kept["path"])
    return Home(directory, kept["id"] != folder_id(directory), None if earlier == directory else earlier)
