"""Does the endpoint serve?"""

import dagster as dg

from phi_assets.assets.serving import live_traffic, online_deployment
from phi_assets.refs import DeploymentRef, ModelRef, TrafficRef


@dg.asset_check(asset=online_deployment, additional_ins={"model": dg.AssetIn("foundation_model")})
def instance_type_in_allow_list(online_deployment: DeploymentRef, model: ModelRef) -> dg.AssetCheckResult:
    """The instance type is one of those that the registry allows for serving this model."""
    allowed = model.inference_computes
    return dg.AssetCheckResult(
        passed=allowed is None or online_deployment.instance_type.lower() in {size.lower() for size in allowed},
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "instance_type": online_deployment.instance_type,
            "allowed": ", ".join(allowed) if allowed else "not restricted",
        },
    )


@dg.asset_check(asset=live_traffic, blocking=True)
def all_traffic_is_served(live_traffic: TrafficRef) -> dg.AssetCheckResult:
    """The traffic read back from the service adds up to 100 %."""
    return dg.AssetCheckResult(
        passed=sum(live_traffic.traffic.values()) == 100,
        metadata={"traffic": dg.MetadataValue.json(live_traffic.traffic)},
    )
