"""What a way to sign in and a network need of the environment; each complaint says what to set. No secret is quoted."""

import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

from phi_assets.config.limits import OWNER_NAME, WORKSPACE_NAME

Environment = Mapping[str, str]


def credential_problems(mode: str, env: Environment) -> list[str]:
    """What the mode of `PHI_CREDENTIAL` lacks."""
    needs: dict[str, Callable[[Environment], list[str]]] = {
        "environment": _service_principal,
        "workload_identity": _workload_identity,
    }
    problems = needs[mode](env) if mode in needs else []
    client = env.get("AZURE_CLIENT_ID")
    if client and not _is_uuid(client):
        problems.append(f"AZURE_CLIENT_ID={client!r} is not a client id: it is a UUID, not the application's name")
    tenant = env.get("AZURE_TENANT_ID")
    if tenant and not _is_uuid(tenant) and "." not in tenant:
        problems.append(f"AZURE_TENANT_ID={tenant!r} is neither a tenant's id nor its domain")
    return problems


def coordinate_problems(subscription: str, workspace: str) -> list[str]:
    """What is wrong with the coordinates of a workspace, as far as there are any."""
    problems = []
    if subscription and not _is_uuid(subscription):
        problems.append(
            f"AZURE_SUBSCRIPTION_ID={subscription!r} is not a subscription's id: it is a UUID, not the name"
        )
    if workspace and (problem := WORKSPACE_NAME.problem(workspace)) is not None:
        problems.append(f"AZURE_ML_WORKSPACE: {problem}")
    return problems


def emulator_leftovers(env: Environment, emulator_subscription: str) -> list[str]:
    """A shell that `python -m phi_assets.emulator env` points at the emulator cannot reach Azure."""
    names = {
        "AZURE_SUBSCRIPTION_ID": env.get("AZURE_SUBSCRIPTION_ID") == emulator_subscription,
        "ARM_CLOUD_METADATA_URL": _is_loopback(env.get("ARM_CLOUD_METADATA_URL", "")),
        "REGISTRY_DISCOVERY_ENDPOINT_URL": _is_loopback(env.get("REGISTRY_DISCOVERY_ENDPOINT_URL", "")),
    }
    found = [name for name, left in names.items() if left]
    if not found:
        return []
    return [
        f"PHI_TARGET=azure, but {', '.join(found)} and what was set with {'it' if len(found) == 1 else 'them'} still "
        "lead to the emulator: use a new shell"
    ]


def network_problems(env: Environment) -> list[str]:
    """What is wrong with proxies, certificate bundles and addresses."""
    problems = []
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        if env.get(name) and not _is_url(env[name], "http", "https", "socks5", "socks5h"):
            # Not quoted: it may hold a password.
            problems.append(f"{name} is not the address of a proxy: write http://host:port")
    for name in ("PHI_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        if env.get(name):
            problems += _bundle_problems(name, Path(env[name]).expanduser())
    if env.get("PHI_ALERT_WEBHOOK") and not _is_url(env["PHI_ALERT_WEBHOOK"], "http", "https"):
        problems.append("PHI_ALERT_WEBHOOK is not an address: write https://host/path")
    return problems


_NUMBERS: Mapping[str, type[int] | type[float]] = {
    "PHI_EMULATOR_TIME_SCALE": float,
    "PHI_CREDENTIAL_TIMEOUT": int,
    "PHI_SIGHT_HOURS": float,
}


def number_problems(env: Environment) -> list[str]:
    """What is wrong with settings that are numbers."""
    return [
        f"{name}={env[name]!r} is not a {'whole ' if kind is int else ''}number above 0"
        for name, kind in _NUMBERS.items()
        if env.get(name) and not _is_above_zero(env[name], kind)
    ]


def project_problems(env: Environment) -> list[str]:
    """What is wrong with the project's name, where one is given."""
    project = env.get("PHI_PROJECT")
    problem = OWNER_NAME.problem(project) if project else None
    return [] if problem is None else [f"PHI_PROJECT: {problem}"]


def _is_above_zero(text: str, kind: type[int] | type[float]) -> bool:
    try:
        return 0 < kind(text) < float("inf")
    except ValueError:
        return False


def _service_principal(env: Environment) -> list[str]:
    missing = [name for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID") if not env.get(name)]
    secret, certificate = env.get("AZURE_CLIENT_SECRET"), env.get("AZURE_CLIENT_CERTIFICATE_PATH")
    if not secret and not certificate:
        missing.append("AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH")
    problems = _needs("environment", "a service principal", missing)
    if certificate and not secret and not Path(certificate).is_file():
        problems.append(f"AZURE_CLIENT_CERTIFICATE_PATH={certificate!r} is no file")
    return problems


def _workload_identity(env: Environment) -> list[str]:
    names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE")
    problems = _needs(
        "workload_identity", "a Kubernetes service account", [name for name in names if not env.get(name)]
    )
    file = env.get("AZURE_FEDERATED_TOKEN_FILE")
    if file and not Path(file).is_file():
        problems.append(f"AZURE_FEDERATED_TOKEN_FILE={file!r} is no file")
    return problems


def _needs(mode: str, what: str, missing: list[str]) -> list[str]:
    return [f"PHI_CREDENTIAL={mode} ({what}) needs {', '.join(missing)}"] if missing else []


def _bundle_problems(name: str, path: Path) -> list[str]:
    if path.is_dir() and name != "PHI_CA_BUNDLE":
        return []  # requests takes a folder of hashed certificates as well
    if not path.is_file():
        return [f"{name}={os.fspath(path)!r} is no file"]
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError):
        return [f"{name}={os.fspath(path)!r} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"]
    return []


def _is_url(text: str, *schemes: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _is_loopback(url: str) -> bool:
    try:
        return urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}
    except ValueError:
        return False


def _is_uuid(text: str) -> bool:
    try:
        return bool(UUID(text))
    except ValueError:
        return False
