"""From answers to a report: a row for every question, figures over all of them, and what others said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Protocol

import numpy as np

from phi_assets.dataset.contract.tokens import TokenCounter
from phi_assets.evaluation.answers import Answer, AnswerSet, question_id
from phi_assets.evaluation.chrf import chrf
from phi_assets.evaluation.figures import answer_figures, length_ratio
from phi_assets.evaluation.intervals import paired_difference
from phi_assets.evaluation.quality import answer_problem, is_empty, is_refusal, repetition
from phi_assets.evaluation.report import Comparison, ScoringReport, Speed


class Question(Protocol):
    """A conversation that waits for an answer, and what the data set would answer; empty where that is unknown."""

    @property
    def conversation(self) -> Sequence[Mapping[str, str]]: ...
    @property
    def question(self) -> str: ...
    @property
    def reference(self) -> str: ...


@dataclass(frozen=True)
class Rival:
    """Another model, and its answers by `question_id`; it may not have been asked everything."""

    model_id: str
    answers: Mapping[str, str]


@dataclass(frozen=True)
class Champion:
    """The model that a new one has to live up to."""

    rival: Rival | None
    """None where there is none, or where its answers are lost."""
    note: str
    """Which one it is, or why there is none."""
    is_lost: bool = False
    """There is one, and its answers are gone."""


@dataclass(frozen=True)
class Scored:
    """A scored model."""

    rows: list[dict[str, Any]]
    """One for each question, in order."""
    report: ScoringReport


def evaluate(
    questions: Sequence[Question],
    given: AnswerSet,
    counter: TokenCounter,
    seed: int,
    *,
    base: Rival | None,
    champion: Champion,
    left_out: int = 0,
    margin: float = 0.0,
) -> Scored:
    """The answers judged by themselves, by their references, and against those of other models.

    There is at least one answer; questions without one are in the rows, and in no figure. `seed` is for the intervals:
    the same answers have the same ones. `left_out` questions were not asked. With `margin` points of chrF below the
    champion's, the answers are no worse.
    """
    pairs = [
        (question, answer)
        for question, answer in zip(questions, given.answers, strict=True)
        if isinstance(answer, Answer)
    ]
    answered, answers = [question for question, _ in pairs], [answer for _, answer in pairs]
    texts = [answer.text for answer in answers]
    tokens = counter.count_texts(texts)
    rival, note = champion.rival, champion.note
    against = compare(answered, texts, rival, seed) if rival else None
    if rival and against is None:
        note = f"Champion {rival.model_id} has answered other questions, so nobody knows whether this model is worse."
    report = ScoringReport(
        model_id=given.model_id,
        figures=answer_figures(texts, [question.reference for question in answered], seed),
        speed=_speed(given, answers, tokens, counter),
        failed=len(given.failures),
        left_out=left_out,
        container_log=given.container_log,
        base=compare(answered, texts, base, seed) if base else None,
        champion=against,
        champion_note=note,
        champion_unknown=champion.is_lost or (rival is not None and against is None),
        margin=margin,
    )
    rows = iter(_rows(answered, answers, tokens, base))
    return Scored(
        [
            next(rows) if isinstance(answer, Answer) else _failed_row(question, answer.reason, base)
            for question, answer in zip(questions, given.answers, strict=True)
        ],
        report,
    )


def compare(questions: Sequence[Question], answers: Sequence[str], rival: Rival, seed: int) -> Comparison | None:
    """The other model on the questions that both have answered; None where there are none."""
    pairs = [
        (answer, rival.answers[asked], question.reference)
        for question, answer in zip(questions, answers, strict=True)
        if (asked := question_id(question.conversation)) in rival.answers
    ]
    if not pairs:
        return None
    ours, theirs, references = zip(*pairs, strict=True)
    scores = [
        (new, old)
        for new, old in zip(chrf(ours, references), chrf(theirs, references), strict=True)
        if new is not None and old is not None
    ]
    return Comparison(
        model_id=rival.model_id,
        figures=answer_figures(theirs, references, seed),
        chrf_gain=paired_difference([new for new, _ in scores], [old for _, old in scores], seed),
    )


def _rows(
    questions: Sequence[Question], answers: Sequence[Answer], tokens: Sequence[int], base: Rival | None
) -> list[dict[str, Any]]:
    references = [question.reference for question in questions]
    others = [base.answers.get(question_id(question.conversation)) if base else None for question in questions]
    # An answer that there is not is like nothing.
    of_others = chrf([other or "" for other in others], references)
    return [
        {
            "prompt": question.question,
            "answer": answer.text,
            "reference": question.reference,
            "base_answer": other,
            "latency_ms": round(1000 * answer.seconds, 1),
            "tokens": count,
            "deployment": answer.deployment,
            "chrf": score,
            "base_chrf": None if other is None else of_other,
            "length_ratio": length_ratio(answer.text, question.reference),
            "repetition": round(repetition(answer.text), 4),
            "is_empty": is_empty(answer.text),
            "is_refusal": is_refusal(answer.text),
            "problem": answer_problem(answer.text),
            "failure": None,
            "messages": [dict(message) for message in question.conversation],
        }
        for question, answer, count, score, other, of_other in zip(
            questions,
            answers,
            tokens,
            chrf([answer.text for answer in answers], references),
            others,
            of_others,
            strict=True,
        )
    ]


def _failed_row(question: Question, reason: str, base: Rival | None) -> dict[str, Any]:
    other = base.answers.get(question_id(question.conversation)) if base else None
    return {
        "prompt": question.question,
        "answer": None,
        "reference": question.reference,
        "base_answer": other,
        "latency_ms": None,
        "tokens": None,
        "deployment": None,
        "chrf": None,
        "base_chrf": None if other is None else chrf([other], [question.reference])[0],
        "length_ratio": None,
        "repetition": None,
        "is_empty": False,
        "is_refusal": False,
        "problem": None,
        "failure": reason,
        "messages": [dict(message) for message in question.conversation],
    }


def _speed(given: AnswerSet, answers: Sequence[Answer], tokens: Sequence[int], counter: TokenCounter) -> Speed:
    latencies = [1000 * answer.seconds for answer in answers]
    p50, p95, p99 = (round(float(value), 1) for value in np.percentile(latencies, [50, 95, 99]))
    return Speed(
        latency_ms_mean=round(fmean(latencies), 1),
        latency_ms_p50=p50,
        latency_ms_p95=p95,
        latency_ms_p99=p99,
        latency_ms_max=round(max(latencies), 1),
        seconds=round(given.seconds, 3),
        concurrency=given.concurrency,
        requests_per_second=round(len(latencies) / given.seconds, 2),
        tokens=sum(tokens),
        tokens_per_second=round(sum(tokens) / given.seconds, 1),
        token_counter=counter.label,
    )
