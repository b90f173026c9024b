"""Identity by content."""

import hashlib
import json
from pathlib import Path

import pytest

from phi_assets.fingerprint import canonical_json, file_sha256, fingerprint


def test_order_of_keys_and_kind_of_sequence_do_not_matter() -> None:
    assert fingerprint({"a": 1, "b": (1, 2)}) == fingerprint({"b": [1, 2], "a": 1})
    assert canonical_json({"b": 1, "a": {"d": None, "c": True}}) == '{"a":{"c":true,"d":null},"b":1}'


@pytest.mark.parametrize(
    "other", [{"a": 2}, {"a": "1"}, {"a": True}, {"a": None}, {"b": 1}, {"a": 1, "b": None}, [{"a": 1}], {"a": [1]}]
)
def test_everything_else_does(other: object) -> None:
    assert fingerprint(other) != fingerprint({"a": 1})


def test_it_is_the_hash_of_the_text_in_utf_8() -> None:
    assert fingerprint("über") == hashlib.sha256('"über"'.encode()).hexdigest()
    assert json.loads(canonical_json({"ü": 5e-6})) == {"ü": 5e-6}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_equals_nothing_has_no_fingerprint(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        fingerprint({"loss": value})


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", Path("p"), {"a": object()}])
def test_what_json_cannot_say_has_no_fingerprint(value: object) -> None:
    with pytest.raises(TypeError):
        fingerprint(value)


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_a_file_is_hashed_to_its_end(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    path = tmp_path / "file"
    path.write_bytes(content[:size])
    assert file_sha256(path) == hashlib.sha256(content[:size]).hexdigest()
