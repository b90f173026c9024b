"""On whose behalf the graph makes things."""

from phi_assets.azureml.ownership import Owner
from phi_assets.config.settings import load_settings
from phi_assets.emulator.process import Connection
from phi_assets.graph.resources.workspace import AzureMLWorkspace


def test_the_project_of_the_settings_is_whose_things_are(emulator: Connection) -> None:
    home = str(emulator.directory.parent)
    workspace = AzureMLWorkspace.from_settings(load_settings({"PHI_HOME": home, "PHI_PROJECT": "support"}))
    assert workspace.owner("a") == workspace.connect().owner("a") == Owner("support", "a")
