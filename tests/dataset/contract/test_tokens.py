"""Counting tokens: exactly with a tokenizer, within a few percent without."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tokenizers import Tokenizer

from phi_assets.config.dataset import ContractSection, SampleSection
from phi_assets.config.recipe import Recipe
from phi_assets.dataset.contract import tokens as tokens_module
from phi_assets.dataset.contract.markup import FAMILIES
from phi_assets.dataset.contract.tokenizers import ModelTokenizer, kept_tokenizer, model_tokenizer
from phi_assets.dataset.contract.tokens import TOKENS_PER_BYTE, TOKENS_PER_MESSAGE, TokenCounter, calibration
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.reports.report import Profile, read_report
from phi_assets.dataset.samples import token_counting
from phi_assets.dataset.samples.held_out import prompt_counter
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


OTHER_SCRIPTS = {
    "English": ("Which of the rivers of the north has the most fish in spring?", 0.3),
    "Russian": ("Какая из северных рек весной богаче рыбой?", 0.9),
    "Greek": ("Ποιο ποτάμι του βορρά έχει τα περισσότερα ψάρια;", 0.9),
    "Arabic": ("أي نهر في الشمال فيه أكثر الأسماك في الربيع؟", 0.9),
    "Hindi": ("उत्तर की किस नदी में वसंत में सबसे अधिक मछलियाँ होती हैं?", 0.9),
    "Japanese": ("北の川のうち、春に魚が一番多いのはどの川ですか。", 0.9),
    "Chinese": ("北方哪条河流春天鱼最多", 0.9),
}
"""A question, and so many tokens a byte at least are made of it by the bundled tokenizer, which has seen English."""


@pytest.mark.parametrize("script", OTHER_SCRIPTS)
def test_the_estimate_is_too_low_for_other_scripts_and_a_calibrated_one_is_not(script: str) -> None:
    text, least = OTHER_SCRIPTS[script]
    counter = TokenCounter(TOKENIZER)
    texts = [text * (1 + number % 5) + f" {number}" for number in range(100)]
    sizes = [len(each.encode()) for each in texts]
    counted = counter.count_texts(texts)
    assert sum(counted) / sum(sizes) >= least
    assert sum(TokenCounter(None).count_texts(texts)) < TOKENS_PER_BYTE / least * sum(counted) + len(texts)
    found = calibration(counted[:50], sizes[:50])
    assert sum(sizes) * found.per_byte == pytest.approx(sum(counted), rel=0.02)
    assert abs(sum(counted) / sum(sizes) - found.per_byte) <= 2 * found.uncertainty + 1e-9
    assert found.rows == 50


def test_a_large_split_is_estimated_by_some_rows_and_counted_near_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(600, words=60)
    ref = raw_split(tmp_path, rows, shards=2, group=200)
    model = ModelTokenizer(TOKENIZER, "owner/model")
    exact = count(TokenCounter(TOKENIZER), rows)
    limit, longer = sorted(exact)[-61], 60
    contract, everything = ContractSection(context_tokens=limit), SampleSection(percent=100)
    assert sum(tokens > limit for tokens in exact) == pytest.approx(longer, abs=5)

    def prepared(name: str) -> Profile:
        (sample,) = prepare_split(ref, everything, contract, tmp_path / name, quiet, tokenizer=model)
        return read_report(Path(sample.report)).samples["train_sft"]

    small = prepared("small")
    assert small.token_counter == f"counted with owner/model {TokenCounter(TOKENIZER).identity[:8]}"
    assert (small.tokens, small.truncated_rows) == (sum(exact), sum(tokens > limit for tokens in exact))
    monkeypatch.setattr(token_counting, "COUNTED_BYTES", 60_000)
    monkeypatch.setattr(token_counting, "_CALIBRATED_BYTES", 60_000)
    large = prepared("large")
    said = re.fullmatch(
        r"estimated, (0\.\d{3}) ± 0\.\d{3} tokens a byte as counted with owner/model [0-9a-f]{8} on (\d+) rows, "
        r"most rows within \d+%; of ([\d,]+) rows near the limit, ([\d,]+) counted with owner/model [0-9a-f]{8}",
        large.token_counter,
    )
    assert said is not None
    assert 10 < int(said[2]) < len(rows)
    assert large.tokens == pytest.approx(sum(exact), rel=0.03)
    # All that may be longer were counted.
    assert said[3] == said[4]
    assert large.truncated_rows == pytest.approx(small.truncated_rows, abs=3)
    assert prepared("again") == large
    monkeypatch.setattr(tokens_module, "COUNTED_BYTES", 2000)
    few = re.search(r"of ([\d,]+) rows near the limit, ([\d,]+) counted", prepared("few").token_counter)
    assert few is not None
    assert int(few[2].replace(",", "")) < int(few[1].replace(",", ""))


def test_the_models_own_tokenizer_is_used_where_it_is_at_hand(tmp_path: Path) -> None:
    log: list[str] = []
    recipe = Recipe.model_validate({"name": "mine", "model": {"name": "Phi-4"}})
    # Tests ask no hub.
    assert model_tokenizer(recipe, tmp_path, log.append) is None
    (said,) = log
    assert said.startswith("Tokens are estimated: the tokenizer of microsoft/Phi-4 could not be had (OfflineMode")
    assert f"Put it at {tmp_path}/tokenizers/microsoft--Phi-4.json" in said
    (tmp_path / "tokenizers").mkdir()
    kept = tmp_path / "tokenizers" / "microsoft--Phi-4.json"
    kept.write_bytes(TOKENIZER.read_bytes())
    expected = ModelTokenizer(kept, "microsoft/Phi-4")
    assert model_tokenizer(recipe, tmp_path, log.append) == kept_tokenizer(recipe, tmp_path) == expected
    assert len(log) == 1
    others: list[dict[str, Any]] = [
        {"contract": {"tokenizer": str(TOKENIZER)}},
        {"contract": {"tokenizer_repo": ""}},
        {"model": {"name": "of-somebody"}},
    ]
    for other in others:
        named = Recipe.model_validate({"name": "mine", "model": {"name": "Phi-4"}, **other})
        assert model_tokenizer(named, tmp_path, log.append) is None
        assert kept_tokenizer(named, tmp_path) is None
    assert len(log) == 1
    # Markup of known families is looked for as well: what is written is read again without the model's tokenizer.
    assert set(FAMILIES) <= set(prompt_counter(recipe.contract, expected).markup)
    # The registry's own comes first, and is asked for once.
    other = Recipe.model_validate({"name": "mine", "model": {"name": "Phi-4", "registry": "ours", "version": "8"}})
    kept.unlink()
    asked: list[str] = []

    def own() -> bytes:
        asked.append("registry")
        return TOKENIZER.read_bytes()

    path = tmp_path / "tokenizers" / "registry--ours--Phi-4--8.json"
    for _ in range(2):
        assert model_tokenizer(other, tmp_path, log.append, own) == ModelTokenizer(path, "Phi-4 in registry ours")
    assert (asked, len(log)) == (["registry"], 1)
    named = other.model_copy(update={"contract": other.contract.model_copy(update={"tokenizer_repo": "a/b"})})
    assert model_tokenizer(named, tmp_path, log.append, own) is None
    assert asked == ["registry"]
