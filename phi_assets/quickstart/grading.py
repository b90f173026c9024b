"""Held-out questions with the words that a right answer must say, and the share of right answers."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from phi_assets.quickstart.conversation import first_exchange


@dataclass(frozen=True)
class Question:
    """A first question that occurs in no training, with what a right answer has to say."""

    prompt: str
    keywords: tuple[str, ...]
    topic: str

    def is_answered_by(self, answer: str) -> bool:
        """Whether the answer says every keyword, in any case and with any punctuation around it."""
        words = _words(answer)
        return all(_words(keyword) in words for keyword in self.keywords)


def held_out_questions(n: int, seed: int) -> list[Question]:
    """`n` different held-out questions in the proportions in which the data set talks about its topics."""
    rng = random.Random(seed)
    questions: dict[str, Question] = {}
    while len(questions) < n:
        exchange = first_exchange(rng, held_out=True)
        questions[exchange.question] = Question(exchange.question, exchange.keywords, exchange.topic)
    return list(questions.values())


def keyword_accuracy(questions: Sequence[Question], answers: Sequence[str]) -> float:
    """Share of the questions, 0 to 1, whose answer says all of its keywords.

    Raises:
        ValueError: there is not exactly one answer for each question, or there is no question.
    """
    if not questions or len(questions) != len(answers):
        raise ValueError(f"{len(questions)} questions and {len(answers)} answers: give one answer for each question")
    return sum(question.is_answered_by(answer) for question, answer in zip(questions, answers, strict=True)) / len(
        questions
    )


def _words(text: str) -> str:
    return f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} "
