"""What lies in phi_assets/deploy is what Dagster, Docker, Kubernetes and Azure take, and one instance like another."""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import compose_spec
import dagster as dg
import kubernetes_validate
import pytest
import yaml
from azure.mgmt.appcontainers.models import ContainerApp
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.instance.config import dagster_instance_config
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

from phi_assets.config.settings import PROJECT_ROOT
from phi_assets.graph.automation.instance_settings import missing_settings

DEPLOY = PROJECT_ROOT / "phi_assets" / "deploy"
SHIPPED = yaml.safe_load((PROJECT_ROOT / "phi_assets" / "dagster.yaml").read_text(encoding="utf-8"))
OWN = {"storage", "run_launcher", "compute_logs"}
"""What an instance of containers has otherwise than one of processes."""

KUBERNETES = "1.33"


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("variant", ["docker", "container-apps"])
def test_an_instance_of_containers_is_the_shipped_one_but_for_where_things_are(variant: str, tmp_path: Path) -> None:
    settings = read(f"{variant}/dagster.yaml")
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    read_by_dagster, _ = dagster_instance_config(str(tmp_path))
    assert read_by_dagster["run_launcher"]["class"] == settings["run_launcher"]["class"]
    assert missing_settings(settings) == ""
    settings["run_monitoring"].pop("start_timeout_seconds", None)
    assert without(settings, OWN) == without(SHIPPED, OWN)
    # Neither a command line nor the definition of a job has a secret in it.
    database = settings["storage"]["postgres"]["postgres_db"]
    assert database.get("password", {"env": "..."}).keys() == {"env"}


def without(settings: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in keys}


def test_compose_takes_the_file_and_every_process_has_what_runs_are_handed_on() -> None:
    text = (DEPLOY / "docker" / "compose.yaml").read_text(encoding="utf-8")
    filled = re.sub(r"\$\{\w+:(?:\?[^}]*|-([^}]*))\}", lambda found: found[1] or "7", text)
    compose = compose_spec.PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(filled)))
    compose.validate()
    launcher = read("docker/dagster.yaml")["run_launcher"]["config"]
    services = yaml.safe_load(filled)["services"]
    assert set(services) == {"postgres", "code", "webserver", "daemon"}
    for name in ("webserver", "daemon"):
        assert set(launcher["env_vars"]) <= set(services[name]["environment"])
        assert services[name]["environment"]["DAGSTER_DOCKER_NETWORK"] in yaml.safe_load(filled)["networks"]
    assert launcher["container_kwargs"]["volumes"] == services["code"]["volumes"]
    server = read("docker/workspace.yaml")["load_from"][0]["grpc_server"]
    assert (server["host"], str(server["port"])) == ("code", services["code"]["command"][6])


def test_container_apps_knows_every_field_of_the_app_and_it_has_what_runs_are_handed_on() -> None:
    app = read("container-apps/app.yaml")
    assert ContainerApp.deserialize(app).serialize() == app
    settings = read("container-apps/dagster.yaml")
    named = re.findall(r"env: (\w+)", (DEPLOY / "container-apps" / "dagster.yaml").read_text(encoding="utf-8"))
    for container in app["properties"]["template"]["containers"]:
        variables = {variable["name"] for variable in container["env"]}
        assert variables >= {*named, *settings["run_launcher"]["config"]["env_vars"], "DAGSTER_CURRENT_IMAGE"}
        assert not [name for name in variables if re.search("PASSWORD|SECRET|KEY", name)]


class Cluster:
    """The API of a cluster as far as a job is created in it: `jobs` are those that were."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A server on the loopback interface, and a file `kubeconfig` in the folder that leads to it."""
    found = Cluster()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.jobs.append(json.loads(body))
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        entry = {"name": "test", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        context = {"name": "test", "context": {"cluster": "test", "user": "test"}}
        content = {"clusters": [entry], "contexts": [context], "users": [{"name": "test", "user": {}}]}
        kubeconfig = {"apiVersion": "v1", "kind": "Config", "current-context": "test", **content}
        (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig), encoding="utf-8")
        yield found
        server.shutdown()


def instance_of(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The `dagster.yaml` that the chart makes of the values, but for its storage, which is SQLite here.

    By its templates: <https://github.com/dagster-io/dagster/tree/1.13.27/helm/dagster/templates>.
    """
    daemon, launcher = values["dagsterDaemon"], values["runLauncher"]["config"]["k8sRunLauncher"]
    queue = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    return {
        "run_launcher": {
            "module": "dagster_k8s",
            "class": values["runLauncher"]["type"],
            "config": {
                "load_incluster_config": False,
                "kubeconfig_file": str(folder / "kubeconfig"),
                "job_namespace": "default",
                "service_account_name": values["global"]["serviceAccountName"],
                "dagster_home": "/opt/dagster/dagster_home",
                "instance_config_map": "dagster-instance",
                "postgres_password_secret": values["global"]["postgresqlSecretName"],
                **snake(without(launcher, {"runK8sConfig", "labels", "resources", "securityContext"})),
                "labels": launcher["labels"],
                "resources": launcher["resources"],
                "security_context": launcher["securityContext"],
                "run_k8s_config": snake(launcher["runK8sConfig"]),
            },
        },
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": values["dagsterDaemon"]["runCoordinator"]["type"],
            "config": snake(queue),
        },
        "compute_logs": SHIPPED_NOTHING,
        "python_logs": snake(values["pythonLogs"]),
        "run_monitoring": snake(daemon["runMonitoring"]),
        "telemetry": values["telemetry"],
        **values["additionalInstanceConfig"],
    }


SHIPPED_NOTHING = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}


def snake(section: Mapping[str, Any]) -> dict[str, Any]:
    """The section's own keys as Dagster writes them."""
    return {re.sub("([A-Z])", lambda found: f"_{found[1].lower()}", key): value for key, value in section.items()}


def context_of(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """What the chart's code server hands on to runs."""
    kept = {key: deployment[key] for key in ("env", "labels", "resources") if key in deployment}
    secrets = [secret["name"] for secret in deployment.get("envSecrets", [])]
    return {"k8s": {**kept, "env_secrets": secrets, "image_pull_policy": deployment["image"]["pullPolicy"]}}


@dg.job
def some_job() -> None:
    """Never executed."""


def test_the_job_that_is_created_for_a_run_on_kubernetes_is_valid_and_has_the_settings(tmp_path: Path) -> None:
    values = read("kubernetes/values.yaml")
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(instance_of(values, tmp_path)), encoding="utf-8")
    code = RepositoryPythonOrigin(
        "/opt/phi/bin/python",
        ModuleCodePointer("phi_assets.definitions", "defs", None),
        container_image="phi-assets:1",
        entry_point=["dagster"],
        container_context=context_of(deployment),
    )
    with cluster(tmp_path) as found, dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run = instance.create_run_for_job(some_job, job_code_origin=JobPythonOrigin("some_job", code))
        instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    (job,) = found.jobs
    kubernetes_validate.validate(job, KUBERNETES, strict=True)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] > SHIPPED["run_monitoring"]["cancel_timeout_seconds"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["serviceAccountName"] == "phi-assets"
    assert job["spec"]["template"]["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    assert {variable["name"] for variable in container["env"]} >= {each["name"] for each in deployment["env"]}
    assert container["resources"] == values["runLauncher"]["config"]["k8sRunLauncher"]["resources"]
    settings = instance_of(values, tmp_path)
    for section in ("run_retries", "concurrency"):
        assert settings[section] == SHIPPED[section]
    assert without(settings["run_monitoring"], {"start_timeout_seconds"}) == without(
        SHIPPED["run_monitoring"], {"max_runtime_seconds"}
    )
