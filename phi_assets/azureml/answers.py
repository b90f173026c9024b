"""Answers of the live model to given conversations, kept as files that a later run finds again."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from phi_assets.azureml.client import Workspace
from phi_assets.azureml.retry import Log, silent
from phi_assets.azureml.scoring import open_scoring
from phi_assets.fingerprint import fingerprint
from phi_assets.refs import ScoringRef, TrafficRef


class Question(Protocol):
    """A conversation that waits for an answer, and what the data set would answer."""

    @property
    def conversation(self) -> Sequence[Mapping[str, str]]: ...
    @property
    def question(self) -> str: ...
    @property
    def reference(self) -> str: ...


def ensure_answers(
    ws: Workspace,
    traffic: TrafficRef,
    questions: Sequence[Question],
    parameters: Mapping[str, Any],
    *,
    timeout_seconds: float,
    directory: Path,
    log: Log = silent,
    force: bool = False,
) -> ScoringRef:
    """One answer for each question lies in `directory`, as JSON Lines and as Parquet, asked for unless it was before.

    Files are found again by a hash over model, questions and parameters. Requests go to the endpoint one after the
    other, through its traffic rules.

    Raises:
        ScoringFailed: the endpoint did not answer one of them; no file is written.
    """
    asked = [[dict(message) for message in question.conversation] for question in questions]
    key = fingerprint({"model": traffic.model_id, "conversations": asked, "parameters": dict(parameters)})[:16]
    jsonl, parquet = directory / f"{key}.jsonl", directory / f"{key}.parquet"
    reusable = jsonl.exists() and parquet.exists() and not force
    if not reusable:
        with open_scoring(
            ws, traffic.endpoint, traffic.scoring_uri, timeout_seconds=timeout_seconds, log=log
        ) as client:
            rows = [
                _ask(client, question, messages, parameters)
                for question, messages in zip(questions, asked, strict=True)
            ]
        _write(rows, jsonl, parquet)
        log(f"{len(rows)} conversations answered by {traffic.endpoint}.")
    return ScoringRef(
        jsonl=str(jsonl),
        parquet=str(parquet),
        rows=len(asked),
        fingerprint=key,
        model_id=traffic.model_id,
        deployment=max(traffic.traffic, key=lambda name: traffic.traffic[name]),
        action="reused" if reusable else "scored",
        reason=_reason(reusable, force, traffic),
    )


def _reason(reusable: bool, force: bool, traffic: TrafficRef) -> str:
    if reusable:
        return f"Model {traffic.model_id} has answered these questions with these parameters before."
    return "Forced." if force else f"Model {traffic.model_id} had not answered these questions with these parameters."


def _ask(
    client: Any, question: Question, messages: list[dict[str, str]], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    answers = client.ask([messages], parameters)
    return {
        "prompt": question.question,
        "answer": answers.texts[0],
        "reference": question.reference,
        "latency_ms": round(answers.seconds * 1000, 1),
        "deployment": answers.deployment,
        "messages": messages,
    }


def _write(rows: list[dict[str, Any]], jsonl: Path, parquet: Path) -> None:
    import polars as pl

    jsonl.parent.mkdir(parents=True, exist_ok=True)
    partial = parquet.with_suffix(".partial")
    pl.DataFrame(rows).write_parquet(partial)
    os.replace(partial, parquet)
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    os.replace(partial, jsonl)
