"""How a new deployment proved itself, or did not: answers side by side, and the traffic over time."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from phi_assets.azureml.serving.gates import Comparison, Reply, SmokeReport
from phi_assets.azureml.serving.rollout import Rollout, Step
from phi_assets.azureml.serving.routing import in_words
from phi_assets.changes import in_short
from phi_assets.graph.presentation import rounded
from phi_assets.graph.rendering import table
from phi_assets.graph.serving.pictures import traffic_timeline
from phi_assets.refs import DeploymentRef

_TEXT_LENGTH = 200


def smoke_metadata(report: SmokeReport, ref: DeploymentRef) -> dict[str, Any]:
    """What the deployment was asked and what it answered."""
    seconds = [reply.seconds for reply in report.replies if reply.seconds is not None]
    metadata: dict[str, Any] = {
        "deployment": ref.name,
        "model_version": in_short(ref.model_id),
        "model": ref.model_id,
        "prompts": len(report.replies),
        "problems": sum(bool(reply.problem) for reply in report.replies),
        "slowest_seconds": rounded(max(seconds, default=0.0)),
    }
    return metadata | ({"answers": table([_row(reply) for reply in report.replies])} if report.replies else {})


def rollout_metadata(rollout: Rollout, ref: DeploymentRef) -> dict[str, Any]:
    """The steps as a table and as a picture, and the answers of both sides at the last step that had any."""
    steps = rollout.steps
    compared = [step.comparison for step in steps if step.comparison]
    metadata: dict[str, Any] = {
        "deployment": ref.name,
        "model_version": in_short(ref.model_id),
        "model": ref.model_id,
        "steps": len(steps),
    }
    if steps:
        metadata["rollout"] = table([_step_row(step) for step in steps])
        metadata["timeline"] = dg.MetadataValue.md(traffic_timeline(steps))
    if compared:
        metadata |= {"comparison": table(_pairs(compared[-1])), "compared_with": compared[-1].old}
        if compared[-1].seconds:
            old, new = compared[-1].seconds
            metadata |= {"old_seconds": rounded(old), "new_seconds": rounded(new)}
    return metadata


def _step_row(step: Step) -> dict[str, Any]:
    found = step.comparison
    old, new = (found.seconds if found else None) or (None, None)
    return {
        "after": f"{step.seconds:.1f} s",
        "traffic": in_words(step.live, step.mirror),
        "problems, old": _problems(found.old_replies) if found else "",
        "problems, new": _problems(found.new_replies) if found else "",
        "median, old": "" if old is None else f"{old:.3f} s",
        "median, new": "" if new is None else f"{new:.3f} s",
        "outcome": step.outcome,
    }


def _pairs(found: Comparison) -> list[dict[str, Any]]:
    """The prompts that both were asked."""
    pairs = zip(found.old_replies, found.new_replies, strict=False)
    return [{"prompt": old.prompt, **_side("old", old), **_side("new", new)} for old, new in pairs]


def _side(name: str, reply: Reply) -> dict[str, Any]:
    row = _row(reply)
    return {name: row["answer"], f"{name}, seconds": row["seconds"], f"{name}, problem": row["problem"]}


def _row(reply: Reply) -> dict[str, Any]:
    return {
        "prompt": reply.prompt,
        "answer": reply.text[:_TEXT_LENGTH],
        "seconds": "" if reply.seconds is None else f"{reply.seconds:.3f}",
        "problem": reply.problem,
    }


def _problems(replies: Sequence[Reply]) -> str:
    return f"{sum(bool(reply.problem) for reply in replies)} of {len(replies)}"
