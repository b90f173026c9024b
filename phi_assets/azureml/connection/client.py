"""The way to a workspace: its clients, credentials, and what every request needs."""

import os
import ssl
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import httpx
from azure.core.credentials import TokenCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError

from phi_assets.azureml.connection.clouds import API_VERSION, CLOUDS
from phi_assets.azureml.connection.errors import WorkspaceUnreachable
from phi_assets.azureml.connection.lazy_sdk import CLOUD_VARIABLE, sdk
from phi_assets.azureml.connection.retry import Crowd, is_transient, one_line, ride_out, silent
from phi_assets.azureml.connection.service_time import ServiceClock
from phi_assets.azureml.connection.sight import Vigil, Watched
from phi_assets.azureml.connection.sign_in import SignIn, credential
from phi_assets.azureml.ownership import Owner
from phi_assets.config.endpoint_names import workspace_path
from phi_assets.config.settings import PROJECT, Settings
from phi_assets.config.trust import trust_authorities
from phi_assets.redaction import censor_log

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Job
    from azure.ai.ml.entities import Workspace as WorkspaceEntity

__all__ = ["EmulatorConnection", "Workspace", "connect_azure", "connect_emulator", "credential", "sdk", "signed_in"]

T = TypeVar("T")

_EMULATOR_VARIABLES = ("REQUESTS_CA_BUNDLE", "NO_PROXY", "no_proxy", "IDENTITY_ENDPOINT", "IDENTITY_HEADER")


class EmulatorConnection(Protocol):
    """What has to be known about a running emulator; `phi_assets.emulator.process.Connection` is one."""

    @property
    def ca_bundle(self) -> Path: ...
    @property
    def subscription_id(self) -> str: ...
    @property
    def resource_group(self) -> str: ...
    @property
    def workspace_name(self) -> str: ...
    @property
    def studio_url(self) -> str: ...
    @property
    def cloud_name(self) -> str: ...
    @property
    def cloud_metadata(self) -> dict[str, str]: ...
    def environment(self, existing: Mapping[str, str]) -> dict[str, str]: ...


class Workspace:
    """An open workspace: clients, credential and the urls of its data planes.

    Nothing is asked of the service until something is used. Not for sharing between processes.
    """

    def __init__(
        self,
        credential: TokenCredential,
        subscription_id: str,
        resource_group: str,
        name: str,
        *,
        resource_manager: str,
        studio: str = CLOUDS["AzureCloud"].studio,
        ca_bundle: Path | None = None,
        client_options: Mapping[str, Any] | None = None,
        vigil: Vigil | None = None,
        project: str = PROJECT,
    ) -> None:
        self.credential = credential if isinstance(credential, SignIn) else SignIn(lambda: credential)
        self.clock = ServiceClock()
        """What time it is at the service, by its answers to this workspace's clients."""
        self.crowd = Crowd()
        """Who else reads with this identity, by the same answers."""
        self.vigil = vigil or Vigil()
        self.project = project
        self.subscription_id = subscription_id
        self.resource_group = resource_group
        self.name = name
        self.resource_manager = resource_manager.rstrip("/")
        self.studio = studio.rstrip("/")
        self._ca_bundle = ca_bundle
        self._client_options = {
            "enable_telemetry": False,
            "show_progress": False,
            "raw_response_hook": lambda response: self._look_at(response.http_response),
            **(client_options or {}),
        }
        self._registries: dict[str, MLClient] = {}

    def owner(self, recipe: str = "") -> Owner:
        """On whose behalf things are made here: the project's, for the recipe of this name or for all of them."""
        return Owner(self.project, recipe)

    @property
    def path(self) -> str:
        """The workspace's ARM id."""
        return workspace_path(self.subscription_id, self.resource_group, self.name)

    @cached_property
    def ml(self) -> "MLClient":
        """SDK client of the workspace."""
        return sdk().MLClient(
            self.credential, self.subscription_id, self.resource_group, self.name, **self._client_options
        )

    def registry(self, name: str) -> "MLClient":
        """SDK client of a registry, one per name.

        Raises:
            WorkspaceUnreachable: the registry does not exist or does not know this identity.
        """
        if name not in self._registries:
            module = sdk()
            try:
                self._registries[name] = _ride_out_refusals(
                    lambda: module.MLClient(self.credential, registry_name=name, **self._client_options),
                    f"registry {name}",
                )
            except (HttpResponseError, ServiceRequestError) as error:
                raise WorkspaceUnreachable(
                    f"Registry {name!r} cannot be reached: {one_line(error)}. Check `registry` in the recipe, and that "
                    f"this identity may read it."
                ) from error
        return self._registries[name]

    @cached_property
    def description(self) -> "WorkspaceEntity":
        """The workspace as the service describes it.

        Raises:
            WorkspaceUnreachable: it does not exist, cannot be reached, or does not know this identity.
        """
        try:
            found = _ride_out_refusals(lambda: self.ml.workspaces.get(self.name), f"workspace {self.name}")
        except ClientAuthenticationError as error:
            raise WorkspaceUnreachable(
                f"Azure did not accept the credential for workspace {self.name!r}: {one_line(error)}. To go on, "
                f"{self.credential.advice}; or choose another way with PHI_CREDENTIAL."
            ) from error
        except (HttpResponseError, ServiceRequestError) as error:
            raise WorkspaceUnreachable(
                f"Workspace {self.name!r} in resource group {self.resource_group!r} cannot be reached: "
                f"{one_line(error)}. Check AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP and AZURE_ML_WORKSPACE."
            ) from error
        if found is None:
            raise WorkspaceUnreachable(f"The service gives no description of workspace {self.name!r}.")
        return found

    @property
    def location(self) -> str:
        """Azure region of the workspace."""
        return str(self.description.location)

    @cached_property
    def api_url(self) -> str:
        """Base url of the data planes of the workspace's region, from its discovery document."""

        def ask() -> str:
            answer = self.http.get(str(self.description.discovery_url))
            answer.raise_for_status()
            return str(answer.json()["api"]).rstrip("/")

        return ride_out(ask, "discovery", silent)

    @cached_property
    def tracking_url(self) -> str:
        """Address of the workspace's MLflow interface, as the service says it.

        The SDK says another one where the package azureml-mlflow is installed.
        """

        def ask() -> Any:
            url = f"{self.resource_manager}{self.path}?api-version={API_VERSION}"
            answer = self.http.get(url, headers={"Authorization": f"Bearer {self.bearer()}"})
            answer.raise_for_status()
            return (answer.json().get("properties") or {}).get("mlFlowTrackingUri")

        uri = ride_out(ask, f"workspace {self.name}", silent)
        base = str(uri) if uri else f"{self.api_url}/mlflow/v1.0{self.path}"
        return base.replace("azureml://", "https://", 1).split("?")[0].rstrip("/")

    @cached_property
    def http(self) -> httpx.Client:
        """HTTP client that trusts what the workspace's servers show; carries no credential by itself."""
        # It writes down every address, and those of logs and blobs have the signature that opens them.
        censor_log("httpx")
        return httpx.Client(
            verify=self.tls_context(),
            timeout=httpx.Timeout(60.0, connect=15.0),
            follow_redirects=False,
            event_hooks={"response": [self._look_at]},
        )

    def tls_context(self) -> ssl.SSLContext:
        """Trust for every server of this workspace: the system's, or the emulator's own CA beside it."""
        return httpx.create_ssl_context(verify=True) if self._ca_bundle is None else _context_with(self._ca_bundle)

    @cached_property
    def bearer(self) -> Callable[[], str]:
        """Gives a valid token for Azure Resource Manager and the workspace's data planes; renews it in time."""
        from azure.identity import get_bearer_token_provider

        return get_bearer_token_provider(self.credential, f"{self.resource_manager}/.default")

    def watched(self, what: str, url: str, *, goes_on: str = "It runs on and is billing") -> Watched:
        """Something of this workspace that is to be watched (`sight.watching`): kind and name, and its page."""
        return Watched(what, url, self.credential.advice, self.vigil, goes_on)

    def _look_at(self, response: Any) -> None:
        """What every answer says beside its content: what time it is there, and that a token is not taken any more."""
        if response.status_code < httpx.codes.BAD_REQUEST or "x-ms-request-id" in response.headers:
            # The refusal of a proxy on the way would have the proxy's time.
            self.clock.observe(response.headers.get("Date"))
            self.crowd.observe(response.headers)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self.credential.renew()
            self.__dict__.pop("bearer", None)

    def studio_url(self, job: "Job | str") -> str:
        """Page of a job in Azure ML Studio."""
        if not isinstance(job, str):
            url = job.studio_url
            if url:
                return str(url)
            job = str(job.name)
        return self._page(f"runs/{job}")

    def model_studio_url(self, name: str, version: str) -> str:
        """Page of a model version in Azure ML Studio."""
        return self._page(f"model/{name}:{version}/details")

    def endpoint_studio_url(self, name: str) -> str:
        """Page of an online endpoint in Azure ML Studio."""
        return self._page(f"endpoints/realtime/{name}/detail")

    def compute_studio_url(self, name: str) -> str:
        """Page of a compute cluster in Azure ML Studio."""
        return self._page(f"compute/{name}/details")

    def _page(self, path: str) -> str:
        return f"{self.studio}/{path}?wsid={self.path}"


def _ride_out_refusals(call: Callable[[], T], what: str) -> T:
    """`call()`, repeated while the service is throttling or failing; where there is no answer at all, an error soon.

    It is the first that is asked of a service, so silence more likely means a wrong setting than an outage.
    """
    return ride_out(
        call, what, silent, passes=lambda error: isinstance(error, HttpResponseError) and is_transient(error)
    )


def signed_in(settings: Settings) -> SignIn:
    """The credential that the settings name; nobody is asked yet."""
    trust_authorities(settings)
    return credential(
        settings.credential,
        cloud=settings.cloud,
        tenant_id=settings.tenant_id,
        client_id=settings.client_id,
        timeout_seconds=settings.credential_timeout_seconds,
    )


def connect_azure(settings: Settings) -> Workspace:
    """The workspace that the settings name. No request is made yet."""
    # The SDK looks it up there in places that do not know the client.
    os.environ[CLOUD_VARIABLE] = settings.cloud
    addresses = CLOUDS[settings.cloud]
    return Workspace(
        signed_in(settings),
        settings.subscription_id,
        settings.resource_group,
        settings.workspace_name,
        resource_manager=addresses.resource_manager,
        studio=addresses.studio,
        client_options={"cloud": settings.cloud},
        vigil=Vigil(limit_seconds=settings.sight_hours * 3600),
        project=settings.project,
    )


def connect_emulator(connection: EmulatorConnection, vigil: Vigil | None = None, project: str = PROJECT) -> Workspace:
    """The workspace of a running emulator.

    The SDK takes trust, proxy exceptions and managed identity from the environment only, so this sets those variables
    for the whole process. Doing it again changes nothing.
    """
    wanted = connection.environment(os.environ)
    os.environ.update({name: wanted[name] for name in _EMULATOR_VARIABLES if name in wanted})
    from azure.identity import ManagedIdentityCredential

    metadata = connection.cloud_metadata
    return Workspace(
        SignIn(ManagedIdentityCredential, mode="managed_identity"),
        connection.subscription_id,
        connection.resource_group,
        connection.workspace_name,
        resource_manager=metadata["resource_manager"],
        studio=connection.studio_url,
        ca_bundle=connection.ca_bundle,
        # The name holds the port: the SDK keeps the first registration of a name for the life of the process.
        client_options={"cloud": connection.cloud_name, "cloud_metadata": metadata},
        vigil=vigil,
        project=project,
    )


def _context_with(ca_bundle: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=str(ca_bundle))
    return context
