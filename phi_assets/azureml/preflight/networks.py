"""Whether cluster and endpoint can reach what they need: storage without keys, nodes without public addresses."""

from collections.abc import Iterable, Mapping
from typing import Any

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.preflight.asking import Unanswered, read, read_all
from phi_assets.azureml.preflight.findings import Findings
from phi_assets.azureml.preflight.machines import Clusters
from phi_assets.config.recipe import ComputeSection, Recipe, ServingSection

ROLE = "Storage Blob Data Contributor"

_STORAGE_API_VERSION = "2023-05-01"
_KEYLESS = "https://learn.microsoft.com/azure/machine-learning/how-to-disable-local-auth-storage"


def look_at_networks(ws: Workspace, recipe: Recipe, clusters: Clusters, found: Findings) -> None:
    """What the workspace says of its storage and its network, against the recipe and the clusters that are there."""
    try:
        workspace = dict(read(ws, ws.path).get("properties") or {})
        keyless = _opens_by_identity(workspace, read_all(ws, f"{ws.path}/datastores"))
    except Unanswered as error:
        cause = f"does not show how its storage and network are set up: {error}"
        found.warning("machines", "network_unknown", f"Workspace {ws.name}", cause, "Run again.")
        return
    account = str(workspace.get("storageAccount"))
    takes_keys = _takes_keys(ws, account)
    isolation = str((workspace.get("managedNetwork") or {}).get("isolationMode") or "Disabled")
    shown = {True: "yes", False: "no", None: "unknown"}
    found.facts |= {"storage_takes_keys": shown[takes_keys], "managed_network": isolation}
    if not keyless and takes_keys is False:
        found.error(
            "access",
            "storage_keys_refused",
            f"Storage account {account}",
            "takes no keys, and the workspace still hands them out",
            f"`az ml workspace update --name {ws.name} --resource-group {ws.resource_group} "
            f"--system-datastores-auth-mode identity` puts it right ({_KEYLESS}).",
        )
    for section in recipe.cluster_sections:
        if keyless or takes_keys is False:
            _look_at_identity(section, account, clusters[section.key], found)
        _look_at_cluster(section, clusters[section.key], isolation, found)
    _look_at_endpoint(recipe.serving, isolation, found)


def _opens_by_identity(workspace: Mapping[str, Any], datastores: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the workspace's datastores have no key, so that everybody comes with an identity."""
    if str(workspace.get("systemDatastoresAuthMode") or "").lower() == "identity":
        return True
    default = next((each["properties"] for each in datastores if (each.get("properties") or {}).get("isDefault")), {})
    return str((default.get("credentials") or {}).get("credentialsType") or "").lower() == "none"


def _takes_keys(ws: Workspace, account: str) -> bool | None:
    """Whether the storage account lets keys in; None where this identity may not see it."""
    try:
        properties = read(ws, account, _STORAGE_API_VERSION).get("properties") or {}
    except Unanswered:
        return None
    return properties.get("allowSharedKeyAccess") is not False


def _look_at_identity(
    section: ComputeSection, account: str, cluster: Mapping[str, Any] | None, found: Findings
) -> None:
    """The cluster mounts what a job reads and writes: it needs an identity of its own where storage takes no keys."""
    subject = f"Cluster {section.name}"
    ids = _user_assigned(cluster) if section.identity is None else {section.identity} - {"none", "system"}
    grant = f"role {ROLE!r} on {account}"
    if not ids:
        found.error(
            "machines",
            "keyless_storage",
            subject,
            "has no user-assigned identity, and the workspace's storage takes no keys: a job that reads or writes "
            "there would fail",
            f"Give a user-assigned managed identity the {grant}, and set `{section.key}.identity` to its resource id "
            f"({_KEYLESS}).",
        )
        return
    found.warning(
        "machines",
        "keyless_role_unknown",
        subject,
        f"opens storage without keys as {', '.join(sorted(ids))}; whether that may, cannot be seen from here",
        f"It needs the {grant}.",
    )


def _user_assigned(cluster: Mapping[str, Any] | None) -> set[str]:
    return set(((cluster or {}).get("identity") or {}).get("userAssignedIdentities") or {})


def _look_at_cluster(
    section: ComputeSection, cluster: Mapping[str, Any] | None, isolation: str, found: Findings
) -> None:
    if cluster is None:
        if section.public_ip is False and section.subnet is None and isolation == "Disabled":
            found.error(
                "machines",
                "nodes_without_network",
                f"Cluster {section.name}",
                "would have nodes without public addresses and no network to reach anything by",
                f"Set `{section.key}.subnet`, or have a managed virtual network enabled for the workspace.",
            )
        return
    inner = ((cluster.get("properties") or {}).get("properties")) or {}
    have = {"subnet": (inner.get("subnet") or {}).get("id"), "public_ip": inner.get("enableNodePublicIp") is not False}
    wanted = {"subnet": section.subnet, "public_ip": section.public_ip}
    for key, want in wanted.items():
        if want is not None and str(want).lower() != str(have[key]).lower():
            found.error(
                "machines",
                "cluster_network",
                f"Cluster {section.name}",
                f"exists with {key} {have[key]}, not {want}, and a cluster's network cannot be changed",
                f"Set `{section.key}.{key}` to what it has, delete the cluster, or give `{section.key}.name` another "
                "name.",
            )


def _look_at_endpoint(section: ServingSection, isolation: str, found: Findings) -> None:
    if section.egress_public_network_access is not None and isolation != "Disabled":
        found.error(
            "endpoint",
            "egress_of_managed_network",
            "`serving.egress_public_network_access`",
            f"is not for a workspace with a managed virtual network ({isolation}), which decides what is let out",
            "Leave it out.",
        )
    if section.public_network_access == "disabled":
        found.warning(
            "endpoint",
            "endpoint_private",
            "The endpoint",
            "answers within the workspace's private network only: gates and scoring ask it from where the graph runs",
            "Run the graph where the workspace's private endpoint can be reached.",
        )
