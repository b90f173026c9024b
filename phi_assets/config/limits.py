"""Which names, tags and numbers Azure Machine Learning takes: the one place that recipe, preflight and emulator ask.

Every rule says where it is written down. Where two places disagree, the stricter one counts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_DOCS = "https://learn.microsoft.com/azure/machine-learning"
_SPECS = (
    "https://github.com/Azure/azure-rest-api-specs/blob/main/specification/machinelearningservices/resource-manager/"
    "Microsoft.MachineLearningServices"
)
_ENDPOINTS = f"{_DOCS}/how-to-manage-quotas#azure-machine-learning-online-endpoints-and-batch-endpoints"
_CAPACITY = f"{_DOCS}/resource-limits-capacity"

# Of anything else the SDK takes the whole for a subnet's name, and makes an id of it that nobody has.
_IN_GROUP = r"(?i)/subscriptions/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/resourceGroups/[^/\s]+/providers/"


@dataclass(frozen=True)
class TextRule:
    """What a text has to be like as a whole."""

    code: str
    """Of preflight's finding."""
    what: str
    says: str
    """What it has to be like, as a clause."""
    source: str
    pattern: str | None = None
    longest: int | None = None

    def problem(self, value: Any) -> str | None:
        """What is wrong with the value, for people; None if the service takes it."""
        fits = isinstance(value, str) and (self.pattern is None or re.fullmatch(self.pattern, value, re.ASCII))
        if fits and (self.longest is None or len(value) <= self.longest):
            return None
        return f"{_shown(value)} is not a valid {self.what}: {self.says}"


@dataclass(frozen=True)
class NumberRule:
    """Between which whole numbers a number has to be."""

    code: str
    what: str
    least: int
    most: int
    source: str

    def problem(self, value: Any) -> str | None:
        """What is wrong with the value, for people; None if the service takes it."""
        if isinstance(value, int) and not isinstance(value, bool) and self.least <= value <= self.most:
            return None
        return f"{_shown(value)} is not taken: {self.what} must be a whole number from {self.least} to {self.most}"


@dataclass(frozen=True)
class TagsRule:
    """How many tags there may be, and how long."""

    code: str
    most: int
    longest_name: int
    longest_value: int
    source: str
    reserved: str = ""
    """Characters that no name may have."""
    own: int = 0
    """Of `most`, how many are left to this project, which has tags of its own."""

    def problem(self, value: Any, *, with_own: bool = True) -> str | None:
        """What is wrong with the tags, for people; `with_own`: the project's own are among them."""
        if not isinstance(value, Mapping):
            return f"{_shown(value)} is not taken: tags are an object with a text for each name"
        most = self.most if with_own else self.most - self.own
        if len(value) > most:
            rest = "" if with_own else f", the project's own {self.own} aside"
            return f"there may be {most} tags{rest}, not {len(value)}"
        for name, text in value.items():
            if not 1 <= len(str(name)) <= self.longest_name:
                return f"tag {_shown(name)} is not taken: its name may have 1 to {self.longest_name} characters"
            if self.has_reserved(str(name)):
                shown = " ".join(self.reserved)
                return f"tag {_shown(name)} is not taken: its name may not have the reserved characters {shown}"
            if len(str(text)) > self.longest_value:
                return f"tag {_shown(name)} is not taken: its value may have {self.longest_value} characters"
        return None

    def has_reserved(self, name: str) -> bool:
        """Whether the tag's name has a reserved character, or one that is not printed."""
        return any(each in self.reserved or (self.reserved and each < " ") for each in name)


Rule = TextRule | NumberRule | TagsRule

WORKSPACE_NAME = TextRule(
    "workspace_name",
    "workspace name",
    "it has 3 to 33 letters, digits, dashes and underscores, and begins with a letter or digit",
    "https://learn.microsoft.com/rest/api/azureml/online-endpoints/create-or-update",
    r"[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}",
)
CLUSTER_NAME = TextRule(
    "cluster_name",
    "cluster name",
    "it has 3 to 24 letters, digits and dashes, begins with a letter, and has a letter after its last dash",
    f"{_SPECS}/preview/2023-08-01-preview/machineLearningServices.json",
    # The published pattern, and Studio's rule for computes: a dash is followed by at least one letter.
    r"[a-zA-Z](?![a-zA-Z0-9-]*-\d*$)[a-zA-Z0-9-]{2,23}",
)
ENDPOINT_NAME = TextRule(
    "endpoint_name",
    "endpoint name",
    "it has 3 to 32 letters, digits and single dashes, begins with a letter, and ends with a letter or digit",
    _ENDPOINTS,
    r"(?=.{3,32}$)[a-zA-Z](-?[a-zA-Z0-9])*",
)
DEPLOYMENT_NAME = TextRule(
    "deployment_name",
    "deployment name",
    "it has 3 to 32 letters, digits and single dashes, begins with a letter, and ends with a letter or digit",
    _ENDPOINTS,
    ENDPOINT_NAME.pattern,
)
ASSET_NAME = TextRule(
    "asset_name",
    "name of a model or data asset",
    "it has 1 to 255 letters, digits, dashes and underscores, and begins with a letter or digit",
    f"{_SPECS}/stable/2024-04-01/mfe.json",
    r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}",
)
JOB_NAME = TextRule(
    "job_name",
    "job name",
    "it has 1 to 255 letters, digits, dashes and underscores, and begins with a letter or digit",
    f"{_SPECS}/stable/2024-04-01/mfe.json",
    r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}",
)
ASSET_VERSION = TextRule(
    "asset_version",
    "version",
    "it has 1 to 255 letters, digits, dots, dashes and underscores, and begins with a letter or digit",
    f"{_DOCS}/how-to-create-data-assets",
    r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}",
)
EXPERIMENT_NAME = TextRule(
    "experiment_name",
    "experiment name",
    "it has 1 to 256 letters, digits, dashes and underscores, and begins with a letter or digit",
    # The length; the characters: https://azure.github.io/azureml-sdk-for-r/reference/experiment.html
    f"{_CAPACITY}#experiments",
    r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,255}",
)
DISPLAY_NAME = TextRule(
    "display_name", "display name", "it has at most 256 characters", f"{_CAPACITY}#runs", longest=256
)
DESCRIPTION = TextRule(
    "description", "description", "it has at most 5,000 characters", f"{_CAPACITY}#runs", longest=5000
)
IDENTITY_ID = TextRule(
    "identity",
    "user-assigned managed identity",
    "it is a resource id, /subscriptions/.../resourceGroups/.../providers/Microsoft.ManagedIdentity/"
    "userAssignedIdentities/...",
    f"{_DOCS}/how-to-identity-based-service-authentication",
    _IN_GROUP + r"Microsoft\.ManagedIdentity/userAssignedIdentities/[^/\s]+",
)
SUBNET_ID = TextRule(
    "subnet",
    "subnet",
    "it is a resource id, /subscriptions/.../resourceGroups/.../providers/Microsoft.Network/virtualNetworks/.../"
    "subnets/...",
    f"{_DOCS}/how-to-secure-training-vnet",
    _IN_GROUP + r"Microsoft\.Network/virtualNetworks/[^/\s]+/subnets/[^/\s]+",
)
JOB_TAGS = TagsRule("job_tags", 50, 100, 1000, f"{_CAPACITY}#runs", own=30)
RESOURCE_TAGS = TagsRule(
    "resource_tags",
    50,
    512,
    256,
    "https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources#limitations",
    reserved="<>%&\\?/",
    own=10,
)
OWNER_NAME = TextRule(
    "owner_name",
    "name of a recipe or project, which is the value of a tag",
    "it has 1 to 256 characters that can be printed, and begins and ends with none that is blank",
    RESOURCE_TAGS.source,
    r"(?!\s)[^\x00-\x1f\x7f]{1,256}(?<!\s)",
)
CLUSTER_NODES = NumberRule(
    "cluster_nodes",
    "the most nodes of a cluster, of which one job may use all,",
    1,
    100,
    f"{_DOCS}/how-to-manage-quotas#azure-machine-learning-compute",
)
INSTANCES = NumberRule("instance_count", "the number of instances of a deployment", 1, 50, _ENDPOINTS)
REQUEST_SECONDS = NumberRule("request_timeout", "the time limit of a request in seconds", 1, 180, _ENDPOINTS)
MIRRORED_PERCENT = NumberRule(
    "mirrored_traffic",
    "the mirrored share of the traffic in percent",
    0,
    50,
    f"{_DOCS}/how-to-safely-rollout-online-endpoints",
)


_LONGEST_SHOWN = 300

# How many there may be: the two of how-to-manage-quotas as well.
ENDPOINTS_PER_SUBSCRIPTION, DEPLOYMENTS_PER_ENDPOINT = 100, 20


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
