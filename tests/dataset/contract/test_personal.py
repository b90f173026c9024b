"""Personal data in conversations: found by kind, left out, and shown to nobody."""

import json
import sys
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest

from phi_assets.config.dataset import ContractSection, PersonalKind, Policies, SampleSection
from phi_assets.dataset.contract.personal import PersonalData
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.samples.likeness import likeness
from phi_assets.dataset.samples.prepare import prepare_split
from tests.dataset.shards import make_rows, quiet, raw_split

ALL = SampleSection(percent=100)

SECRET = {
    "EMAIL": "ann.lee@example.com",
    "PHONE": "(212) 555-0143",
    "CREDIT_CARD": "4111 1111 1111 1111",
    "SSN": "536-90-4399",
    "DE_IBAN": "DE89 3704 0044 0532 0130 00",
    "IP_ADDRESS": "203.0.113.7",
}
INNOCENT = (
    "In 1969, 3.14159 times 2 was 6.28, and 12,345,678 people paid 19.99 for it at 10:30.",
    "Chapter 12 of ISBN 978-3-16-148410-0 says: see RFC 2822 and page 4111.",
    "Use user@host in the shell; e = m * c ** 2; numpy 2.4.6 is out.",
)


def rows_with(*texts: str) -> list[dict[str, Any]]:
    """Good rows, then one for each text, in its answer."""
    rows = make_rows(8)
    for number, text in enumerate(texts):
        messages = [{"content": f"Number {number}?", "role": "user"}, {"content": text, "role": "assistant"}]
        rows.append({"prompt": f"Number {number}?", "prompt_id": str(number), "messages": messages})
    return rows


def asking(*kinds: str, **policies: Any) -> ContractSection:
    return ContractSection.model_validate({"personal_data": kinds, "policies": Policies(**policies)})


@pytest.mark.parametrize("kind", SECRET)
def test_each_kind_is_found_where_it_is_asked_for(tmp_path: Path, kind: str) -> None:
    rows = rows_with(f"Well, it is {SECRET[kind]}, as you know.")
    others = [each for each in SECRET if each != kind]
    (sample,) = prepare_split(raw_split(tmp_path, rows), ALL, asking(kind), tmp_path / "out", quiet)
    (left_out,) = pq.read_table(sample.quarantine).to_pylist()
    assert (left_out["row"], left_out["rules"], left_out["problem"]) == (8, ["personal_data"], f"holds {kind}")
    (whole,) = prepare_split(raw_split(tmp_path, rows), ALL, asking(*others), tmp_path / "others", quiet)
    assert whole.rows == 9
    # Looked at again, each file is what its contract says.
    assert likeness(sample, asking(kind), None) == {"personal_data": []}
    assert likeness(whole, asking(kind), None) == {"personal_data": [8]}


def test_ordinary_numbers_and_names_are_none(tmp_path: Path) -> None:
    kinds = get_args(PersonalKind)
    (sample,) = prepare_split(raw_split(tmp_path, rows_with(*INNOCENT)), ALL, asking(*kinds), tmp_path / "out", quiet)
    assert sample.rows == 8 + len(INNOCENT)


@pytest.mark.parametrize("policy", ["drop", "warn"])
def test_what_is_found_is_shown_to_nobody(tmp_path: Path, policy: str) -> None:
    said: list[str] = []
    rows = rows_with(*SECRET.values())
    section = asking(*SECRET, personal_data=policy, duplicate_id="drop")
    (sample,) = prepare_split(raw_split(tmp_path, rows[6:]), ALL, section, tmp_path / "out", said.append)
    report = Path(sample.report).read_text()
    shown = report + "".join(said) + (tmp_path / "out" / "train_sft.sample.json").read_text()
    assert not [kind for kind, secret in SECRET.items() if secret in shown]
    assert "[EMAIL]" in report
    violations = {each["rule"]: each for each in json.loads(report)["violations"]}
    assert violations["personal_data"]["rows"] == len(SECRET)
    assert [each["found"] for each in violations["personal_data"]["examples"]] == [
        "holds EMAIL",
        "holds PHONE",
        "holds CREDIT_CARD",
    ]


def test_nobody_needs_the_library_who_does_not_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datafog_core", None)
    ref = raw_split(tmp_path, make_rows(8))
    assert prepare_split(ref, ALL, ContractSection(), tmp_path / "out", quiet)[0].rows == 8
    with pytest.raises(DatasetError, match=r"not installed: pip install 'phi_assets\[pii\]'"):
        prepare_split(ref, ALL, asking("EMAIL"), tmp_path / "other", quiet)


def test_every_kind_that_a_recipe_may_name_is_known_to_the_library() -> None:
    import datafog_core

    known = datafog_core.capabilities()["supported_entities"]
    assert set(get_args(PersonalKind)) <= set(known)
    assert PersonalData().redacted(f"Mail {SECRET['EMAIL']} or {SECRET['DE_IBAN']}.") == "Mail [EMAIL] or [DE_IBAN]."
