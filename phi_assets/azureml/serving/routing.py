"""Who gets which share of an endpoint's requests, and what of that the service takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phi_assets.azureml.connection.errors import TrafficFailed
from phi_assets.azureml.connection.provisioning import has_succeeded, state_of
from phi_assets.azureml.ownership import Owner, Tags, belonging

Shares = Mapping[str, int]
"""Deployments by their names in lower case, with their part of the traffic in percent; who has none is not in it."""

FALLBACK_TAG = "phi-fallback"
"""On the endpoint while its live deployment still has to prove itself with all the traffic: who was live before."""

_MAX_MIRROR_PERCENT = 50


@dataclass(frozen=True)
class Routing:
    """An endpoint's traffic and deployments, as the service shows them."""

    endpoint: str
    scoring_uri: str
    live: Shares
    mirror: Shares
    fallback: str | None
    """Deployment that `FALLBACK_TAG` names."""
    deployments: Mapping[str, Any]
    """By their names in lower case."""
    tags: Tags = None
    """Of the endpoint."""

    @classmethod
    def of(cls, endpoint: Any, deployments: Mapping[str, Any]) -> "Routing":
        """As the SDK's entities have it."""
        return cls(
            endpoint=str(endpoint.name),
            scoring_uri=str(endpoint.scoring_uri),
            live=_shares(endpoint.traffic),
            mirror=_shares(endpoint.mirror_traffic),
            fallback=(endpoint.tags or {}).get(FALLBACK_TAG),
            deployments=deployments,
            tags=dict(endpoint.tags or {}),
        )

    def can_serve(self, name: str) -> bool:
        """Whether the deployment is there and may get another share of the traffic."""
        return name in self.deployments and has_succeeded(self.deployments[name])

    def tags_of(self, name: str) -> Tags:
        """The tags of the deployment; of whom it is, its endpoint says where it does not."""
        return belonging(self.deployments[name].tags, self.tags)

    def is_owned(self, name: str, owner: Owner) -> bool:
        """Whether there is the deployment, and it is the owner's to delete."""
        return name in self.deployments and owner.owns(self.tags_of(name))

    def shows(self, live: Shares, mirror: Shares, fallback: str | None) -> bool:
        """Whether this is the traffic, and the note about who was live before."""
        return (dict(self.live), dict(self.mirror), self.fallback) == (dict(live), dict(mirror), fallback)

    def check(self, live: Shares, mirror: Shares) -> None:
        """Returns if the service takes this traffic.

        Rules: https://learn.microsoft.com/azure/machine-learning/concept-endpoints-online#traffic-mirroring-to-online-deployments

        Raises:
            TrafficFailed: with every rule that is broken; nothing has been requested.
        """
        shares = [*live.items(), *mirror.items()]
        broken = [f"{name} cannot get {share!r} %" for name, share in shares if not _is_share(share)]
        if not broken and sum(live.values()) not in (0, 100):
            broken.append(f"the shares add up to {sum(live.values())} %, not to 0 or 100 %")
        if len(mirror) > 1:
            broken.append(f"traffic is mirrored to one deployment at most, not to {', '.join(mirror)}")
        broken += [f"{name} gets live traffic, and none can be mirrored to it" for name in mirror if name in live]
        if not broken and any(share > _MAX_MIRROR_PERCENT for share in mirror.values()):
            broken.append(f"at most {_MAX_MIRROR_PERCENT} % are mirrored")
        broken += [problem for name, share in shares if (problem := self._problem(name, share))]
        if broken:
            raise TrafficFailed(
                f"Traffic of endpoint {self.endpoint} cannot be {in_words(live, mirror)}: {'; '.join(broken)}. Nothing "
                "was changed."
            )

    def _problem(self, name: str, share: int) -> str | None:
        if name not in self.deployments:
            return f"there is no deployment {name}: materialize online_deployment again"
        if self.can_serve(name) or self.live.get(name) == share:
            return None
        return f"deployment {name} is {state_of(self.deployments[name])}: materialize online_deployment again"


def in_words(live: Shares, mirror: Shares | None = None) -> str:
    """For example `ft-1 90 %, ft-2 10 %`."""
    shares = [f"{name} {share} %" for name, share in live.items()] or ["nowhere"]
    return ", ".join([*shares, *(f"{share} % mirrored to {name}" for name, share in (mirror or {}).items())])


def _is_share(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 100


def _shares(traffic: Any) -> dict[str, int]:
    return {str(name).lower(): int(share) for name, share in (traffic or {}).items() if int(share)}
