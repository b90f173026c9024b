"""The endpoint and what is behind it, for people."""

from typing import Any

import dagster as dg

from phi_assets.changes import in_short
from phi_assets.refs import DeploymentRef, EndpointRef, TrafficRef


def endpoint_metadata(ref: EndpointRef, studio_url: str) -> dict[str, Any]:
    """The endpoint, its page in Studio, and the end of its lease."""
    return {
        "action": ref.action,
        "name": ref.name,
        "studio": dg.MetadataValue.url(studio_url),
        "scoring_uri": dg.MetadataValue.url(ref.scoring_uri),
        "expires_at": ref.expires_at,
    }


def deployment_metadata(ref: DeploymentRef, studio_url: str) -> dict[str, Any]:
    """The deployment, and the endpoint's page in Studio, which shows it."""
    return {
        "action": ref.action,
        "endpoint": ref.endpoint,
        "name": ref.name,
        "studio": dg.MetadataValue.url(studio_url),
        "model_version": in_short(ref.model_id),
        "model": ref.model_id,
        "instance_type": ref.instance_type,
        "instance_count": ref.instance_count,
    }


def traffic_metadata(ref: TrafficRef, studio_url: str) -> dict[str, Any]:
    """Who gets the requests, and the endpoint's page in Studio, where a prompt can be tried."""
    return {
        "action": ref.action,
        "studio": dg.MetadataValue.url(studio_url),
        "traffic": dg.MetadataValue.json(ref.traffic),
        "retired": ", ".join(ref.retired) or "none",
    }
