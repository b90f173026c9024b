import random
import re
from collections import Counter

import pytest

from phi_assets.quickstart.conversation import compose, held_out_exchanges
from phi_assets.quickstart.grading import Question
from phi_assets.quickstart.knowledge import is_held_out, joined, table
from phi_assets.quickstart.topics import TOPICS


def drawn(count: int, seed: int = 3, *, held_out: bool = False):
    rng = random.Random(seed)
    return [compose(rng, held_out=held_out) for _ in range(count)]


def test_the_same_seed_gives_the_same_conversations():
    assert drawn(200) == drawn(200)
    assert drawn(200) != drawn(200, seed=4)


def test_conversations_are_varied():
    conversations = drawn(2000)
    assert len({conversation.exchanges for conversation in conversations}) > 1900
    assert len({conversation.prompt for conversation in conversations}) > 1500
    turns = Counter(len(conversation.exchanges) for conversation in conversations)
    assert set(turns) == {1, 2, 3, 4}
    assert min(turns.values()) > 100
    assert {exchange.topic for conversation in conversations for exchange in conversation.exchanges} == {
        topic.name for topic in TOPICS
    }


def test_later_turns_rely_on_earlier_ones():
    first_questions = {exchange.question for topic in TOPICS for exchange in topic.exchanges()}
    later = [exchange.question for conversation in drawn(500) for exchange in conversation.exchanges[1:]]
    dependent = [question for question in later if question not in first_questions]
    assert len(dependent) > len(later) / 2


def test_roles_alternate_from_user_to_assistant():
    for conversation in drawn(100):
        roles = [message["role"] for message in conversation.messages()]
        assert roles == ["user", "assistant"] * len(conversation.exchanges)


def test_training_conversations_never_ask_a_held_out_question():
    held_out = {exchange.question for exchange in held_out_exchanges()}
    for conversation in drawn(3000):
        for exchange in conversation.exchanges:
            assert not held_out & _sentences(exchange.question)


def _sentences(text: str) -> set[str]:
    """All runs of sentences: one of them is the bare question that courtesy wraps."""
    parts = re.split(r"(?<=[.!?:]) ", text)
    return {" ".join(parts[start:end]) for start in range(len(parts)) for end in range(start + 1, len(parts) + 1)}


def test_held_out_conversations_start_with_a_held_out_question():
    held_out = {exchange.question.lower().rstrip(".?!") for exchange in held_out_exchanges()}
    for conversation in drawn(300, held_out=True):
        bare = (
            conversation.prompt.removesuffix(" Thank you!")
            .lower()
            .replace("what's", "what is")
            .replace("whats", "what is")
        )
        assert {part.rstrip(".?!") for part in _sentences(bare)} & held_out


def test_an_eighth_of_the_questions_is_held_out():
    questions = [exchange.question for topic in TOPICS for exchange in topic.exchanges()]
    assert 0.10 < sum(map(is_held_out, questions)) / len(questions) < 0.15


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_answer_is_right_by_its_own_keywords_and_well_formed(topic):
    for exchange in topic.exchanges():
        assert exchange.keywords
        assert Question(exchange.question, exchange.keywords, exchange.topic).is_answered_by(exchange.answer)
        for text in (exchange.question, exchange.answer):
            assert not re.search(r"[{}|]|  |\ba [aeiou]", text), text
            assert text[0] == text[0].upper()
            assert text[-1] in ".?!"


def test_no_question_has_two_answers():
    answers: dict[str, str] = {}
    for topic in TOPICS:
        for exchange in topic.exchanges():
            assert answers.setdefault(exchange.question, exchange.answer) == exchange.answer, exchange.question


def test_a_refusal_does_not_repeat_what_was_asked():
    (unknown,) = [topic for topic in TOPICS if topic.name == "unknown"]
    assert len({exchange.answer for exchange in unknown.exchanges()}) == 1


def test_a_table_with_a_missing_cell_is_refused():
    with pytest.raises(ValueError, match="2 cells where 3 are needed"):
        table("name colour taste", "plum | purple")


def test_tables_of_other_things_are_not_joined():
    with pytest.raises(ValueError, match="'plum' stands beside 'pear'"):
        joined(table("name", "plum"), table("name", "pear"))
