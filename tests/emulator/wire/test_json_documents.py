"""What clients send, and what is stored, can be read back; what cannot is refused by the path of its field."""

import json
from pathlib import Path

import pytest

from phi_assets.emulator.store.state import Store
from phi_assets.emulator.wire import json_documents
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.wire.shapes import FLAG, NUMBER, OBJECT, SCALAR, TEXT, TEXTS, Each, require_shape

UNREADABLE = [
    ('{"a": {"b": NaN}}', "'a.b'"),
    ('{"a": [0, 1e400]}', "'a[1]'"),
    ('{"a": -Infinity}', "'a'"),
    ('{"a": "\\ud83d"}', "'a'"),
    ('{"a": {"\\udfff": 1}}', "'a'"),
    ('{"\\ud800": 1}', "the request body"),
    ('{"a": ' + "9" * 20 + "}", "'a'"),
    ('{"a": ' + "9" * 5000 + "}", "not JSON"),
    ('{"a": ' + "[" * 64 + "]" * 64 + "}", "64 levels"),
    ("[" * 100_000, "64 levels"),
    ("{", "not JSON"),
    (b"\xff", "not JSON"),
]


@pytest.mark.parametrize(("raw", "where"), UNREADABLE, ids=range(len(UNREADABLE)))
def test_what_cannot_be_read_back_is_refused_by_its_path(raw: str | bytes, where: str) -> None:
    with pytest.raises(ServiceError) as refused:
        json_documents.parse(raw.encode() if isinstance(raw, str) else raw)
    assert refused.value.status == 400
    assert where in refused.value.message
    refused.value.message.encode()


def test_what_can_is_taken_as_it_is() -> None:
    document = {"a": [1, -(2**63), 1.5, True, None, "\U0001f600"], "b": {}}
    assert json_documents.parse(json.dumps(document).encode()) == document
    assert json_documents.parse(b" ") is None


@pytest.mark.parametrize(
    "value",
    [float("nan"), "\ud83d", {"\ud83d": 1}, 10**5000, [[float("inf")]]],
    ids=["NaN", "half a character", "half a character in a name", "5001 digits", "an infinity"],
)
def test_what_could_not_be_read_back_is_never_stored(tmp_path: Path, value: object) -> None:
    store = Store(tmp_path / "state.sqlite")
    store.put("kind", "key", {"good": 1})
    for write in (store.put, store.create):
        with pytest.raises(ServiceError, match="field"):
            write("kind", "other", {"field": value})
    with pytest.raises(ServiceError, match="field"):
        store.update("kind", "key", lambda document: document | {"field": value})
    assert store.items("kind") == [("key", {"good": 1})]


def test_what_an_earlier_version_has_stored_is_read_so_that_it_can_be_answered(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.sqlite")
    poison = {"nan": float("nan"), "half": "a\ud83d", "whole": "\U0001f600", "deep": {"inf": [float("inf")]}}
    store._connection.execute("INSERT INTO documents (kind, key, body) VALUES ('k', 'k', ?)", (json.dumps(poison),))
    assert store.get("k", "k") == {"nan": None, "half": "a?", "whole": "\U0001f600", "deep": {"inf": [None]}}
    store.update("k", "k", lambda document: document | {"more": 1})


SHAPE = {
    "text": TEXT,
    "number": NUMBER,
    "flag": FLAG,
    "object": OBJECT,
    "tags": TEXTS,
    "inside": {"text": TEXT},
    "each": Each({"text": TEXT}, or_scalar=True),
    "listed": Each(SCALAR, of_list=True),
}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"text": 1}, "'text'"),
        ({"number": True}, "'number'"),
        ({"number": 1.5}, "'number'"),
        ({"flag": 0}, "'flag'"),
        ({"object": []}, "'object'"),
        ({"tags": "x"}, "'tags'"),
        ({"tags": {"a": {}}}, "'tags.a'"),
        ({"inside": 1}, "'inside'"),
        ({"inside": {"text": []}}, "'inside.text'"),
        ({"each": {"a": {"text": 1}}}, "'each.a.text'"),
        ({"each": {"a": []}}, "'each.a'"),
        ({"each": []}, "'each'"),
        ({"listed": {}}, "'listed'"),
        ({"listed": ["x", {}]}, "'listed[1]'"),
        ([], "the request body"),
    ],
)
def test_a_field_of_another_type_is_named(body: object, path: str) -> None:
    with pytest.raises(ServiceError) as refused:
        require_shape(body, SHAPE)
    assert (refused.value.status, path in refused.value.message) == (400, True), refused.value.message


def test_fields_may_be_missing_null_or_unknown() -> None:
    require_shape(None, SHAPE)
    require_shape(dict.fromkeys(SHAPE), SHAPE)
    require_shape({"other": [], "tags": {"a": 1, "b": None}, "each": {"a": "x"}, "listed": [None]}, SHAPE)
