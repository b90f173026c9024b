"""The managed online endpoint, its deployment and its traffic."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, TypedDict

import dagster as dg

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log
from phi_assets.azureml.ownership import Owner
from phi_assets.azureml.serving.deployments import discard_deployment, ensure_deployment
from phi_assets.azureml.serving.endpoints import ensure_endpoint
from phi_assets.azureml.serving.rollout import abandon_rollout, ensure_rollout
from phi_assets.azureml.serving.scored_gate import Judge, champions_judge
from phi_assets.azureml.serving.smoke import ensure_smoke
from phi_assets.dataset.samples.held_out import askable_conversations
from phi_assets.fingerprint import fingerprint
from phi_assets.graph.explanation import explained
from phi_assets.graph.interrupts import undone_unless_killed
from phi_assets.graph.lineage import Lineage
from phi_assets.graph.preflight.assets import PREFLIGHT
from phi_assets.graph.presentation import presented
from phi_assets.graph.resources.workspace import AzureMLWorkspace
from phi_assets.graph.serving.champion import SCORING_RESULT, find_champion
from phi_assets.graph.serving.metadata import deployment_metadata, endpoint_metadata, traffic_metadata
from phi_assets.graph.serving.rollout_metadata import rollout_metadata, smoke_metadata
from phi_assets.refs import DeploymentRef, EndpointRef, ModelRef, RegisteredModelRef, SampleRef, TrafficRef

ONLINE_ENDPOINT, ONLINE_DEPLOYMENT, LIVE_TRAFFIC = "online_endpoint", "online_deployment", "live_traffic"

SMOKE_GATE, ROLLOUT_GATE = "smoke_gate", "rollout_gate"

ARRIVAL_SECONDS = 15.0
"""How long a request that was interrupted may take to arrive."""

_ENDPOINT_KEYS = (
    "serving.endpoint",
    "serving.auth_mode",
    "serving.identity",
    "serving.public_network_access",
    "serving.lease_hours",
    "serving.tags",
)

DEPLOYMENT_KEYS = (
    "serving.instance_type",
    "serving.instance_count",
    "serving.request_timeout_seconds",
    "serving.liveness_initial_delay_seconds",
    "serving.max_concurrent_requests",
    "serving.worker_count",
    "serving.egress_public_network_access",
)


def serving_assets(lineage: Lineage) -> list[dg.AssetsDefinition]:
    """`online_endpoint`, `online_deployment` and `live_traffic`."""
    return [_online_endpoint(lineage), _online_deployment(lineage), _live_traffic(lineage)]


def _online_endpoint(lineage: Lineage) -> dg.AssetsDefinition:
    recipe, serving = lineage.recipe, lineage.recipe.serving

    @lineage.asset(ONLINE_ENDPOINT, *_ENDPOINT_KEYS, deps=[PREFLIGHT], kinds={"azureml"}, pool=lineage.endpoint_pool)
    def online_endpoint(
        context: dg.AssetExecutionContext, azureml: AzureMLWorkspace
    ) -> dg.MaterializeResult[EndpointRef]:
        """A managed online endpoint in state Succeeded, with the time at which its lease ends."""
        owner, accepted = azureml.owner(recipe.name), recipe.preflight.accept
        with azureml.session() as ws:
            ref = ensure_endpoint(ws, serving, context.log.info, owner=owner, accepted=accepted)
        settings = {"endpoint": ref.name, **serving.model_dump(include={"auth_mode", "lease_hours"})}
        why = explained(context, settings, ref.reason)
        version = fingerprint({"name": ref.name, "auth": serving.auth_mode})[:16]
        metadata = presented(endpoint_metadata(ref, ws.endpoint_studio_url(ref.name)) | why)
        return dg.MaterializeResult(value=ref, data_version=dg.DataVersion(version), metadata=metadata)

    return online_endpoint


def _online_deployment(lineage: Lineage) -> dg.AssetsDefinition:
    recipe, serving = lineage.recipe, lineage.recipe.serving

    @lineage.asset(
        ONLINE_DEPLOYMENT,
        *DEPLOYMENT_KEYS,
        needs=lineage.ins(ONLINE_ENDPOINT, "registered_model", "foundation_model"),
        deps=[PREFLIGHT],
        kinds={"azureml"},
        pool=lineage.endpoint_pool,
        check_specs=[
            dg.AssetCheckSpec(
                SMOKE_GATE,
                asset=lineage.key(ONLINE_DEPLOYMENT),
                blocking=True,
                description="Asked past the traffic rules, the deployment keeps the payload contract and answers in "
                "time, with words. One that does not is removed before it gets any traffic.",
            )
        ],
    )
    def online_deployment(
        context: dg.AssetExecutionContext,
        online_endpoint: EndpointRef,
        registered_model: RegisteredModelRef,
        foundation_model: ModelRef,
        azureml: AzureMLWorkspace,
    ) -> Iterator[dg.MaterializeResult[DeploymentRef] | dg.AssetCheckResult]:
        """A healthy deployment of the model version, named after it, which answers; a new one gets no traffic yet."""
        created, allowed, log = [], foundation_model.inference_computes, context.log.info
        owner, timeout = azureml.owner(recipe.name), serving.request_timeout_seconds
        with (
            azureml.session() as ws,
            undone_unless_killed(context, partial(_discard, context, ws, online_endpoint, created, owner)),
        ):
            ref = ensure_deployment(
                ws, online_endpoint, registered_model, serving, allowed, log, owner=owner, on_create=created.append
            )
            smoke = ensure_smoke(
                ws, online_endpoint, ref, recipe.rollout, timeout_seconds=timeout, owner=owner, log=log
            )
        evidence = smoke_metadata(smoke, ref)
        check = _outcome(SMOKE_GATE, smoke.passed, smoke.summary, evidence)
        if not smoke.passed:
            yield check
            raise dg.Failure(description=smoke.summary, metadata=evidence, allow_retries=False)
        settings = serving.model_dump(mode="json", include={key.partition(".")[2] for key in DEPLOYMENT_KEYS})
        why = explained(context, {"endpoint": ref.endpoint, "model": ref.model_id, **settings}, ref.reason)
        version = fingerprint({"model": ref.model_id, "serving": recipe.code_version(*DEPLOYMENT_KEYS)})[:16]
        yield dg.MaterializeResult(
            value=ref,
            data_version=dg.DataVersion(version),
            metadata=presented(deployment_metadata(ref, ws.endpoint_studio_url(ref.endpoint)) | why),
            check_results=[check],
        )

    return online_deployment


def _discard(
    context: dg.AssetExecutionContext,
    ws: Workspace,
    endpoint: EndpointRef,
    created: list[str],
    owner: Owner,
    interrupted: bool,
) -> None:
    """What the run has asked for, and what has never served, is gone."""
    for name in created:
        arrival = ARRIVAL_SECONDS if interrupted else 0
        discard_deployment(ws, endpoint.name, name, context.log.info, owner=owner, arrival_seconds=arrival)


class _Course(TypedDict):
    """What a rollout and its undoing have in common."""

    owner: Owner
    lease_hours: float
    log: Log


def _live_traffic(lineage: Lineage) -> dg.AssetsDefinition:
    recipe, rollout, serving = lineage.recipe, lineage.recipe.rollout, lineage.recipe.serving
    test = dg.AssetIn(lineage.key("sampled_test_gen"), dagster_type=SampleRef)  # type: ignore[arg-type]
    held_out = {"test": test} if rollout.score_before_live else {}

    @lineage.asset(
        LIVE_TRAFFIC,
        "rollout.retire",
        needs={**lineage.ins(ONLINE_ENDPOINT, ONLINE_DEPLOYMENT), **held_out},
        kinds={"azureml"},
        pool=lineage.endpoint_pool,
        check_specs=[
            dg.AssetCheckSpec(
                ROLLOUT_GATE,
                asset=lineage.key(LIVE_TRAFFIC),
                blocking=True,
                description="At every step of the traffic, the new deployment answered the same prompts no worse than "
                "the old one. Where it does not, the traffic goes back and the new deployment is removed.",
            )
        ],
    )
    def live_traffic(
        context: dg.AssetExecutionContext,
        online_endpoint: EndpointRef,
        online_deployment: DeploymentRef,
        azureml: AzureMLWorkspace,
        **held_out: SampleRef,
    ) -> Iterator[dg.MaterializeResult[TrafficRef] | dg.AssetCheckResult]:
        """All traffic goes to the newest deployment, read back from the service; older ones are gone or kept."""
        endpoint, deployment, log = online_endpoint, online_deployment, context.log.info
        course: _Course = {"owner": azureml.owner(recipe.name), "lease_hours": serving.lease_hours, "log": log}
        with (
            azureml.session() as ws,
            undone_unless_killed(context, lambda _: abandon_rollout(ws, endpoint, deployment, rollout, **course)),
        ):
            timeout = serving.request_timeout_seconds
            judge = _judge(context, lineage, azureml, endpoint, deployment, held_out.get("test"))
            done = ensure_rollout(ws, endpoint, deployment, rollout, timeout_seconds=timeout, judge=judge, **course)
        evidence = rollout_metadata(done, deployment)
        check = _outcome(ROLLOUT_GATE, done.traffic is not None, done.summary, evidence)
        if done.traffic is None:
            yield check
            raise dg.Failure(description=done.failure, metadata=evidence, allow_retries=False)
        ref = done.traffic
        inputs = {"endpoint": ref.endpoint, "deployment": deployment.name, "model": ref.model_id}
        yield dg.MaterializeResult(
            value=ref,
            data_version=dg.DataVersion(fingerprint({"traffic": ref.traffic, "model": ref.model_id})[:16]),
            metadata=presented(
                traffic_metadata(ref, ws.endpoint_studio_url(ref.endpoint))
                | evidence
                | explained(context, inputs, ref.reason)
            ),
            check_results=[check],
        )

    return live_traffic


def _judge(
    context: dg.AssetExecutionContext,
    lineage: Lineage,
    azureml: AzureMLWorkspace,
    endpoint: EndpointRef,
    deployment: DeploymentRef,
    test: SampleRef | None,
) -> Judge | None:
    """Who compares the model with the recipe's champion before it goes live, where the recipe asks for that."""
    if test is None:
        return None
    recipe = lineage.recipe
    return champions_judge(
        azureml.connect(),
        endpoint,
        deployment,
        askable_conversations(test, recipe.scoring, recipe.contract).conversations,
        find_champion(context.instance, lineage.key(SCORING_RESULT), deployment.model_id, lineage.storage),
        recipe,
        storage=lineage.storage,
        log=context.log.info,
    )


def _outcome(gate: str, passed: bool, summary: str, evidence: Mapping[str, Any]) -> dg.AssetCheckResult:
    """Recorded with the materialization, or, where there is none, before the asset fails."""
    return dg.AssetCheckResult(check_name=gate, passed=passed, description=summary, metadata=evidence)
