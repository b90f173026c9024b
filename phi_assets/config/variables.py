"""The environment variables that set the project: their names, defaults and meaning, for the documentation too."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Variable:
    """What a setting is called in the environment; the setting's own docstring says what it means."""

    name: str
    default: str = ""
    """For people, in Markdown; empty where there is none."""


class ReadElsewhere:
    """Variables that are no part of `Settings`: secrets, which stay in the environment, and what libraries read."""

    client_secret = Variable("AZURE_CLIENT_SECRET")
    """With `PHI_CREDENTIAL=environment`: the service principal's secret. It stays in the environment."""
    client_certificate = Variable("AZURE_CLIENT_CERTIFICATE_PATH")
    """With `PHI_CREDENTIAL=environment`, instead of a secret: PEM or PKCS12 file with certificate and private key."""
    client_certificate_password = Variable("AZURE_CLIENT_CERTIFICATE_PASSWORD")
    """Password of that file, where it has one."""
    federated_token_file = Variable("AZURE_FEDERATED_TOKEN_FILE")
    """With `PHI_CREDENTIAL=workload_identity`: file of the service account's token; Kubernetes sets it."""
    authority_host = Variable("AZURE_AUTHORITY_HOST", "that of `PHI_CLOUD`")
    """Where tokens are asked for, for clouds that `PHI_CLOUD` does not know."""
    storage_connection_string = Variable("AZURE_STORAGE_CONNECTION_STRING")
    """For `abfss://` and `az://`: the account, its address and what opens it, where it is not opened by the identity of
    `PHI_CREDENTIAL`."""
    storage_account = Variable("AZURE_STORAGE_ACCOUNT_NAME")
    """For `az://<container>/<path>`, which does not say it: the storage account."""
    https_proxy = Variable("HTTPS_PROXY")
    """Proxy for everything outside this machine, `http://host:port`."""
    no_proxy = Variable("NO_PROXY")
    """Hosts that are reached without it; this machine always is when the emulator is the target."""
    alert_webhook = Variable("PHI_ALERT_WEBHOOK")
    """Where the alerts are posted: a webhook of Teams, of Slack, or of what takes `{"text": ...}`."""
    emulator_time_scale = Variable("PHI_EMULATOR_TIME_SCALE", "`1`")
    """How many times faster than the clock the emulator's waiting times pass."""
    emulator_seed = Variable("PHI_EMULATOR_SEED")
    """Makes the emulator draw the deployment of each request the same way every time."""


# Set by the emulator for the processes that it starts.
_INTERNAL = frozenset({"PHI_METRICS_FILE"})


def misspelt(env: Mapping[str, str], known: frozenset[str]) -> list[str]:
    """A complaint about each variable that is all but the name of one of ours: it would have no effect."""
    ours = sorted(name for name in known if name.startswith("PHI_"))
    strangers = sorted(name for name in env if name.startswith("PHI_") and name not in known | _INTERNAL)
    close = {name: difflib.get_close_matches(name, ours, n=1, cutoff=0.85) for name in strangers}
    return [f"{name} is not a setting; did you mean {found[0]}?" for name, found in close.items() if found]
