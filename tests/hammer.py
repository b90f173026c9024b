"""Clients that ask an endpoint all the time, as people do, and remember what they got."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from phi_assets.azureml.connection.client import Workspace

_CLIENTS = 5
_BODY = {
    "input_data": {"input_string": [[{"role": "user", "content": "are you there?"}]], "parameters": {}},
    "params": {},
}


@dataclass(frozen=True)
class Heard:
    """What a client got for one request, which nobody repeated."""

    moment: float
    status: int
    """Of HTTP; 0 where there was no answer."""
    deployment: str
    text: str


@dataclass
class Hammer:
    """Asks the endpoint `rate` times a second from `__enter__` to `__exit__`, through its traffic rules.

    A client that has to wait sends the next request at once, so that the rate holds as far as the endpoint lets it.
    """

    workspace: Workspace
    endpoint: str
    rate: float = 20
    heard: list[Heard] = field(default_factory=list)

    def __enter__(self) -> Self:
        ml: Any = self.workspace.ml
        self._uri = str(ml.online_endpoints.get(self.endpoint).scoring_uri)
        self._headers = {"Authorization": f"Bearer {ml.online_endpoints.get_keys(self.endpoint).primary_key}"}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on, args=(number,)) for number in range(_CLIENTS)]
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
        self.seconds = time.monotonic() - self._began

    @property
    def failed(self) -> list[Heard]:
        """Requests that were not answered with 200."""
        return [each for each in self.heard if each.status != httpx.codes.OK]

    @property
    def answered(self) -> Counter[str]:
        """Deployments, and how many requests each has answered."""
        return Counter(each.deployment for each in self.heard if each.status == httpx.codes.OK)

    def __str__(self) -> str:
        rate = len(self.heard) / self.seconds
        return f"{len(self.heard)} requests in {self.seconds:.1f} s ({rate:.1f}/s), {len(self.failed)} failed, " + str(
            dict(self.answered)
        )

    def _ask_on(self, number: int) -> None:
        due = time.monotonic() + number / self.rate
        with httpx.Client(verify=self.workspace.tls_context(), headers=self._headers, timeout=60) as client:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due += _CLIENTS / self.rate
                self.heard.append(self._ask(client))

    def _ask(self, client: httpx.Client) -> Heard:
        try:
            response = client.post(self._uri, json=_BODY)
        except httpx.TransportError as error:
            return Heard(time.monotonic(), 0, "", repr(error))
        deployment = response.headers.get("azureml-model-deployment", "")
        return Heard(time.monotonic(), response.status_code, deployment, response.text[:200])
