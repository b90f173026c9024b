"""The endpoint and what is behind it, for people."""

from typing import Any

import dagster as dg

from phi_assets.refs import DeploymentRef, EndpointRef, TrafficRef


def endpoint_metadata(ref: EndpointRef) -> dict[str, Any]:
    """The endpoint and the end of its lease."""
    return {
        "action": ref.action,
        "name": ref.name,
        "scoring_uri": dg.MetadataValue.url(ref.scoring_uri),
        "expires_at": ref.expires_at,
    }


def deployment_metadata(ref: DeploymentRef) -> dict[str, Any]:
    """The deployment."""
    return {
        "action": ref.action,
        "endpoint": ref.endpoint,
        "name": ref.name,
        "model": ref.model_id,
        "instance_type": ref.instance_type,
        "instance_count": ref.instance_count,
    }


def traffic_metadata(ref: TrafficRef) -> dict[str, Any]:
    """Who gets the requests."""
    return {
        "action": ref.action,
        "traffic": dg.MetadataValue.json(ref.traffic),
        "retired": ", ".join(ref.retired) or "none",
    }
