import random

from phi_assets.quickstart.conversation import held_out_exchanges
from phi_assets.quickstart.corpus import dialogue, document, prose, question_sheet
from phi_assets.quickstart.markup import ASSISTANT, MARKUP, PAD, SYSTEM


def test_no_document_asks_a_held_out_question():
    rng = random.Random(1)
    held_out = {exchange.question for exchange in held_out_exchanges()}
    for _ in range(3000):
        text = "".join(segment.text for segment in document(rng, prose_share=0.1, sheet_share=0.3))
        for line in text.splitlines():
            assert line not in held_out
            assert line.partition(": ")[2] not in held_out
            assert line[2:] not in held_out


def test_chat_markup_occurs_in_logs_of_questions_only():
    rng = random.Random(2)
    for _ in range(500):
        text = "".join(segment.text for segment in document(rng, prose_share=0.5, sheet_share=0.0))
        assert not any(mark in text for mark in MARKUP)
    for _ in range(500):
        text = "".join(segment.text for segment in question_sheet(rng))
        assert not any(mark in text for mark in (PAD, ASSISTANT, SYSTEM))


def test_the_model_learns_to_write_answers_and_not_questions():
    rng = random.Random(3)
    for _ in range(300):
        segments = dialogue(rng)
        assert [segment.learned for segment in segments] == [False, True] * (len(segments) // 2)
        assert segments[-1].text[-1] in ".!?"


def test_question_sheets_hold_questions_only():
    rng = random.Random(4)
    answers = {exchange.answer for exchange in held_out_exchanges()}
    for _ in range(300):
        assert not any(answer in segment.text for segment in question_sheet(rng) for answer in answers)


def test_prose_is_about_one_thing():
    rng = random.Random(5)
    texts = ["".join(segment.text for segment in prose(rng)) for _ in range(300)]
    assert len(set(texts)) > 200
    assert all(text.rstrip()[-1] in ".!?" for text in texts)
