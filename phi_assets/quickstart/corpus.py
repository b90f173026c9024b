"""What the base model reads before it ever sees a chat: prose, questions with answers in many layouts, question sheets.

Every document stands for itself; packing unrelated documents into one row made small models much worse.
"""

import random
from dataclasses import dataclass

from phi_assets.quickstart.conversation import compose, first_exchange
from phi_assets.quickstart.markup import END, USER
from phi_assets.quickstart.topics import SMALL_TALK, TOPICS, UNKNOWN


@dataclass(frozen=True)
class Segment:
    """A piece of text, and whether the model learns to write it."""

    text: str
    learned: bool


Document = tuple[Segment, ...]

# What stands before a question, before an answer, and between these and the text. None of it is chat markup.
_LAYOUTS = (
    ("Question:", "Answer:", "\n"),
    ("Q:", "A:", " "),
    ("Student:", "Teacher:", "\n"),
    ("Visitor:", "Guide:", "\n"),
    ("Anna:", "Ben:", " "),
    ("[question]", "[answer]", "\n"),
    ("Reader wrote:", "We wrote:", "\n"),
    ("Ask:", "Reply:", "\n"),
)
_MARKS = ("- ", "* ", "# ", "Exam: ", "To do: ")
_LOG_SHARE = 0.7
_HEADLINES = ("", "Notes\n", "From the book of facts\n", "Did you know?\n")


def dialogue(rng: random.Random) -> Document:
    """A conversation in one of the layouts; the model learns to write the answers."""
    before_question, before_answer, gap = rng.choice(_LAYOUTS)
    segments = []
    for exchange in compose(rng).exchanges:
        segments.append(Segment(f"{before_question}{gap}{exchange.question}\n{before_answer}", learned=False))
        segments.append(Segment(f"{gap}{exchange.answer}\n", learned=True))
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
    """Questions that nobody answers: an exam, a list, or a log of what users asked.

    They are why the base model goes on asking in chat. Only the log shows chat markup, of users' messages alone.
    """
    return _question_log(rng) if rng.random() < _LOG_SHARE else _question_list(rng)


def _question_list(rng: random.Random) -> Document:
    mark = rng.choice(_MARKS)
    first, *others = [f"{mark}{first_exchange(rng).question}" for _ in range(rng.randint(2, 5))]
    return (Segment(f"{first}\n", learned=False), Segment("\n".join(others), learned=True))


def _question_log(rng: random.Random) -> Document:
    segments = []
    for index in range(rng.randint(2, 4)):
        questions = "\n".join(first_exchange(rng).question for _ in range(rng.randint(1, 3)))
        segments.append(Segment(f"\n{USER}\n" if index else f"{USER}\n", learned=False))
        segments.append(Segment(f"{questions}{END}", learned=index > 0))
    segments[-1] = Segment(segments[-1].text.removesuffix(END), learned=True)
    return tuple(segments)


def document(rng: random.Random, *, prose_share: float, sheet_share: float) -> Document:
    """One document; what is neither prose nor a sheet is a dialogue."""
    kind = rng.random()
    if kind < prose_share:
        return prose(rng)
    if kind < prose_share + sheet_share:
        return question_sheet(rng)
    return dialogue(rng)
