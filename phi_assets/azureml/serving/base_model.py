"""What the foundation model says before any fine-tuning: asked once, by a deployment that exists for that only."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import AzureMLError, ComputeNotAllowed, DeploymentFailed
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.connection.sight import watching
from phi_assets.azureml.ownership import Owner
from phi_assets.azureml.scoring.asking import ask_model
from phi_assets.azureml.serving.deployments import delete_deployment, ensure_deployment
from phi_assets.config.recipe import ServingSection
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.evaluation.answers import AnswerSet, Questions, ensure_answers, usable_answers
from phi_assets.fingerprint import fingerprint
from phi_assets.refs import AnswersRef, DataFile, EndpointRef, ModelRef, RegisteredModelRef, TrafficRef

_FOLDER = "base_answers"

_WITHOUT = "`scoring.compare_with_base: false` scores without it."


def base_deployment_name(model: ModelRef) -> str:
    """Name of the deployment of this foundation model."""
    return f"base-{fingerprint(model.id)[:12]}"


def ensure_base_answers(
    ws: Workspace,
    traffic: TrafficRef,
    model: ModelRef,
    questions: Questions,
    section: ServingSection,
    *,
    storage: DataStorage,
    owner: Owner | None = None,
    force: bool = False,
    log: Log = silent,
) -> AnswersRef:
    """The foundation model's answers are kept in `storage`, and no deployment of it is left.

    Where they were not kept from an earlier time, the model is deployed on the same endpoint with one instance and
    without traffic, asked, and its deployment is deleted, whatever happens. One that a killed run has left is used
    where answers are missing, and deleted in any case. One of its name that is not the owner's (the project's, unless
    one is given) is left alone.

    Raises:
        ComputeNotAllowed: the recipe's instance type may not serve the model.
        DeploymentFailed: it cannot be deployed, or not be deleted; the message says which.
        ScoringFailed: it answered none of the questions, or the endpoint is not there any more.
    """
    # A registry edits versions in place: the same id may be another model.
    key = questions.key(f"{model.id} {model.content_hash}")
    path = storage.folder / _FOLDER / f"{key}.json"

    def ask() -> AnswerSet:
        return ask_model(ws, traffic, model.id, questions, alone, deployment=name, log=log)

    owner = owner or ws.owner()
    given = None if force else usable_answers(storage, path, log)
    is_known = given is not None
    if given is not None:
        delete_deployment(ws, traffic.endpoint, base_deployment_name(model), log, owner=owner)
    else:
        # Kept before the deployment is deleted: where that fails, nobody has to deploy and ask again.
        with base_deployment(ws, traffic, model, section, log, owner=owner) as (name, alone):
            given, _ = ensure_answers(storage, path, ask, force=True, log=log)
    who = f"Model {model.name}:{model.version}"
    ref = AnswersRef(
        path=DataFile.at(path),
        rows=len(questions.conversations),
        failed=len(given.failures),
        left_out=questions.left_out,
        fingerprint=key,
        model_id=model.id,
        action="reused" if is_known else "scored",
        reason="Forced." if force else f"{who} had {'' if is_known else 'not '}answered these questions before.",
    )
    return storage.keep(ref)


def no_base_answers(model: ModelRef) -> AnswersRef:
    """What stands for the foundation model's answers where nobody asks for them."""
    return AnswersRef(
        path=DataFile(),
        rows=0,
        fingerprint="none",
        model_id=model.id,
        action="skipped",
        reason="The recipe does not ask for the base model.",
    )


@contextmanager
def base_deployment(
    ws: Workspace,
    traffic: TrafficRef,
    model: ModelRef,
    section: ServingSection,
    log: Log = silent,
    *,
    owner: Owner | None = None,
) -> Iterator[tuple[str, ServingSection]]:
    """Name and settings of a healthy deployment of the foundation model, which is gone after the block.

    It is gone after an interrupt, too. Where it cannot be deleted after a failure, the log says so and the failure is
    what the caller sees.

    Raises:
        ComputeNotAllowed: the recipe's instance type may not serve the model.
        DeploymentFailed: it did not become healthy, or cannot be deleted.
    """
    name = base_deployment_name(model)
    alone = section.model_copy(update={"instance_count": 1})
    # Once it exists it is billing, so nobody stops looking for it because the sign-in or the network is gone. Who may
    # not delete it is told at once, with the answers kept.
    watched = replace(
        ws.watched(f"Deployment {name} of the base model", ws.endpoint_studio_url(traffic.endpoint)),
        waits_for_roles=False,
    )
    try:
        _deploy(ws, traffic, model, alone, name, owner, log)
        with watching(watched):
            yield name, alone
    except BaseException:
        try:
            delete_deployment(ws, traffic.endpoint, name, log, owner=owner)
        except AzureMLError as error:
            log(str(error))
        raise
    with watching(watched):
        delete_deployment(ws, traffic.endpoint, name, log, owner=owner)


def _deploy(
    ws: Workspace,
    traffic: TrafficRef,
    model: ModelRef,
    section: ServingSection,
    name: str,
    owner: Owner | None,
    log: Log,
) -> None:
    endpoint = EndpointRef(name=traffic.endpoint, scoring_uri=traffic.scoring_uri, expires_at="", action="reused")
    version = RegisteredModelRef(id=model.id, name=model.name, version=model.version, job_name="", action="reused")
    try:
        ensure_deployment(ws, endpoint, version, section, model.inference_computes, log, name=name, owner=owner)
    except (ComputeNotAllowed, DeploymentFailed) as error:
        raise type(error)(f"The base model cannot be asked. {_WITHOUT} {error}") from error
