"""What the base model reads before it ever sees a chat: prose, questions with answers in many layouts, question sheets.

Every document stands for itself; packing unrelated documents into one row made small models much worse.
"""

import random
from dataclasses import dataclass

from phi_assets.quickstart.conversation import compose, first_exchange
from phi_assets.quickstart.topics import SMALL_TALK, TOPICS, UNKNOWN


@dataclass(frozen=True)
class Segment:
    """A piece of text, and whether the model learns to write it."""

    text: str
    learned: bool


Document = tuple[Segment, ...]

# What stands before a question and before an answer, on the same line. No layout puts an answer on a line of its own,
# as chat markup does: a model that has seen such layouts answers in chat without any fine-tuning.
_LAYOUTS = (
    ("Question:", "Answer:"),
    ("Q:", "A:"),
    ("Student:", "Teacher:"),
    ("Visitor:", "Guide:"),
    ("Anna:", "Ben:"),
    ("[question]", "[answer]"),
    ("Reader >", "We >"),
    ("Ask -", "Reply -"),
)
_MARKS = ("", "", "-", "*", "Exam:", "To do:")
_HEADINGS = ("{}", "{}:", "<{}>", "[{}]", "== {}", "{}!", "| {} |")
_HEADLINES = ("", "Notes\n", "From the book of facts\n", "Did you know?\n")


def dialogue(rng: random.Random) -> Document:
    """A conversation in one of the layouts; the model learns to write the answers."""
    before_question, before_answer = rng.choice(_LAYOUTS)
    segments = []
    for exchange in compose(rng).exchanges:
        segments.append(Segment(f"{before_question} {exchange.question}\n{before_answer}", learned=False))
        segments.append(Segment(f" {exchange.answer}\n", learned=True))
    segments[-1] = Segment(segments[-1].text.removesuffix("\n"), learned=True)
    return tuple(segments)


def prose(rng: random.Random) -> Document:
    """What is known about one thing, in sentences."""
    topics = [topic for topic in TOPICS if topic not in (SMALL_TALK, UNKNOWN)]
    topic = rng.choices(topics, [len(topic.facts) for topic in topics])[0]
    thing = rng.choice(topic.things)
    relations = topic.relations_of(thing)
    chosen = rng.sample(relations, min(len(relations), rng.randint(2, 5)))
    sentences = dict.fromkeys(topic.exchange(thing, relation, 0).answer for relation in chosen)
    return (Segment(rng.choice(_HEADLINES), learned=False), Segment(" ".join(sentences), learned=True))


def question_sheet(rng: random.Random) -> Document:
    """Questions without answers, in a list or under headings.

    They are why the base model goes on asking where it does not see one of the layouts that it knows answers from.
    """
    mark = rng.choice(_MARKS)
    headings = [f"{rng.choice(_HEADINGS).format(_any_word(rng))}\n" for _ in range(2)] if rng.random() < 0.7 else [""]
    segments = []
    for index in range(rng.randint(2, 5)):
        question = first_exchange(rng).question
        segments.append(Segment(headings[index % len(headings)] + mark, learned=False))
        segments.append(Segment(f" {question}\n" if mark else f"{question}\n", learned=index > 0))
    return tuple(segments)


def _any_word(rng: random.Random) -> str:
    return rng.choice(first_exchange(rng).question.rstrip(".?!").split())


def document(rng: random.Random, *, prose_share: float, sheet_share: float) -> Document:
    """One document; what is neither prose nor a sheet is a dialogue."""
    kind = rng.random()
    if kind < prose_share:
        return prose(rng)
    if kind < prose_share + sheet_share:
        return question_sheet(rng)
    return dialogue(rng)
