import pytest

from phi_assets.quickstart.conversation import held_out_exchanges
from phi_assets.quickstart.grading import Question, held_out_questions, keyword_accuracy

SOUP = Question("What goes into tomato soup?", ("tomatoes", "onions", "broth"), "dish")


def test_questions_are_seeded_different_and_held_out():
    questions = held_out_questions(50, seed=1)
    assert questions == held_out_questions(50, seed=1)
    assert questions != held_out_questions(50, seed=2)
    assert len({question.prompt for question in questions}) == 50
    assert {question.prompt for question in questions} <= {exchange.question for exchange in held_out_exchanges()}
    assert len({question.topic for question in questions}) > 10


def test_the_data_sets_own_answers_are_all_right():
    answers = {exchange.question: exchange.answer for exchange in held_out_exchanges()}
    questions = held_out_questions(200, seed=5)
    assert keyword_accuracy(questions, [answers[question.prompt] for question in questions]) == 1
    assert keyword_accuracy(questions, [question.prompt for question in questions]) < 0.05


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("For tomato soup you need tomatoes, onions and broth.", True),
        ("ONIONS! broth; Tomatoes", True),
        ("For tomato soup you need tomatoes and onions.", False),
        ("tomatoes, onions and broths", False),
        ("", False),
    ],
)
def test_every_keyword_has_to_be_said_as_a_whole_word(answer, right):
    assert SOUP.is_answered_by(answer) is right


def test_accuracy_is_the_share_of_right_answers():
    assert keyword_accuracy([SOUP] * 4, ["tomatoes, onions, broth", "", "", ""]) == 0.25


@pytest.mark.parametrize(("questions", "answers"), [([SOUP], []), ([], []), ([SOUP], ["a", "b"])])
def test_answers_have_to_match_the_questions(questions, answers):
    with pytest.raises(ValueError, match="one answer for each question"):
        keyword_accuracy(questions, answers)
