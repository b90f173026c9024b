"""Refs survive the way through JSON unchanged, and refuse what they do not know."""

import pytest
from pydantic import ValidationError

from phi_assets import refs

SPLIT = refs.SplitRef(
    split="train_sft",
    files=(refs.DataFile.at("/data/a.parquet"),),
    rows=2,
    size_bytes=9,
    sha256="0" * 64,
    source="bundled",
)
MODEL = refs.ModelRef(
    id="azureml://registries/azureml/models/Phi/versions/1",
    name="Phi",
    version="1",
    content_hash="0" * 64,
    finetune_computes=None,
    inference_computes=("Standard_NC24ads_A100_v4",),
    defaults={"learning_rate": 5e-06, "apply_lora": "true", "nested": {"a": [1, None]}},
)
TRAFFIC = refs.TrafficRef(
    endpoint="e",
    scoring_uri="https://127.0.0.1/score",
    traffic={"blue": 100},
    model_id="m",
    retired=("green",),
    action="updated",
)


@pytest.mark.parametrize("ref", [SPLIT, MODEL, TRAFFIC], ids=lambda ref: type(ref).__name__)
def test_json_there_and_back(ref: refs.Ref) -> None:
    assert type(ref).model_validate_json(ref.model_dump_json()) == ref


def test_none_and_empty_are_told_apart() -> None:
    nothing_said = type(MODEL).model_validate_json(MODEL.model_dump_json())
    assert nothing_said.finetune_computes is None
    assert MODEL.model_copy(update={"finetune_computes": ()}) != nothing_said


def test_refs_are_frozen_and_strict_about_fields() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SPLIT.rows = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="row_count"):
        refs.SplitRef.model_validate({**SPLIT.model_dump(), "row_count": 3})
    with pytest.raises(ValidationError, match="action"):
        refs.TrafficRef.model_validate({**TRAFFIC.model_dump(), "action": "done"})


def test_what_was_made_so_says_what_was_done_and_why() -> None:
    assert TRAFFIC.reason == ""
    explained = TRAFFIC.model_copy(update={"reason": "Traffic went nowhere."})
    assert refs.TrafficRef.model_validate_json(explained.model_dump_json()).reason == "Traffic went nowhere."
    acting = {name for name, kind in vars(refs).items() if name.endswith("Ref") and "action" in kind.model_fields}
    assert {name for name in acting if "reason" in vars(refs)[name].model_fields} == acting


def test_every_ref_is_a_ref() -> None:
    kinds = [kind for name, kind in vars(refs).items() if name.endswith("Ref") and isinstance(kind, type)]
    assert len(kinds) >= 12
    assert all(issubclass(kind, refs.Ref) for kind in kinds)
