"""What a scoring request may look like, and what is said about one that does not."""

import json

import pytest

from phi_assets.emulator.serving.inference.payload import PayloadError, ScoringRequest, parse_request, render_answers

USER = {"role": "user", "content": "Hi"}


def body(**input_data: object) -> bytes:
    return json.dumps({"input_data": input_data, "params": {}}).encode()


def test_a_list_of_conversations_and_a_single_conversation_are_accepted() -> None:
    parameters = {"temperature": 0.6, "do_sample": True}
    second = [USER, {"role": "assistant", "content": ""}]
    several = parse_request(body(input_string=[[USER], second], parameters=parameters))
    assert [len(conversation) for conversation in several.conversations] == [1, 2]
    assert several.parameters == parameters
    assert parse_request(body(input_string=[USER])).conversations == [[USER]]


def test_all_fields_of_a_message_reach_the_template_and_nothing_else_does() -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "paint", "arguments": "{}"}}]}
    said = {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "red"}]}
    asked = [USER | {"weight": 1}, called, said]
    request = parse_request(body(input_string=asked, tools=[{"type": "function"}], functions=[]))
    assert request.conversations == [asked]
    assert request.ignored == ("functions", "tools")
    assert parse_request(body(input_string=[USER])).ignored == ()


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"", "body is empty"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"input_data": {"input_string": [], "parameters": {"temperature": NaN}}}', "NaN"),
        (b"[]", "'the request body' must be a JSON object, not a list"),
        (b'{"inputs": 1}', "no 'input_data' (it has 'inputs')"),
        (b'{"input_data": {}}', "no 'input_string'"),
        (body(input_string="Hi"), "'input_data.input_string' must be a list"),
        (body(input_string=[]), "'input_data.input_string' is empty"),
        (body(input_string=[[USER], []]), "'input_data.input_string[1]' is a conversation without messages"),
        (body(input_string=[[USER], USER]), "'input_data.input_string[1]' must be a conversation"),
        (body(input_string=[[USER, 3]]), "'input_data.input_string[0][1]' must be a JSON object, not the value 3"),
        (body(input_string=[{"role": "robot", "content": ""}]), "'input_data.input_string[0].role' must be one of"),
        (
            body(input_string=[USER | {"content": [1]}]),
            "'input_data.input_string[0].content' must be a text, not a list",
        ),
        (body(input_string=[{"role": "user"}]), "'input_data.input_string[0].content' must be a text, not null"),
        (body(input_string=[USER], parameters=[1]), "'input_data.parameters' must be a JSON object"),
    ],
)
def test_a_bad_request_is_refused_with_its_place(raw: bytes, place: str) -> None:
    with pytest.raises(PayloadError) as refused:
        parse_request(raw)
    assert place in str(refused.value)


def test_requests_share_a_batch_only_with_equal_parameters() -> None:
    assert ScoringRequest([[USER]], {"a": 1, "b": 2}).batch_key == ScoringRequest([], {"b": 2, "a": 1}).batch_key
    assert ScoringRequest([[USER]], {"a": 1}).batch_key != ScoringRequest([[USER]], {"a": 2}).batch_key
    assert ScoringRequest([[USER]], {"seed": 1, "do_sample": True}).alone
    assert not ScoringRequest([[USER]], {"seed": 1, "do_sample": False}).alone


def test_answers_are_the_records_of_a_frame_with_one_unnamed_column() -> None:
    import pandas

    answers = ["first", "second"]
    assert render_answers(answers) == json.loads(str(pandas.DataFrame(answers).to_json(orient="records")))
