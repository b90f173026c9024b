"""Orphans: what this project made and this graph does not know any more."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from phi_assets.azureml.billing.bill import Bill, Billed


@dataclass(frozen=True)
class KnownThings:
    """What a graph stands by: what its recipe names, and what it has materialized and not given up since."""

    endpoints: frozenset[str] = field(default_factory=frozenset)
    deployments: frozenset[str] = field(default_factory=frozenset)
    """Each `<endpoint>/<name>`."""
    clusters: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, endpoints: Iterable[str], deployments: Iterable[str], clusters: Iterable[str]) -> "KnownThings":
        """Known by these names, whose case does not matter."""
        return cls(*(frozenset(name.lower() for name in names) for names in (endpoints, deployments, clusters)))

    def has(self, item: Billed) -> bool:
        """Whether the graph knows it. A deployment that gets the traffic of a known endpoint is known too."""
        name = item.name.lower()
        if item.kind == "endpoint":
            return name in self.endpoints
        if item.kind == "deployment":
            is_live = item.percent > 0 and name.partition("/")[0] in self.endpoints
            return is_live or name in self.deployments
        return name in self.clusters


def orphans(bill: Bill, known: KnownThings) -> list[Billed]:
    """What carries this project's tags and is unknown to the graph."""
    return [item for item in bill.items if item.is_ours and not known.has(item)]
