"""The clouds of Azure: where to sign in, where resources are managed, where Studio is."""

from dataclasses import dataclass

from phi_assets.config.settings import Cloud

API_VERSION = "2025-12-01"
"""Of Azure Resource Manager; the one that the SDK uses, so that both see the same."""


@dataclass(frozen=True)
class CloudAddresses:
    """The addresses of one cloud."""

    authority: str
    """Host that gives tokens."""
    resource_manager: str
    studio: str
    storage: str
    """What the hosts of storage accounts end with, behind `<account>.blob.`."""


# https://learn.microsoft.com/azure/developer/python/sdk/authentication-overview#sovereign-clouds
CLOUDS: dict[Cloud, CloudAddresses] = {
    "AzureCloud": CloudAddresses(
        "login.microsoftonline.com", "https://management.azure.com", "https://ml.azure.com", "core.windows.net"
    ),
    "AzureUSGovernment": CloudAddresses(
        "login.microsoftonline.us",
        "https://management.usgovcloudapi.net",
        "https://ml.azure.us",
        "core.usgovcloudapi.net",
    ),
    "AzureChinaCloud": CloudAddresses(
        "login.chinacloudapi.cn",
        "https://management.chinacloudapi.cn",
        "https://studio.ml.azure.cn",
        "core.chinacloudapi.cn",
    ),
}
