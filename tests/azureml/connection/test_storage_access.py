"""Storage whose keys are disabled: everything goes by identity, and a workspace in between is told what it lacks."""

from pathlib import Path

import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import DataUploadFailed, StorageRefused
from phi_assets.azureml.connection.storage_access import storage_advice
from phi_assets.azureml.models.folders import list_folder
from phi_assets.azureml.training.data import ensure_data_asset
from phi_assets.azureml.training.outputs import inspect_output
from phi_assets.emulator.control import Control
from phi_assets.emulator.security.storage_auth import StorageAuth
from tests.azureml.toys import make_sample


class NamedJob:
    """All that an output's default place depends on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outputs: dict[str, object] = {}


def test_without_keys_samples_are_uploaded_and_outputs_listed_by_identity(
    toys: Workspace, control: Control, tmp_path: Path
) -> None:
    control.set_storage_auth("identity")
    since = control.last_entry()
    sample = make_sample(tmp_path, "train_sft", str(tmp_path))
    assert ensure_data_asset(toys, "by-identity", sample).action == "created"
    assert inspect_output(toys, NamedJob("nobody")).folder.files == 0
    counts = control.counts(since)
    assert not [route for route in counts if "listsecrets" in route]
    assert any(entry.plane == "blob" and entry.method == "PUT" for entry in control.journal(since))


@pytest.mark.parametrize(("auth", "kind"), [("keys", "AccountKeyConfiguration"), ("sas", "SasTokenConfiguration")])
def test_samples_are_uploaded_and_outputs_listed_with_the_account_s_key_and_with_signatures(
    toys: Workspace, control: Control, tmp_path: Path, auth: StorageAuth, kind: str
) -> None:
    control.set_storage_auth(auth)
    datastore = toys.ml.datastores.get("workspaceblobstore", include_secrets=True)
    assert type(datastore.credentials).__name__ == kind
    sample = make_sample(tmp_path, "train_sft", str(tmp_path))
    uploaded = ensure_data_asset(toys, f"by-{auth}", sample)
    assert uploaded.action == "created"
    path = str(toys.ml.data.get(uploaded.name, uploaded.version).path)
    assert list_folder(toys, path.rpartition("/")[0]).files == 1
    assert inspect_output(toys, NamedJob("nobody")).folder.files == 0


def test_a_clock_that_is_off_or_a_key_that_was_replaced_is_explained(toys: Workspace, control: Control) -> None:
    control.add_fault(plane="blob", action="status", status=403, code="AuthenticationFailed")
    with pytest.raises(StorageRefused, match=r"clock is more than 15 minutes off.*sync-keys"):
        inspect_output(toys, NamedJob("nobody"))


def test_keys_that_storage_refuses_are_explained_with_the_command_that_helps(
    toys: Workspace, control: Control, tmp_path: Path
) -> None:
    control.set_storage_auth("keys_refused")
    sample = make_sample(tmp_path, "train_sft", str(tmp_path))
    with pytest.raises(DataUploadFailed, match="--system-datastores-auth-mode identity") as raised:
        ensure_data_asset(toys, "refused", sample)
    assert "sig=" not in str(raised.value)
    with pytest.raises(StorageRefused, match="--system-datastores-auth-mode identity"):
        inspect_output(toys, NamedJob("nobody"))
    control.set_storage_auth("identity")
    assert ensure_data_asset(toys, "refused", sample).action == "created"


def test_a_missing_role_is_named(toys: Workspace, control: Control) -> None:
    control.set_storage_auth("identity")
    control.add_fault(plane="blob", action="status", status=403, code="AuthorizationPermissionMismatch")
    with pytest.raises(StorageRefused, match="role Storage Blob Data Contributor"):
        inspect_output(toys, NamedJob("nobody"))


def test_other_errors_get_no_advice() -> None:
    assert storage_advice(ValueError("no such file")) == ""


def test_reset_brings_the_keys_back(clean_emulator: object, toys: Workspace, control: Control) -> None:
    control.set_storage_auth("identity")
    assert type(toys.ml.datastores.get("workspaceblobstore").credentials).__name__ == "NoneCredentialConfiguration"
    control.reset()
    assert type(toys.ml.datastores.get("workspaceblobstore").credentials).__name__ != "NoneCredentialConfiguration"
