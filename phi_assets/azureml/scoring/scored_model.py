"""The live model's answers, asked for once and judged each time."""

from collections.abc import Sequence
from pathlib import Path

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ScoringFailed
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.scoring.asking import ask_model
from phi_assets.changes import in_short
from phi_assets.config.recipe import Recipe
from phi_assets.dataset.contract.tokenizers import ModelTokenizer
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.dataset.samples.held_out import prompt_counter
from phi_assets.evaluation.answers import SCORING_FOLDER, Questions, ensure_answers, kept_answers
from phi_assets.evaluation.scoring import Champion, Question, Rival, evaluate
from phi_assets.evaluation.write import ScoringFiles
from phi_assets.fingerprint import fingerprint
from phi_assets.refs import AnswersRef, DataFile, ScoringRef, TrafficRef


def ensure_scores(
    ws: Workspace,
    traffic: TrafficRef,
    prompts: Sequence[Question],
    left_out: int,
    base: AnswersRef,
    champion: Champion,
    recipe: Recipe,
    *,
    storage: DataStorage,
    tokenizer: ModelTokenizer | None = None,
    force: bool = False,
    log: Log = silent,
) -> ScoringRef:
    """The live model's answers are kept with their report, asked for unless the same model gave them before.

    `left_out` questions were too long to be among `prompts`; `tokenizer` is the model's own, where it is at hand. A
    question that the model fails at is in the rows with its reason; the figures are over the others.

    Raises:
        ScoringFailed: the endpoint answered none of the questions, or the base model's answers are gone.
    """
    rival = _base_rival(base)
    questions = Questions([prompt.conversation for prompt in prompts], recipe.scoring.parameters())
    key = questions.key(traffic.model_id)
    directory = storage.folder / SCORING_FOLDER
    given, is_new = ensure_answers(
        storage,
        directory / f"answers-{key}.json",
        lambda: ask_model(ws, traffic, traffic.model_id, questions, recipe.serving, log=log),
        force=force,
        log=log,
    )
    counter = prompt_counter(recipe.contract, tokenizer)
    scored = evaluate(
        prompts,
        given,
        counter,
        recipe.scoring.seed,
        base=rival,
        champion=champion,
        left_out=left_out,
        margin=recipe.scoring.margin,
    )
    identity = fingerprint({"answers": key, "base": base.fingerprint})[:16]
    files = ScoringFiles.named(directory, identity)
    for file in files.all:
        storage.recall(file)
    is_known = not is_new and files.exist
    files.write(scored)
    for file in files.all:
        storage.save(file)
    ref = ScoringRef(
        jsonl=DataFile.at(files.jsonl),
        parquet=DataFile.at(files.parquet),
        report=DataFile.at(files.report),
        rows=len(scored.rows),
        failed=scored.report.failed,
        left_out=left_out,
        fingerprint=identity,
        model_id=traffic.model_id,
        deployment=max(traffic.traffic, key=lambda name: traffic.traffic[name]),
        action="reused" if is_known else "scored",
        reason=_reason(is_new, is_known, force, in_short(traffic.model_id)),
    )
    return storage.keep(ref)


def _base_rival(base: AnswersRef) -> Rival | None:
    if not base.path:
        return None
    given = kept_answers(Path(base.path))
    if given is None:
        raise ScoringFailed(f"The base model's answers are gone from {base.path}. Materialize base_answers again.")
    return Rival(base.model_id, given.by_question)


def _reason(is_new: bool, is_known: bool, force: bool, model: str) -> str:
    if is_known:
        return f"Model {model} has answered these questions with these parameters before."
    if not is_new:
        return f"The answers of model {model} are compared with those of another base model, or with none."
    return "Forced." if force else f"Model {model} had not answered these questions with these parameters."
