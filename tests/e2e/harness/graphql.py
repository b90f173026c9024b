"""The GraphQL interface of a Dagster webserver, which is all that its UI uses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

_LOCATIONS = """{ workspaceOrError { __typename ... on Workspace { locationEntries {
  name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }"""


class GraphQLError(Exception):
    """The webserver refused a query, or its code location does not load; the message says why."""


@dataclass(frozen=True)
class GraphQL:
    """A webserver at `url`."""

    url: str

    def query(self, graphql: str, **variables: Any) -> dict[str, Any]:
        """The `data` of the answer.

        Raises:
            GraphQLError: the query is not valid.
            httpx.HTTPError: there is no answer.
        """
        body = {"query": graphql, "variables": variables}
        response = httpx.post(f"{self.url}/graphql", json=body, timeout=60, trust_env=False)
        response.raise_for_status()
        answer = response.json()
        if answer.get("errors"):
            raise GraphQLError(f"GraphQL refused: {answer['errors']}")
        return answer["data"]

    def mutate(self, graphql: str, expected: str, **variables: Any) -> dict[str, Any]:
        """The result of the one mutation in `graphql`, whose type has to be the expected one.

        Raises:
            GraphQLError: it has another type.
        """
        (result,) = self.query(graphql, **variables).values()
        if result["__typename"] != expected:
            raise GraphQLError(f"Expected {expected}, got {result}")
        return result

    def is_loaded(self) -> bool:
        """Whether the webserver answers and has loaded every code location.

        Raises:
            GraphQLError: a code location does not load.
        """
        try:
            workspace: Mapping[str, Any] = self.query(_LOCATIONS)["workspaceOrError"]
        except httpx.HTTPError:
            return False
        entries = workspace.get("locationEntries", [])
        errors = [e["locationOrLoadError"]["message"] for e in entries if "message" in (e["locationOrLoadError"] or {})]
        if errors:
            raise GraphQLError(f"The code location does not load: {errors[0]}")
        return bool(entries) and all(entry["loadStatus"] == "LOADED" for entry in entries)
