"""Counting tokens: exactly with a tokenizer, within a few percent without."""

import json
from importlib.resources import files
from pathlib import Path

import polars as pl
import pytest
from tokenizers import Tokenizer

from phi_assets.config.dataset import ContractSection, SampleSection
from phi_assets.dataset.contract.markup import FAMILIES
from phi_assets.dataset.contract.tokens import TOKENS_PER_BYTE, TOKENS_PER_MESSAGE, TokenCounter
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.reports.report import read_report
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.sources.schema import POLARS_SCHEMA
from phi_assets.fingerprint import file_sha256
from tests.dataset.shards import Row, make_odd_rows, make_rows, quiet, raw_split

TOKENIZER = Path(str(files("phi_assets"))) / "emulator/registry/models/phi3-tiny/data/tokenizer/tokenizer.json"


def count(counter: TokenCounter, rows: list[Row]) -> list[int]:
    messages = pl.DataFrame(rows, schema=POLARS_SCHEMA)["messages"]
    sizes = pl.Series([sum(map(len, map(str.encode, contents(row)))) for row in rows], dtype=pl.UInt32)
    counted = counter.count(messages, sizes)
    assert (counted.name, counted.dtype) == ("tokens", pl.Int64)
    return counted.to_list()


def contents(row: Row) -> list[str]:
    """Text of each message, empty where there is none."""
    return [(message or {}).get("content") or "" for message in row["messages"] or ()]


def test_counts_are_those_of_the_tokenizer_and_the_markup() -> None:
    counter = TokenCounter(TOKENIZER)
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    rows = make_odd_rows(200, words=60)
    expected = [sum(len(tokenizer.encode(text)) + TOKENS_PER_MESSAGE for text in contents(row)) for row in rows]
    conversations = [[{"role": "user", "content": text} for text in contents(row)] for row in rows]
    assert counter.count_conversations(conversations) == expected
    assert count(counter, rows) == expected
    # However the rows are cut into batches.
    assert [count(counter, [row])[0] for row in rows] == expected
    assert count(counter, []) == []
    assert 0 in expected
    assert counter.identity == file_sha256(TOKENIZER)
    assert counter.label == f"counted with tokenizer.json {counter.identity[:8]}"


def test_without_a_tokenizer_the_text_is_measured() -> None:
    counter = TokenCounter(None)
    rows = make_odd_rows(200, words=60)
    assert count(counter, rows) == [
        round(sum(len(text.encode()) for text in contents(row)) * TOKENS_PER_BYTE)
        + TOKENS_PER_MESSAGE * len(contents(row))
        for row in rows
    ]
    assert counter.identity == ""
    assert counter.label == "estimated, 0.214 tokens a byte"


def test_what_a_tokenizer_did_while_it_was_trained_does_not_count(tmp_path: Path) -> None:
    """Published files often cut texts, fill them up to one length, or put a mark before each."""
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    content = json.loads((tmp_path / "tokenizer.json").read_bytes())
    content["post_processor"]["single"].insert(0, {"SpecialToken": {"id": "<|user|>", "type_id": 0}})
    content["post_processor"]["special_tokens"] = {
        "<|user|>": {"id": "<|user|>", "ids": [tokenizer.token_to_id("<|user|>")], "tokens": ["<|user|>"]}
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    marked = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert [len(marked.encode(text)) for text in ("a", "one two " * 50)] == [64, 64]
    assert marked.encode("a").tokens[0] == "<|user|>"
    rows = make_rows(50, words=40)
    assert count(TokenCounter(tmp_path / "tokenizer.json"), rows) == count(TokenCounter(TOKENIZER), rows)


def test_another_tokenizer_at_the_same_path_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    content = json.loads(TOKENIZER.read_bytes())
    path.write_text(json.dumps(content), encoding="utf-8")
    rows = make_rows(20)
    first = TokenCounter(path)
    known = count(first, rows)
    content["model"]["merges"] = content["model"]["merges"][:100]
    path.write_text(json.dumps(content), encoding="utf-8")
    second = TokenCounter(path)
    assert second.identity != first.identity
    assert sum(count(second, rows)) > sum(known)


def test_a_sample_says_how_its_tokens_were_counted(tmp_path: Path) -> None:
    ref = raw_split(tmp_path, make_rows(60, words=40))
    tokens = {}
    for tokenizer in (None, TOKENIZER):
        contract = ContractSection(tokenizer=tokenizer, context_tokens=16)
        (sample,) = prepare_split(ref, SampleSection(percent=100), contract, tmp_path / "out", quiet)
        profile = read_report(Path(sample.report)).samples["train_sft"]
        assert profile.token_counter == TokenCounter(tokenizer).label
        tokens[tokenizer] = profile.tokens
    assert tokens[TOKENIZER] == sum(count(TokenCounter(TOKENIZER), make_rows(60, words=40)))
    assert tokens[None] != tokens[TOKENIZER]


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(DatasetError, match=rf"contract\.tokenizer {path} does not exist: give the path"):
        TokenCounter(path)
    with pytest.raises(DatasetError, match=rf"contract\.tokenizer {tmp_path} does not exist"):
        TokenCounter(tmp_path)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(DatasetError, match=rf"contract\.tokenizer {path} is not a tokenizer\.json: Model missing"):
        TokenCounter(path)


def test_markup_is_what_is_no_text_to_the_tokenizer_or_else_that_of_known_models() -> None:
    assert TokenCounter(None).markup == FAMILIES
    special = TokenCounter(TOKENIZER).markup
    assert {"<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>"} <= set(special)
    assert "[INST]" not in special
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    assert all(len(tokenizer.encode(token, add_special_tokens=False).ids) == 1 for token in special)
