"""Whether what lies at a URL lies in a datastore of the workspace."""

from typing import Any

from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.storage.datastores import uri_of


def test_a_url_is_found_in_the_datastore_of_its_account_and_container(workspace: Workspace) -> None:
    entity: Any = sdk().entities.AzureBlobDatastore(name="found_by_url", account_name="acc", container_name="c")
    workspace.ml.datastores.create_or_update(entity)
    try:
        expected = "azureml://datastores/found_by_url/paths/a/b.jsonl"
        assert uri_of(workspace, "abfss://c@acc.dfs.core.windows.net/a/b.jsonl") == expected
        assert uri_of(workspace, "az://c@acc/a/b.jsonl") == expected
        assert uri_of(workspace, expected) == expected
        for other in ("abfss://d@acc.dfs.core.windows.net/a", "az://c@another/a", "s3://c/a", "/c/a"):
            assert uri_of(workspace, other) is None
    finally:
        workspace.ml.datastores.delete("found_by_url")
