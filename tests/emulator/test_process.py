"""Starting, finding and stopping the emulator's process."""

import errno
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from phi_assets.config.certificates import bundle_with
from phi_assets.config.settings import PROJECT_ROOT
from phi_assets.emulator import process
from phi_assets.emulator.folder import make_private
from phi_assets.emulator.process import Connection, EmulatorError
from tests.clocks import set_the_clock
from tests.emulator.http import arm_client, datastore_sas, raw_client
from tests.namespaces import lines_of

pytestmark = pytest.mark.usefixtures("emulator_programs")

COMMAND = [sys.executable, "-m", "phi_assets.emulator"]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "emulator"
    yield path
    process.stop(path)


def test_several_processes_at_once_start_one_emulator(directory: Path):
    def start(_: int) -> str:
        code = (
            "import sys, pathlib; from phi_assets.emulator import process;"
            "c = process.ensure_running(pathlib.Path(sys.argv[1])); print(c.pid, c.port)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(directory)], capture_output=True, text=True, check=True, cwd=PROJECT_ROOT
        )
        return done.stdout

    with ThreadPoolExecutor(3) as pool:
        answers = set(pool.map(start, range(3)))
    assert len(answers) == 1
    running = process.status(directory)
    assert running is not None
    assert answers == {f"{running.pid} {running.port}\n"}
    assert process.ensure_running(directory) == running


def test_start_is_quick_and_loads_no_heavy_library(directory: Path):
    began = time.monotonic()
    running = process.ensure_running(directory)
    assert time.monotonic() - began < 10  # under 2 s on an idle machine; the suite shares its cores
    maps = Path(f"/proc/{running.pid}/maps")
    if maps.exists():
        loaded = maps.read_text()
        assert "/torch/" not in loaded
        assert "/pyarrow/" not in loaded


def test_state_and_port_survive_a_restart_and_a_kill(directory: Path):
    first = process.ensure_running(directory)
    url, sas = datastore_sas(first)
    headers = {"x-ms-blob-type": "BlockBlob", "x-ms-meta-upload_status": "completed"}
    with raw_client(first) as client:
        client.put(f"{url}/kept?{sas}", content=b"kept", headers=headers).raise_for_status()
    with arm_client(first) as client:
        body = {"properties": {"dataUri": "azureml://datastores/workspaceblobstore/paths/kept", "dataType": "uri_file"}}
        client.put("/data/kept/versions/1", json=body).raise_for_status()
        compute = {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_NC6s_v3"}}
        client.put("/computes/interrupted", json={"properties": compute}).raise_for_status()
        token = client.headers["Authorization"]
    psutil.Process(first.pid).send_signal(signal.SIGKILL)
    psutil.wait_procs([psutil.Process(first.pid)] if psutil.pid_exists(first.pid) else [], timeout=5)
    assert process.status(directory) is None

    second = process.ensure_running(directory)
    assert (second.port, second.identity_header) == (first.port, first.identity_header)
    assert second.pid != first.pid
    with raw_client(second) as client:
        assert client.get(f"{url}/kept?{sas}").content == b"kept"
        assert client.head(f"{url}/kept?{sas}").headers["x-ms-meta-upload_status"] == "completed"
    with arm_client(second) as client:
        client.headers["Authorization"] = token
        assert client.get("/data/kept/versions/1").status_code == 200
        assert client.get("/computes/interrupted").json()["properties"]["provisioningState"] == "Succeeded"


def test_stop_ends_it_and_says_so(directory: Path):
    assert not process.stop(directory)
    running = process.ensure_running(directory)
    assert process.stop(directory)
    assert not psutil.pid_exists(running.pid) or psutil.Process(running.pid).status() == psutil.STATUS_ZOMBIE
    assert not (directory / process.STATE_FILE).exists()
    assert process.status(directory) is None
    assert "stopped" in (directory / "server.log").read_text()
    with raw_client(running) as client, pytest.raises(httpx.ConnectError):
        client.get("/healthz")


def test_the_folder_can_be_named_from_where_one_is(directory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(directory.parent)
    relative = Path(directory.name)
    running = process.ensure_running(relative)
    assert running.directory == directory.resolve()
    assert process.status(directory) == process.status(relative) == running
    assert process.stop(relative)
    assert process.status(directory) is None


def test_another_process_with_the_same_pid_is_not_taken_for_it(directory: Path):
    running = process.ensure_running(directory)
    state = json.loads((directory / process.STATE_FILE).read_text())
    process.stop(directory)
    state |= {"pid": os.getpid()}
    (directory / process.STATE_FILE).write_text(json.dumps(state))
    assert process.status(directory) is None
    assert not process.stop(directory)
    assert process.ensure_running(directory).port == running.port


def test_it_is_found_and_stopped_after_the_clock_was_set(directory: Path, monkeypatch: pytest.MonkeyPatch):
    running = process.ensure_running(directory)
    for shift in (-3600, -2, 2, 3600):
        set_the_clock(monkeypatch, shift)
        assert process.status(directory) == running
        assert process.ensure_running(directory) == running
    assert process.stop(directory)
    assert not psutil.pid_exists(running.pid) or psutil.Process(running.pid).status() == psutil.STATUS_ZOMBIE


def test_the_state_of_an_earlier_version_is_understood(directory: Path):
    running = process.ensure_running(directory)
    state = json.loads((directory / process.STATE_FILE).read_text())
    del state["process_start"]
    (directory / process.STATE_FILE).write_text(json.dumps(state))
    assert process.status(directory) == running
    assert process.stop(directory)


def test_another_container_that_has_the_folder_finds_it_and_does_not_stop_it(emulator: Connection) -> None:
    program = """
import sys
from pathlib import Path
from phi_assets.emulator import process
directory = Path(sys.argv[1])
print(process.ensure_running(directory).base_url)
try:
    process.stop(directory)
except process.EmulatorError as error:
    print(error)
"""
    found, refusal = lines_of(program, str(emulator.directory))
    assert found == emulator.base_url
    assert refusal == f"The emulator of {emulator.directory} runs in another container. Stop it there."
    assert process.status(emulator.directory) == emulator


def test_a_second_server_in_the_same_folder_refuses(directory: Path):
    process.ensure_running(directory)
    second = subprocess.run(
        [*COMMAND, "serve", "--directory", str(directory)], capture_output=True, text=True, check=False, timeout=30
    )
    assert second.returncode == 1
    assert "Another emulator serves" in second.stderr
    assert process.status(directory) is not None


def test_a_start_that_fails_says_why(directory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PHI_EMULATOR_TIME_SCALE", "-1")
    with pytest.raises(EmulatorError, match="time-scale"):
        process.ensure_running(directory, timeout=30)


def test_no_child_gets_a_secret(directory: Path, monkeypatch: pytest.MonkeyPatch):
    for name in (
        "AZURE_CLIENT_SECRET",
        "HF_TOKEN",
        "PHI_ALERT_WEBHOOK",
        "HTTPS_PROXY",
        "DAGSTER_PG_PASSWORD",
        "ANY_KEY",
    ):
        monkeypatch.setenv(name, "http://user:hidden@host")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    server = psutil.Process(process.ensure_running(directory).pid)
    for child in [server, *server.children(recursive=True)]:
        assert "hidden" not in str(child.environ()) + str(child.cmdline())
    assert server.environ()["CUDA_VISIBLE_DEVICES"] == "1"


def test_the_home_is_its_owners_only_also_when_it_was_there_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = tmp_path / "home"
    (home / "emulator").mkdir(parents=True)
    for folder in (home, home / "emulator"):
        folder.chmod(0o755)
    monkeypatch.setenv("PHI_HOME", str(home))
    make_private(home / "emulator")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (home, home / "emulator")] == [0o700, 0o700]
    # A folder that somebody chose lies in one that is not ours.
    tmp_path.chmod(0o755)
    make_private(tmp_path / "chosen")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_start_without_room_says_so(directory: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EmulatorError, match=f"{directory}.*No space left on device. Make room there"):
        process.ensure_running(directory)
    assert not list(directory.glob(".room"))


def test_everything_secret_is_for_the_owner_only(directory: Path):
    running = process.ensure_running(directory)
    running.environment(os.environ)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for path in [*directory.iterdir(), *(directory / "tls").iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert running.identity_header not in repr(running)
    assert running.identity_header not in (directory / "server.log").read_text()
    listening = {connection.laddr for connection in psutil.Process(running.pid).net_connections("inet")}
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_environment_extends_what_is_there(emulator: Connection, tmp_path: Path):
    own = tmp_path / "corporate.pem"
    own.write_text("# corporate roots\n")
    existing = {"REQUESTS_CA_BUNDLE": str(own), "NO_PROXY": "example.org", "no_proxy": "*", "PATH": "/bin"}
    variables = emulator.environment(existing)
    merged = Path(variables["REQUESTS_CA_BUNDLE"]).read_text()
    assert merged.startswith("# corporate roots")
    assert merged.count("BEGIN CERTIFICATE") == 1
    assert (variables["NO_PROXY"], variables["no_proxy"]) == ("example.org,127.0.0.1,localhost", "*")
    assert "PATH" not in variables
    assert "AZUREML_CURRENT_CLOUD" not in variables
    again = emulator.environment(existing | variables)
    assert again == variables
    leftover = emulator.environment({"AZUREML_CURRENT_CLOUD": "PhiEmulator-1"})
    assert leftover["AZUREML_CURRENT_CLOUD"] == emulator.cloud_name


def test_a_missing_bundle_is_replaced_by_the_usual_roots(emulator: Connection, tmp_path: Path):
    merged = bundle_with(emulator.ca_bundle, "/no/such/file.pem", tmp_path)
    assert merged.read_text().count("BEGIN CERTIFICATE") > 50
    assert stat.S_IMODE(merged.stat().st_mode) == 0o600


def test_certificates_near_their_end_are_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import datetime as dt

    from phi_assets.emulator.security import tls

    first = tls.ensure_certificates(tmp_path).certificate.read_bytes()
    assert tls.ensure_certificates(tmp_path).certificate.read_bytes() == first
    monkeypatch.setattr(tls, "_RENEWAL", dt.timedelta(days=900))
    assert tls.ensure_certificates(tmp_path).certificate.read_bytes() != first
    keys = [path for path in tmp_path.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    assert [path.name for path in keys] == ["server.key"]


def test_a_plain_shell_is_pointed_at_it(directory: Path, tmp_path: Path):
    """`env` prints export lines and nothing else; the standard library alone then reaches the emulator."""
    shell = shutil.which("sh")
    assert shell is not None
    script = (
        "import json, os, urllib.request as u;"
        "cloud = json.load(u.urlopen(os.environ['ARM_CLOUD_METADATA_URL']))[0];"
        "r = u.Request(os.environ['IDENTITY_ENDPOINT'] + '?resource=' + cloud['resourceManager'],"
        " headers={'X-IDENTITY-HEADER': os.environ['IDENTITY_HEADER']});"
        "t = json.load(u.urlopen(r))['access_token'];"
        "w = cloud['resourceManager'] + 'subscriptions/%s/resourceGroups/%s/providers/"
        "Microsoft.MachineLearningServices/workspaces/%s' % tuple(os.environ[n] for n in"
        " ('AZURE_SUBSCRIPTION_ID', 'AZURE_RESOURCE_GROUP', 'AZURE_ML_WORKSPACE'));"
        "print(json.load(u.urlopen(u.Request(w, headers={'Authorization': 'Bearer ' + t})))['name'])"
    )
    python = shlex.quote(sys.executable)
    line = f'eval "$({python} -m phi_assets.emulator env)" && {python} -c {shlex.quote(script)}'
    environment = {"PATH": os.environ["PATH"], "PHI_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT_ROOT)}
    done = subprocess.run([shell, "-c", line], capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "phi-workspace\n", "")
    printed = subprocess.run([*COMMAND, "env"], capture_output=True, text=True, check=True, env=environment, timeout=60)
    assert all(line.startswith("export ") for line in printed.stdout.splitlines())
