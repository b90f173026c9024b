"""What every route of the emulator works with."""

import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

from phi_assets.config.settings import EMULATOR_RESOURCE_GROUP, EMULATOR_SUBSCRIPTION, EMULATOR_WORKSPACE
from phi_assets.emulator.chaos.clock import Clock
from phi_assets.emulator.chaos.faults import Faults
from phi_assets.emulator.chaos.occupancy import Occupancy
from phi_assets.emulator.chaos.scenarios import Scenarios
from phi_assets.emulator.chaos.throttling import Throttling
from phi_assets.emulator.process import STORAGE_SUFFIX
from phi_assets.emulator.security.account_key import AccountKey
from phi_assets.emulator.security.auth import Auth
from phi_assets.emulator.security.network import NetworkIsolation
from phi_assets.emulator.security.storage_auth import StorageAuth
from phi_assets.emulator.store.blobs import BlobStore
from phi_assets.emulator.store.home import Home, home_of
from phi_assets.emulator.store.journal import Journal
from phi_assets.emulator.store.state import Store
from phi_assets.emulator.workspace.catalog import Catalog
from phi_assets.emulator.workspace.nodes import Nodes
from phi_assets.emulator.workspace.quotas import Quotas
from phi_assets.emulator.workspace.workers import Workers

ACCOUNT = "phistorage"
PACKAGED_REGISTRIES = Path(__file__).parents[1] / "registry"
REGISTERED = "Registered"


@dataclass(frozen=True)
class TokenLife:
    """How many seconds the token of an endpoint is good for, and after how many it should be replaced."""

    seconds: int = 24 * 3600
    refresh_after: int = 12 * 3600


@dataclass
class Emulator:
    """The workspace: what it keeps, what its registries hold, and what is to go wrong in it."""

    directory: Path
    base_url: str
    store: Store
    blobs: BlobStore
    auth: Auth
    account_key: AccountKey
    """Of the storage account behind the datastores."""
    catalog: Catalog
    clock: Clock
    studio_url: str
    """Base url of the pages that people look at."""
    home: Home
    """What became of the folder since the state was last used."""
    subscription_id: str = EMULATOR_SUBSCRIPTION
    resource_group: str = EMULATOR_RESOURCE_GROUP
    workspace_name: str = EMULATOR_WORKSPACE
    location: str = "emulator"
    instance_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Of this process; a client knows by it that it talks to the server whose state file it read."""
    workspace_id: str = "00000000-0000-4000-8000-0000000000dd"
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the server begins to stop, and while it is reset; whoever waits should wait on it."""
    scenarios: Scenarios = field(default_factory=Scenarios)
    faults: Faults = field(default_factory=Faults)
    journal: Journal = field(default_factory=Journal)
    throttling: Throttling = field(default_factory=Throttling)
    occupancy: Occupancy = field(default_factory=Occupancy)
    quotas: Quotas = field(default_factory=Quotas)
    token_life: TokenLife = TokenLife()
    """Of tokens that endpoints in mode AMLToken issue from now on."""
    storage_auth: StorageAuth = "keys"
    """How the workspace's datastores are opened."""
    network_isolation: NetworkIsolation = "Disabled"
    """Of the workspace's managed virtual network."""
    provider_state: str = REGISTERED
    """Whether the subscription has registered the resource provider."""
    locks: dict[str, str] = field(default_factory=dict)
    """Locks on the resource group: name to level, `CanNotDelete` or `ReadOnly`."""
    workspace_kind: str = "Default"
    """What the workspace says that it is: a `Hub` and a `Project` are workspaces, too."""
    changing: threading.Lock = field(default_factory=threading.Lock)
    """Held by whoever stops or replaces what works in the workspace."""
    workers: Workers = field(init=False)
    """The threads of jobs and operations."""
    nodes: Nodes = field(init=False)
    """Those of the clusters that steps of jobs run on."""

    def __post_init__(self) -> None:
        self.nodes = Nodes(self.store, self.quotas)
        self.workers = Workers(self.store, self.stopping)

    @property
    def workspace_path(self) -> str:
        """ARM id of the workspace."""
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.workspace_name}"
        )

    @property
    def location_path(self) -> str:
        """ARM path of the region, under which long-running operations have their status documents."""
        return (
            f"/subscriptions/{self.subscription_id}/providers/Microsoft.MachineLearningServices"
            f"/locations/{self.location}"
        )

    @property
    def storage_account(self) -> str:
        """The datastores' `accountName`.

        With it the SDK builds `https://localhost:<port>/<account>.blob.<suffix>/...`, which needs no DNS entry.
        """
        return _storage_account(self.base_url)

    def blob_url(self, container: str, name: str = "") -> str:
        """Where the blob (or the container) answers; not signed."""
        return f"https://{self.storage_account}.blob.{STORAGE_SUFFIX}/{container}" + (f"/{quote(name)}" if name else "")

    def sas_url(self, container: str, name: str, permissions: str = "r", hours: float = 24) -> str:
        """The blob's url with a signature that is good for `hours`; an empty `name` means the container."""
        expiry = self.clock.now() + timedelta(hours=hours)
        return f"{self.blob_url(container, name)}?{self.account_key.sign_sas(container, name, permissions, expiry)}"


def open_emulator(
    directory: Path,
    base_url: str,
    time_scale: float = 1.0,
    studio_url: str | None = None,
    registries: Sequence[Path] | None = None,
) -> Emulator:
    """The emulator whose state lies in `directory` (created, mode 0700, if need be).

    Without `studio_url` links to Studio lead to `base_url`, where nobody serves it. `registries` are folders of
    registries; by default the packaged ones and those in the folder `registry` of `directory`.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    store, clock = Store(directory / "state.sqlite"), Clock(time_scale)
    return Emulator(
        directory=directory,
        base_url=base_url.rstrip("/"),
        store=store,
        blobs=BlobStore(directory / "blobs", store),
        auth=Auth(directory, base_url),
        account_key=AccountKey(directory, [ACCOUNT, _storage_account(base_url)], clock.now),
        catalog=Catalog(registries or [PACKAGED_REGISTRIES, directory / "registry"]),
        clock=clock,
        studio_url=(studio_url or base_url).rstrip("/"),
        home=home_of(directory, store),
    )


def _storage_account(base_url: str) -> str:
    return f"localhost:{urlsplit(base_url).port}/{ACCOUNT}"
