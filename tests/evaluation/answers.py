"""Questions with references, and what models say to them."""

from collections.abc import Mapping, Sequence
from typing import Any

from phi_assets.dataset.samples.held_out import HeldOutConversation
from phi_assets.evaluation.answers import Answer, AnswerSet, question_id
from phi_assets.evaluation.scoring import Rival

MODEL = "azureml:mine:2"


def make_questions(references: Sequence[str]) -> list[HeldOutConversation]:
    """One question for each reference."""
    return [
        HeldOutConversation(({"role": "user", "content": f"Question {number}?"},), reference)
        for number, reference in enumerate(references)
    ]


def make_answers(texts: Sequence[str], questions: Sequence[Any], model: str = MODEL, **changes: Any) -> AnswerSet:
    """The n-th answer took n tenths of a second; all of them took two seconds, two at a time."""
    asked = tuple(question_id(question.conversation) for question in questions)
    answers = tuple(Answer(text, (number + 1) / 10, "ft-2") for number, text in enumerate(texts))
    given = AnswerSet(model_id=model, asked=asked, answers=answers, seconds=2.0, concurrency=2)
    return given.model_copy(update=changes)


def make_rival(texts: Sequence[str], questions: Sequence[Any], model: str = "azureml:other:1") -> Rival:
    """Another model that was asked the same."""
    return Rival(model, make_answers(texts, questions, model).by_question)


def first_messages(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The question of each row."""
    return [row["messages"][0]["content"] for row in rows]
