"""What the uris of assets mean: short and long datastore uris, job outputs, blob urls."""

import re
from urllib.parse import unquote, urlsplit

from phi_assets.emulator.store.blobs import ARTIFACT_CONTAINER, DATASTORE_OF_CONTAINER, parse_datastore_uri
from phi_assets.emulator.wire.errors import not_found, user_error
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.datastores import container_of, datastore_of

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
