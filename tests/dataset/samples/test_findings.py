"""What is known of a sample's rows without reading them is what reading them shows, or is not used."""

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from phi_assets.config.dataset import ContractSection
from phi_assets.dataset.samples.findings import findings_name, findings_of, keys_of, look, save_keys
from phi_assets.dataset.samples.verify import keys
from phi_assets.refs import DataFile, SampleRef
from tests.dataset.prepared import chat_rows, write_sample

CONTRACT = ContractSection()


@pytest.fixture
def sample(tmp_path: Path) -> SampleRef:
    return write_sample(tmp_path, "test_gen", chat_rows(12))


def test_keys_take_sixteen_bytes_a_row_and_are_those_of_the_rows(sample: SampleRef, tmp_path: Path) -> None:
    large = write_sample(tmp_path / "large", "test_gen", chat_rows(10_000, turns=1))
    for ref in (sample, large):
        save_keys(Path(ref.parquet), tmp_path / "keys.parquet")
        saved = DataFile.at(tmp_path / "keys.parquet")
        assert keys_of(DataFile.at(tmp_path / "gone.parquet"), saved).equals(keys(Path(ref.parquet)))
    assert 160_000 < (tmp_path / "keys.parquet").stat().st_size < 165_000


def test_keys_of_another_version_of_polars_are_of_no_use(sample: SampleRef, tmp_path: Path) -> None:
    old = keys(Path(sample.parquet)).with_columns(pl.all() + 1).to_arrow()
    pq.write_table(old.replace_schema_metadata({"phi/polars": "0.1"}), tmp_path / "keys.parquet")
    found = keys_of(sample.parquet, DataFile.at(tmp_path / "keys.parquet"))
    assert found.equals(keys(Path(sample.parquet)))


@pytest.mark.parametrize("content", ['{"asked": ""}', "", None])
def test_findings_that_cannot_be_read_are_looked_for_in_the_rows(
    sample: SampleRef, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / findings_name("test_gen")
    if content is not None:
        file.write_text(content)
    known = sample.model_copy(update={"findings": DataFile.at(file)})
    assert findings_of(known, CONTRACT, []) == look(sample, CONTRACT, [])


def test_findings_are_of_one_contract_and_of_the_others_that_they_name(sample: SampleRef, tmp_path: Path) -> None:
    file = tmp_path / findings_name("test_gen")
    said = look(sample, CONTRACT, []).model_copy(update={"problems": ("seen elsewhere",)})
    file.write_text(said.model_dump_json())
    known = sample.model_copy(update={"findings": DataFile.at(file)})
    assert findings_of(known, CONTRACT, []).problems == ("seen elsewhere",)
    # Limits are the check's own matter.
    assert findings_of(known, ContractSection(max_quarantined_percent=1), []).problems == ("seen elsewhere",)
    assert findings_of(known, ContractSection(context_tokens=99), []).problems == ()
    assert findings_of(known, CONTRACT, [write_sample(tmp_path, "test_sft", chat_rows(3))]).problems == ()
