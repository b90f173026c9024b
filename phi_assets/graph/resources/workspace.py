"""The Azure ML workspace as a Dagster resource; on the emulator target it also starts the emulator."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from pydantic import Field, PrivateAttr

from phi_assets.azureml.connection.client import Workspace, connect_azure, connect_emulator
from phi_assets.azureml.connection.errors import AzureMLError
from phi_assets.azureml.connection.sight import Vigil
from phi_assets.azureml.ownership import Owner
from phi_assets.config.endpoint_names import workspace_path
from phi_assets.config.settings import PROJECT, Settings, load_settings
from phi_assets.emulator.process import ensure_running
from phi_assets.redaction import censor


class AzureMLWorkspace(dg.ConfigurableResource):
    """A connection to the workspace that the settings name, opened when an asset first asks for it."""

    target: str = Field(description="`emulator` or `azure`")
    subscription_id: str = Field(description="Azure subscription id")
    resource_group: str = Field(description="Resource group of the workspace")
    workspace_name: str = Field(description="Azure ML workspace")
    credential: str = Field(description="How to authenticate: `default`, `cli`, `environment`, ...")
    home: str = Field(description="Folder of everything that the project writes on this machine")
    project: str = Field(default=PROJECT, description="Whose things are: the tag `phi-project` on all that is made")

    _workspace: Workspace | None = PrivateAttr(default=None)

    @classmethod
    def from_settings(cls, settings: Settings) -> "AzureMLWorkspace":
        """The resource for these settings; nothing is contacted yet."""
        return cls(
            target=settings.target,
            subscription_id=settings.subscription_id,
            resource_group=settings.resource_group,
            workspace_name=settings.workspace_name,
            credential=settings.credential,
            home=str(settings.home),
            project=settings.project,
        )

    def owner(self, recipe: str) -> Owner:
        """On whose behalf things are made and ended for the recipe of this name."""
        return Owner(self.project, recipe)

    @property
    def path(self) -> str:
        """The workspace's ARM id."""
        return workspace_path(self.subscription_id, self.resource_group, self.workspace_name)

    @contextmanager
    def session(self) -> Iterator[Workspace]:
        """The connected workspace; an `AzureMLError` inside the block becomes a `dagster.Failure`.

        The failure carries the Azure ML Studio link where there is one and is not retried: the error names a state of
        the world that a second try would meet again. No exception that leaves the block says a key, token or signature.
        """
        try:
            yield self.connect()
        except AzureMLError as error:
            censor(error)
            metadata = {"studio": dg.MetadataValue.url(error.studio_url)} if error.studio_url else {}
            raise dg.Failure(description=str(error), metadata=metadata, allow_retries=False) from error
        except Exception as error:
            censor(error)
            raise

    def connect(self) -> Workspace:
        """The workspace, connected once for the life of this resource."""
        if self._workspace is None:
            self._workspace = self._open()
        return self._workspace

    def _open(self) -> Workspace:
        return connected(self.target, self.home, self.project)


def connected(target: str, home: str, project: str = PROJECT) -> Workspace:
    """The workspace of the target: the emulator below `home`, which runs afterwards, or the one of the settings."""
    settings = load_settings()
    if target == "emulator":
        vigil = Vigil(limit_seconds=settings.sight_hours * 3600)
        return connect_emulator(ensure_running(Path(home) / "emulator"), vigil, project)
    return connect_azure(settings)
