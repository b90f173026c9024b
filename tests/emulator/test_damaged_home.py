"""Each file of a used emulator's folder, damaged in turn: it is named with the cure, or it does no harm.

The folder is that of a server that was killed. What another process would read of it is read here by the same code.
"""

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from phi_assets.emulator import process, small_files
from phi_assets.emulator.runner.records import STD_LOG, Records
from phi_assets.emulator.runner.references import WorkspaceResources
from phi_assets.emulator.security.tls import ensure_certificates
from phi_assets.emulator.serving.logs import INFERENCE_SERVER, DeploymentLogs
from phi_assets.emulator.serving.models import fetch_model
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.workspace.context import Emulator, open_emulator
from tests.emulator.http import raw_client, token
from tests.emulator.jobs import connected, until
from tests.emulator.serving.echo import write_echo_model
from tests.emulator.serving.test_recovery import Client

STORE = "azureml://datastores/workspaceblobstore/paths"
REGISTRY_MODEL = "azureml://registries/mine/models/echo/versions/1"
JOB = {
    "jobType": "Command",
    "command": "cat ${{inputs.data}} > ${{outputs.copy}}/copy.txt; mkdir outputs; echo kept > outputs/kept.txt; "
    """echo hello; echo '{"name": "loss", "value": 1.5, "timestamp": 1}' > $PHI_METRICS_FILE""",
    "environmentId": "azureml:made:1",
    "inputs": {"data": {"jobInputType": "uri_file", "uri": f"{STORE}/data/data.txt"}},
    "outputs": {"copy": {"jobOutputType": "uri_folder"}},
}

KINDS = {
    "keys": "*.key",
    "certificates": "tls/*.pem",
    "ports": "*port",
    "state file": "emulator.json",
    "database": "state.sqlite",
    "log of the database": "state.sqlite-wal",
    "index of that log": "state.sqlite-shm",
    "mark of an open database": "state.open",
    "locks": "*.lock",
    "logs of the server": "*.log",
    "output of the start": "serve.out",
    "document of a registry": "registry/*.yaml",
    "files of a registry's model": "registry/*/files/*",
    "files of a registered model": "blobs/azureml-blobstore/models/*",
    "uploaded data": "blobs/azureml-blobstore/data/*",
    "what jobs wrote": "blobs/*",
    "working folder of a step": "runs/*/wd/*",
    "metrics": "runs/*/metrics.jsonl",
    "record of a deployment": "deployments/*/instance.json",
}
"""The first that fits is a file's kind; logs of deployments are logs."""

Harm = Callable[[Path], None]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip(path: Path) -> None:
    """As a disk does it: nothing else changes, the file's time neither."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x01
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def delete(path: Path) -> None:
    path.unlink()


HARMS = (cut, empty, flip, delete)


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an emulator that has done a bit of everything, and was killed."""
    directory = tmp_path_factory.mktemp("golden") / "emulator"
    write_echo_model(directory / "registry" / "mine" / "models" / "echo" / "files", "echo")
    document = directory / "registry" / "mine" / "models" / "echo" / "1.yaml"
    document.write_text("name: echo\nversion: 1\ntype: mlflow_model\npath: files\n")
    write_echo_model(directory.parent / "model", "mine")
    connection = process.ensure_running(directory)
    upload(connection, "data/data.txt", b"some data" * 100)
    for file in (directory.parent / "model").rglob("*"):
        if file.is_file():
            upload(connection, f"models/{file.relative_to(directory.parent)}", file.read_bytes())
    with connected(connection) as jobs:
        for path, properties in {
            "/models/mine/versions/1": {"modelUri": f"{STORE}/models/model", "modelType": "mlflow_model"},
            "/environments/made/versions/1": {"image": "example/image:1"},
        }.items():
            jobs.client.put(path, json={"properties": properties}).raise_for_status()
        assert jobs.ended(jobs.submitted("done", JOB)) == "Completed"
    client = Client(connection)
    client.arm("PUT", "shop", {"location": "emulator", "properties": {"authMode": "Key"}}).raise_for_status()
    until(lambda: client.state("shop") == "Succeeded", "the endpoint")
    client.put_deployment("blue", "echo")
    until(lambda: client.state("shop/deployments/blue") == "Succeeded", "the deployment")
    os.kill(connection.pid, signal.SIGKILL)
    until(lambda: process.status(directory) is None, "the server to die")
    shutil.rmtree(directory / "blobs" / "azureml-blobstore" / "inputs")  # of `connected`
    return directory


def upload(connection: process.Connection, name: str, content: bytes) -> None:
    authorization = f"Bearer {token(connection, 'https://storage.azure.com')}"
    headers = {"x-ms-blob-type": "BlockBlob", "Authorization": authorization}
    with raw_client(connection) as client:
        url = f"{connection.base_url}/phistorage.blob.local.emu/azureml-blobstore/{name}"
        client.put(url, content=content, headers=headers).raise_for_status()


def readings(directory: Path, scratch: Path) -> dict[str, Any]:
    """What there is to read, by who reads it; a ServiceError is its message."""
    ensure_certificates(directory / "tls")
    emulator = open_emulator(directory, "https://127.0.0.1:1", 1000.0)
    try:
        return {name: said(lambda read=read: read(emulator)) for name, read in readers_of(scratch).items()}
    finally:
        emulator.store.close()


def said(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ServiceError as error:
        return error.message


def readers_of(scratch: Path) -> dict[str, Callable[[Emulator], Any]]:
    def served(model: str) -> Callable[[Emulator], Any]:
        logs = DeploymentLogs(scratch / "logs")
        logs.begin()
        return lambda emulator: contents(fetch_model(emulator, model, logs))

    def job_reads(uri: str) -> Callable[[Emulator], Any]:
        return lambda emulator: contents(WorkspaceResources(emulator).local_path(uri, "uri_file", "Input 'data'"))

    return {
        "status": lambda emulator: (emulator.store.get("job", "done") or {}).get("status"),
        "endpoint": lambda emulator: emulator.store.get("endpoint", "shop") is not None,
        "metrics": lambda emulator: [point.value for point in Records(emulator).metrics(run_of(emulator))],
        "log": lambda emulator: Records(emulator).log_path("done", STD_LOG).read_text(),
        "model": served("azureml:mine:1"),
        "registry's model": served(REGISTRY_MODEL),
        "data": job_reads(f"{STORE}/data/data.txt"),
        "output": job_reads(f"{STORE}/azureml/done/copy/copy.txt"),
        "deployment": lambda emulator: DeploymentLogs(emulator.directory / "deployments" / "shop" / "blue").tail(
            INFERENCE_SERVER, 100
        ),
    }


def run_of(emulator: Emulator) -> dict[str, Any]:
    run = Records(emulator).run("done")
    assert run is not None
    return run


def contents(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {file.name: file.read_bytes() for file in files}


def kind_of(name: str) -> str:
    return next((kind for kind, pattern in KINDS.items() if fnmatch(name, pattern)), "")


def files_of(golden: Path) -> Iterator[str]:
    for path in sorted(golden.rglob("*")):
        if path.is_file():
            yield path.relative_to(golden).as_posix()


def test_every_file_is_of_a_kind_and_every_kind_is_there(golden: Path) -> None:
    kinds = {name: kind_of(name) for name in files_of(golden)}
    assert {name for name, kind in kinds.items() if not kind} == set()
    assert set(kinds.values()) == KINDS.keys()


SHOWN_AS_IT_IS = {
    "logs of the server": {"deployment"},
    "what jobs wrote": {"log", "output"},
    "metrics": {"metrics"},
    "record of a deployment": {"deployment"},
    "document of a registry": {"registry's model"},
    "files of a registry's model": {"registry's model"},
}
"""Files that people and programs write themselves: what is in them counts, and what is gone is gone."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_named_or_does_no_harm(
    golden: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = readings(copied(golden, tmp_path / "whole"), tmp_path)
    assert before["status"] == "Completed"
    for name in files_of(golden):
        if kind_of(name) != kind:
            continue
        for harm in HARMS:
            # A folder of its own each time: what is known of a file's content is kept by its place and its times.
            directory = copied(golden, tmp_path / harm.__name__ / name.replace("/", "-"))
            if harm is delete or (directory / name).stat().st_size:
                harm(directory / name)
                problem = verdict(directory, name, before, SHOWN_AS_IT_IS.get(kind, set()), tmp_path)
                assert problem is None, f"{harm.__name__} {name}: {problem}"
            shutil.rmtree(directory)


def copied(golden: Path, directory: Path) -> Path:
    """The copy does not know that it is one, as what lies in a copy is not taken up."""
    shutil.copytree(golden, directory)
    return directory


def verdict(directory: Path, name: str, before: dict[str, Any], shown: set[str], scratch: Path) -> str | None:
    """What is wrong with what the next start says; None if nothing is."""
    found = small_files.damages(directory)
    if found:
        about = re.compile(rf"{re.escape(str(directory / name))}|{re.escape(str(directory / Path(name).parent))}/")
        if not all(about.match(line) for line in found) or "elete" not in found[0]:
            return f"it is not named, or without the cure: {found}"
        return None
    after = readings(directory, scratch)
    for reader, was in before.items():
        now = after[reader]
        if now != was and reader not in shown and not (isinstance(now, str) and Path(name).name in now):
            return f"{reader} reads {str(now)[:300]}"
    return None
