"""The control plane of a running emulator, for tests and for people who try out what happens if."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import httpx

from phi_assets.emulator.process import CONTROL_KEY_FILE, Connection
from phi_assets.emulator.security.network import NetworkIsolation
from phi_assets.emulator.security.storage_auth import StorageAuth
from phi_assets.emulator.store.journal import Entry

Limit = tuple[float, float]
"""Size of a token bucket, and how many tokens it gets in a second."""

_TIMEOUT_SECONDS = 60.0


class ControlError(RuntimeError):
    """The emulator refused what it was asked for; the message is its own."""


@dataclass(frozen=True)
class FaultState:
    """How many requests a fault was for, how many met it, and how many it holds now."""

    id: str
    matched: int
    applied: int
    holding: int


class Control:
    """Does to the emulator behind `connection` what no client of Azure Machine Learning could do.

    Every method raises ControlError if the emulator refuses, and httpx.TransportError if it cannot be reached.
    """

    def __init__(self, connection: Connection):
        token = (connection.directory / CONTROL_KEY_FILE).read_text(encoding="ascii").strip()
        self._client = httpx.Client(
            base_url=f"{connection.base_url}/_control",
            headers={"Authorization": f"Bearer {token}"},
            verify=ssl.create_default_context(cafile=str(connection.ca_bundle)),
            trust_env=False,
            timeout=_TIMEOUT_SECONDS,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def reset(self) -> None:
        """The emulator is as one that has just been started in an empty directory.

        Running jobs and model servers have ended, held requests are dropped. Registries, keys and tokens stay.
        """
        self._ask("POST", "/reset")

    def restore(self) -> None:
        """Nothing that this class has set is left: no fault, scenario or limit, the time scale is that of the start.

        What was made in the emulator stays, and so do storage keys. Held requests go on.
        """
        self._ask("POST", "/restore")

    def set_time_scale(self, scale: float) -> None:
        """Artificial durations that begin from now on are divided by `scale`."""
        self._ask("PUT", "/timescale", {"scale": scale})

    def set_token_life(self, seconds: int, refresh_after: int) -> None:
        """Tokens that endpoints in mode `aml_token` give from now on expire, and should be replaced, that soon."""
        self._ask("PUT", "/tokens", {"seconds": seconds, "refresh_after": refresh_after})

    def set_storage_auth(self, auth: StorageAuth) -> None:
        """How the workspace's datastores are opened from now on.

        By the account's `keys`, as at first; by `sas`, signatures that are made with the key; or by `identity` only.
        With `keys_refused` the workspace still hands out the key, and storage, whose keys are disabled, refuses it:
        how it is between one setting and the other.
        """
        self._ask("PUT", "/storage", {"auth": auth})

    def rotate_storage_key(self) -> None:
        """The storage account gets another key, and the workspace knows it; what the old one has signed is refused."""
        self._ask("POST", "/storage/key")

    def set_network_isolation(self, mode: NetworkIsolation) -> None:
        """Whether the workspace has a managed virtual network from now on, and what that lets out."""
        self._ask("PUT", "/network", {"isolation": mode})

    def journal(self, since: int = 0) -> list[Entry]:
        """What was answered after entry number `since`, oldest first; of the last 20,000 requests."""
        found = self._ask("GET", f"/journal?since={since}").json()
        return [Entry(**entry) for entry in found["value"]]

    def last_entry(self) -> int:
        """Number of the newest entry of the journal: the `since` for what happens from now on."""
        return self._ask("GET", "/journal/last").json()["last"]

    def counts(self, since: int = 0) -> dict[str, int]:
        """How often each route was asked after entry number `since`: `{"PUT /jobs/{name}": 1, ...}`."""
        return self._ask("GET", f"/journal/counts?since={since}").json()

    def requests(self, endpoint: str) -> dict[str, dict[str, dict[int, int]]]:
        """What came of the scoring requests to each deployment: `{deployment: {way: {status: count}}}`.

        `way` is `live` (drawn by the traffic), `named` (by the request's header) or `mirrored` (a copy).
        """
        found = self._ask("GET", f"/endpoints/{endpoint}/requests").json()
        return {
            deployment: {way: {int(status): count for status, count in counts.items()} for way, counts in ways.items()}
            for deployment, ways in found.items()
        }

    def underway(self, endpoint: str) -> dict[str, int]:
        """How many scoring requests each deployment has let in and not answered yet."""
        return self._ask("GET", f"/endpoints/{endpoint}/underway").json()

    def add_fault(self, **fields: Any) -> str:
        """Something happens to requests from now on; the id of the fault.

        For which requests (None or left out: any):

        - `method`, `plane` (`arm`, `history`, `mlflow`, `registry`, `blob`, `scoring`, `discovery`),
        - `route`: what the journal calls it, `/jobs/{name}`, or a glob; names in braces do not matter,
        - `path`: a regular expression that is searched for in the whole path,
        - the first `skip` of those go free, then each `every`-th is concerned, `count` of them (for ever).

        What: `action` is

        - `status`: an answer with `status` (400 to 599), optionally `code` and `retry_after` seconds, or the whole
          `error` object that it has,
        - `drop`: the connection ends without an answer,
        - `delay`: of `seconds` of the wall clock,
        - `hold`: until `release`,

        and `when` is `before` (the request is processed afterwards or, for `status` and `drop`, never) or `after` (it
        was processed, what is lost or late is its answer). `cycle` is a list of such actions instead, in turn.
        """
        return self._ask("POST", "/faults", fields).json()["id"]

    def fault(self, id: str) -> FaultState:
        """How the fault stands."""
        return FaultState(**self._ask("GET", f"/faults/{id}").json())

    def wait_until_held(self, id: str, timeout: float = 60) -> None:
        """Returns as soon as the fault holds a request. Raises TimeoutError after `timeout` seconds."""
        answer = self._client.get(f"/faults/{id}/held", params={"timeout": timeout}, timeout=timeout + _TIMEOUT_SECONDS)
        if answer.status_code == httpx.codes.REQUEST_TIMEOUT:
            raise TimeoutError(_message(answer))
        _check(answer)

    def release(self, id: str, *, discard: bool = False) -> None:
        """Requests that the fault holds go on, whether or not their clients still wait; it holds no others.

        With `discard` they are dropped: those held `before` were never processed.
        """
        self._ask("POST", f"/faults/{id}/release", {"discard": discard})

    def clear_faults(self) -> None:
        """There are no faults; what they held goes on."""
        self._ask("DELETE", "/faults")

    def set_throttling(self, enabled: bool, **buckets: Limit) -> None:
        """Azure Resource Manager's limits of each principal are on or off; all buckets are full.

        `buckets` are `reads`, `writes` and `deletes`, by default `(250, 25)`, `(200, 10)` and `(200, 10)`.
        """
        limits = {kind: {"size": size, "per_second": rate} for kind, (size, rate) in buckets.items()}
        self._ask("PUT", "/throttling", {"enabled": enabled, "buckets": limits})

    def set_quotas(self, **limits: int) -> None:
        """What the subscription's quotas are from now on, by a VM family's name (`standardNCADSA100v4Family`).

        Also `"Total Cluster Dedicated Regional vCPUs"` and `"Total Cluster LowPriority Regional vCPUs"`, from a
        mapping; what is not named has a generous limit. Nothing is refused for it: that is what scenarios are for.
        """
        self._ask("PUT", "/quotas", {"limits": limits})

    def set_provider_state(self, state: str) -> None:
        """Whether the subscription shows the resource provider as `Registered` or, for example, `NotRegistered`."""
        self._ask("PUT", "/provider", {"state": state})

    def set_clock(self, ahead_seconds: float) -> None:
        """The service's clock is so far ahead of this machine's from now on; behind it where negative.

        Dates of answers and times of jobs are the service's; tokens and signatures keep to this machine's.
        """
        self._ask("PUT", "/clock", {"ahead": ahead_seconds})

    def set_locks(self, **locks: str) -> None:
        """The resource group has these locks, name to `CanNotDelete` or `ReadOnly`, and no others."""
        self._ask("PUT", "/locks", {"locks": locks})

    def set_workspace_kind(self, kind: str) -> None:
        """What the workspace says that it is: `Default`, `Hub`, `Project`, `FeatureStore`."""
        self._ask("PUT", "/workspace", {"kind": kind})

    def add_scenario(self, kind: str, **fields: Any) -> str:
        """A `job`, `compute` or `deployment` goes wrong from now on; the id of the scenario.

        `scenario`, `match`, `count` and what else it takes are the fields of `scenario_kinds` and `model_scenarios`.
        """
        return self._ask("POST", "/scenarios", {"kind": kind, **fields}).json()["id"]

    def clear_scenarios(self) -> None:
        """There are no scenarios; what they held back goes on."""
        self._ask("DELETE", "/scenarios")

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        return _check(self._client.request(method, path, json=body))


def _check(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        raise ControlError(_message(answer))
    return answer


def _message(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["message"])
