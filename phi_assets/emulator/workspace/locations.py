"""What uris and ids mean: datastore uris, job outputs, blob urls; versions, uploaded code, environments."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from phi_assets.emulator.store.blobs import ARTIFACT_CONTAINER, DATASTORE_OF_CONTAINER, parse_datastore_uri
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.errors import not_found, user_error
from phi_assets.emulator.workspace import assets
from phi_assets.emulator.workspace.assets import AssetKind
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.datastores import container_of, datastore_of, datastore_path

WORKSPACE_ASSET = re.compile(
    r"(?:azureml:)?(?:azureml://locations/[^/]+/workspaces/[^/]+|/subscriptions/.+?/workspaces/[^/]+)"
    r"/(?P<kind>data|models|components|codes|environments)/(?P<name>[^/]+)/(?:versions/(?P<version>[^/]+)|labels/(?:default|latest))",
    re.IGNORECASE,
)
SHORT = re.compile(r"azureml:(?P<name>[^/:@]+)(?::(?P<version>[^/:@]+)|@latest)")
_INVALID = "BadArgument/ArgumentInvalid"
_DATASTORE = re.compile(r"azureml://(?:.*/)?datastores/[^/]+/paths(?:/.*)?", re.IGNORECASE)
_JOB_OUTPUT = re.compile(
    r"azureml://(?:.*/)?jobs/(?P<job>[^/]+)/outputs/(?P<output>[^/]+)(?:/paths)?(?P<rest>/.*)?", re.IGNORECASE
)
_RUN = re.compile(r"runs:/(?P<run>[^/]+)/(?P<path>.+)")
_BLOB_PATH = re.compile(r"/[^/]+\.blob\.[^/]+/(?P<container>[^/]+)(?:/(?P<name>.*))?")


def long_uri(emulator: Emulator, uri: str) -> str:
    """A datastore uri of this workspace, or one of its blob urls, in the form with subscription, group and workspace.

    Other uris (registry ids, public web addresses) are returned as they are.

    Raises:
        ServiceError: 404 for a datastore that the workspace does not have.
    """
    if _DATASTORE.fullmatch(uri):
        datastore, name = parse_datastore_uri(uri)
        datastore = datastore_of(emulator, container_of(emulator, datastore)) or datastore
    else:
        place = blob_of(emulator, uri)
        if place is None or not place[1]:
            return uri
        datastore, name = datastore_of(emulator, place[0]), place[1]
        if datastore is None:
            return uri
    return (
        f"azureml://subscriptions/{emulator.subscription_id}/resourcegroups/{emulator.resource_group}"
        f"/workspaces/{emulator.workspace_name}/datastores/{datastore}/paths/{name}"
    )


def blob_of(emulator: Emulator, url: str) -> tuple[str, str] | None:
    """Container and name behind a url of the workspace's storage account; None for any other uri."""
    if not url.startswith(emulator.blob_url("").rstrip("/") + "/"):
        return None
    match = _BLOB_PATH.fullmatch(unquote(urlsplit(url).path))
    return (match["container"], (match["name"] or "").strip("/")) if match else None


def resolve_uri(emulator: Emulator, uri: str) -> tuple[str, str | None]:
    """The long datastore uri behind `uri`, and the job that made it if `uri` names one.

    `azureml://jobs/<job>/outputs/<output>[/paths/<path>]` means the output of a completed job, the output `artifacts`
    and `runs:/<run>/<path>` its artifacts.

    Raises:
        ServiceError: 404 if the job or the output does not exist, 400 if the job has not completed.
    """
    if match := _JOB_OUTPUT.fullmatch(uri):
        place = _job_output(emulator, match["job"], match["output"]).rstrip("/")
        return long_uri(emulator, place + (match["rest"] or "")), match["job"]
    if match := _RUN.fullmatch(uri):
        run = match["run"]
        if emulator.store.get("run", run) is None:
            raise not_found("Run", run, code="UserError", detail="RunNotFound")
        return long_uri(emulator, _artifacts(run) + match["path"]), run
    return long_uri(emulator, uri), None


def _job_output(emulator: Emulator, job: str, output: str) -> str:
    run = emulator.store.get("run", job)
    if run is None:
        raise not_found("Job", job, code="UserError", detail="JobNotFound")
    if run["status"] != "Completed":
        raise user_error(
            f"The outputs of job '{job}' cannot be used yet: its status is {run['status']}, not Completed.",
            "BadArgument/JobNotCompleted",
        )
    if output in run["outputs"]:
        return run["outputs"][output]["uri"]
    if output == "artifacts":
        return _artifacts(job)
    names = ", ".join(sorted(run["outputs"])) or "none"
    raise not_found(f"Output of job '{job}' (it has: {names})", output, code="UserError", detail="JobOutputNotFound")


def _artifacts(run: str) -> str:
    return f"azureml://datastores/{DATASTORE_OF_CONTAINER[ARTIFACT_CONTAINER]}/paths/ExperimentRun/dcid.{run}/"


def version_of(emulator: Emulator, reference: str, kind: AssetKind, *, or_short: bool = False) -> Document | None:
    """The version of the workspace that `reference` means; with `or_short` also `azureml:<name>:<version>`.

    None if it has another form.

    Raises:
        ServiceError: 404 if there is no such version.
    """
    match = WORKSPACE_ASSET.fullmatch(reference)
    if match is None or match["kind"].lower() != kind.segment:
        match = SHORT.fullmatch(reference) if or_short else None
    if match is None:
        return None
    name, version = match["name"], match["version"]
    if version is not None:
        return assets.require_version(emulator, kind, name, version)
    latest = assets.latest_version(emulator, kind, name)
    if latest is None:
        raise assets.missing(kind, f"{name}@latest")
    return latest


def code_folder(emulator: Emulator, reference: str, where: str) -> Path:
    """The folder of code that was uploaded to the workspace.

    Raises:
        ServiceError: 404 if it is not there, 400 if the reference is of another kind.
    """
    document = version_of(emulator, reference, assets.CODES)
    if document is None:
        raise user_error(f"{where}: '{reference}' is not the id of code of the workspace.", _INVALID)
    uri = str(document["properties"]["codeUri"])
    container, name = blob_of(emulator, uri) or datastore_path(emulator, uri)
    path = emulator.blobs.path(container, name) if name else emulator.blobs.container_path(container)
    if not path.is_dir():
        raise not_found(f"{where}: code at", uri, code="UserError", detail="CodeNotFound")
    return path


def check_environment(emulator: Emulator, reference: str, where: str) -> None:
    """An environment of the workspace or a registry has to exist, though nothing is made of it.

    Raises:
        ServiceError: 404 if it does not, 400 if the reference is of another kind.
    """
    if version_of(emulator, reference, assets.ENVIRONMENTS, or_short=True) is not None:
        return
    if not emulator.catalog.is_registry_id(reference):
        raise user_error(f"{where}: '{reference}' is not the id of an environment.", _INVALID)
    emulator.catalog.resolve(reference, kind="environments")
