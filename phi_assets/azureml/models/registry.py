"""Models of registries, as the registry itself describes them."""

from typing import Any
from urllib.parse import urlsplit

from azure.core.exceptions import ResourceNotFoundError
from azure.core.rest import HttpRequest

from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.connection.errors import ModelNotFound
from phi_assets.azureml.connection.retry import Log, one_line, ride_out, silent
from phi_assets.azureml.models.metadata import RegistryModel, read_system_metadata
from phi_assets.config.recipe import ModelSection

_API_VERSION = "2021-10-01-dataplanepreview"


def read_registry_model(ws: Workspace, section: ModelSection, log: Log = silent) -> RegistryModel:
    """The recipe's model; `latest` is the newest by creation time that is not archived.

    Raises:
        ModelNotFound: no such model or version.
        WorkspaceUnreachable: the registry cannot be reached.
    """
    model = _resolve(ws, section, log)
    content = _content(ws, section, str(model.version), log)
    return RegistryModel(
        id=str(model.id),
        name=str(model.name),
        version=str(model.version),
        tags=dict(model.tags or {}),
        properties=dict(model.properties or {}),
        flavors=dict(model.flavors or {}),
        system_metadata=read_system_metadata(content),
        is_archived=bool(content.get("isArchived")),
    )


def model_names(ws: Workspace, registry: str, log: Log = silent) -> list[str]:
    """Names of the registry's models that are not archived.

    Raises:
        HttpResponseError: the registry refused, or does not answer.
        WorkspaceUnreachable: the registry cannot be reached.
    """
    client = ws.registry(registry)
    return ride_out(lambda: [str(model.name) for model in client.models.list()], f"models of {registry}", log)


def newest_archived_version(ws: Workspace, section: ModelSection, log: Log = silent) -> str | None:
    """The newest version that the registry has archived, and so hides from `latest`; None where there is none.

    Raises:
        HttpResponseError: the registry refused, or does not answer.
    """
    # The SDK lists active versions only.
    wanted = {"listViewType": "ArchivedOnly", "$orderBy": "createdtime desc", "$top": "1"}
    try:
        answer = _ask(ws, section.registry, "GET", f"models/{section.name}/versions", log, params=wanted)
        found = answer.get("value") or []
    except ResourceNotFoundError:
        return None
    return str(found[0]["id"]).rpartition("/")[2] if found else None


def model_file(ws: Workspace, section: ModelSection, file: str, log: Log = silent) -> bytes:
    """A file of the model's folder by its name, the one least deep; nothing else is read.

    Raises:
        ModelNotFound: no such model or version, or no such file.
        AzureError: the registry or its storage refused, or does not answer.
        WorkspaceUnreachable: the registry cannot be reached.
    """
    # The SDK only downloads all files, which are gigabytes.
    from azure.storage.blob import ContainerClient

    model = _resolve(ws, section, log)
    place = f"datarefs/{section.name}/versions/{model.version}"
    body = {"assetId": f"azureml://registries/{section.registry}/models/{section.name}/versions/{model.version}"}
    answer = _ask(ws, section.registry, "POST", place, log, json=body | {"blobUri": str(model.path)})
    reference = answer["blobReferenceForConsumption"]
    credential = reference.get("credential") or {}
    folder = urlsplit(str(model.path if str(model.path).startswith("https:") else reference["blobUri"]))
    root = f"{folder.scheme}://{folder.netloc}/{folder.path.split('/')[1]}"

    def read() -> bytes | None:
        with ContainerClient.from_container_url(credential.get("sasUri") or root) as container:
            inside = "/".join(folder.path.split("/")[2:]).rstrip("/")
            blobs = container.list_blob_names(name_starts_with=f"{inside}/" if inside else None)
            names = [name for name in blobs if name.rpartition("/")[2] == file]
            return container.download_blob(min(names, key=lambda name: name.count("/"))).readall() if names else None

    content = ride_out(read, f"{file} of {section.name}", log)
    if content is None:
        raise ModelNotFound(f"Model {model.id} has no {file}.")
    return content


def _ask(ws: Workspace, registry: str, method: str, place: str, log: Log, params: Any = None, json: Any = None) -> Any:
    """What the registry answers at a place for which the SDK has no call.

    Private, and covered by a test against the pinned SDK version.
    """
    client: Any = ws.registry(registry)
    operations = client.models
    path = (
        f"/subscriptions/{operations._subscription_id}/resourceGroups/{operations._resource_group_name}"
        f"/providers/Microsoft.MachineLearningServices/registries/{registry}/{place}"
    )

    def send() -> Any:
        request = HttpRequest(method, path, params={**(params or {}), "api-version": _API_VERSION}, json=json)
        response = operations._registry_service_client.send_request(request)
        response.raise_for_status()
        return response.json()

    return ride_out(send, f"{place} of registry {registry}", log)


def _resolve(ws: Workspace, section: ModelSection, log: Log) -> Any:
    client = ws.registry(section.registry)
    which = {"label": "latest"} if section.version == "latest" else {"version": section.version}
    try:
        return ride_out(lambda: client.models.get(section.name, **which), f"model {section.name}", log)
    except (ResourceNotFoundError, sdk().exceptions.ValidationException) as error:
        version = "" if section.version == "latest" else f" version {section.version}"
        raise ModelNotFound(
            f"Registry {section.registry!r} has no model {section.name!r}{version}: {one_line(error)}. Check "
            "`model.name` in the recipe, which is case-sensitive, and `model.version`: an archived model has no "
            "`latest` but can still be had by its version."
        ) from error


def _content(ws: Workspace, section: ModelSection, version: str, log: Log) -> Any:
    # The SDK's entity drops fields when it reads a registry model, so the answer itself is read. Private, and covered
    # by a test against the pinned SDK version.
    operations: Any = ws.registry(section.registry).models
    answer = ride_out(lambda: operations._get(section.name, version), f"model {section.name}", log)
    return answer.properties
