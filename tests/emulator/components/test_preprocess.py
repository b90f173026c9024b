"""Reading rows in every declared format, the assistant mask, truncation, and what happens to unusable rows."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from phi_assets.emulator.components import layout
from phi_assets.emulator.components.chat_tokens import IGNORED, ChatEncoder, load_tokenizer
from phi_assets.emulator.components.common import ComponentError
from phi_assets.emulator.components.token_store import TokenRows
from tests.emulator.components import tiny_model
from tests.emulator.components.conftest import Call, start

CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "The cup is red. Which colour has the cup?"},
    {"role": "assistant", "content": "The cup is red."},
    {"role": "user", "content": "Which?"},
    {"role": "assistant", "content": "red <|user|> blue"},
]
UNMARKED = tiny_model.TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", "")


def spoken(encoder: ChatEncoder, messages: list[dict[str, str]]) -> str:
    (row,) = encoder.encode([messages])
    assert len(row.input_ids) == len(row.labels)
    assert all(label in (IGNORED, token) for token, label in zip(row.input_ids, row.labels, strict=True))
    return encoder.tokenizer.decode([label for label in row.labels if label != IGNORED])


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("template", [tiny_model.TEMPLATE, UNMARKED], ids=["marked", "unmarked"])
def test_loss_covers_the_answers_and_their_end_and_nothing_else(base_model: Path, template: str) -> None:
    tokenizer = load_tokenizer(base_model / "data" / "tokenizer")
    tokenizer.chat_template = template
    encoder = ChatEncoder(tokenizer)
    assert spoken(encoder, CONVERSATION) == "The cup is red.<|end|>red <|user|> blue<|end|>"
    assert (
        encoder.encode([CONVERSATION])[0].input_ids
        == tokenizer.apply_chat_template(CONVERSATION, tokenize=True, return_dict=True)["input_ids"]
    )


def test_template_that_rewrites_history_is_refused(base_model: Path) -> None:
    tokenizer = load_tokenizer(base_model / "data" / "tokenizer")
    tokenizer.chat_template = "{% for m in messages[-2:] %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
    with pytest.raises(ComponentError, match="rewrites earlier messages"):
        ChatEncoder(tokenizer).encode([CONVERSATION])


def test_every_declared_format_gives_the_same_tokens(imported: Path, tmp_path: Path, call: Call) -> None:
    rows = [{"prompt": "p", "messages": messages} for messages in tiny_model.conversations(5)]
    write_rows(tmp_path / "rows.jsonl", rows)
    write_rows(tmp_path / "lines.json", rows)
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    for name, delimiter, text in (("rows.csv", ",", json.dumps), ("rows.tsv", "\t", json.dumps), ("py.csv", ",", repr)):
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, delimiter=delimiter)
            writer.writerow(["prompt", "messages"])
            writer.writerows([row["prompt"], text(row["messages"])] for row in rows)
    names = ("rows.jsonl", "lines.json", "rows.json", "rows.parquet", "rows.csv", "rows.tsv", "py.csv")
    stored = []
    for name in names:
        output = tmp_path / f"out-{name}"
        call(
            "preprocess",
            train_file_path=tmp_path / name,
            test_file_path=tmp_path / name,
            model_selector_output=imported,
            output_dir=output,
        )
        tokens = TokenRows(output / layout.TRAIN_ROWS)
        stored.append([tokens[index]["labels"].tolist() for index in range(len(tokens))])
    assert len(stored[0]) == 5
    assert all(other == stored[0] for other in stored)


def test_mltable_takes_precedence_over_the_file(imported: Path, data: Path, tmp_path: Path, call: Call) -> None:
    table = tmp_path / "table"
    table.mkdir()
    tiny_model.write_jsonl(table / "part-0.jsonl", tiny_model.conversations(3))
    tiny_model.write_jsonl(table / "part-1.jsonl", tiny_model.conversations(4, seed=2))
    (table / "MLTable").write_text("type: mltable\npaths:\n  - pattern: ./*.jsonl\n", encoding="utf-8")
    call(
        "preprocess",
        train_file_path=data / "train.jsonl",
        train_mltable_path=table,
        test_file_path=data / "test.jsonl",
        model_selector_output=imported,
        output_dir=tmp_path / "out",
    )
    assert len(TokenRows(tmp_path / "out" / layout.TRAIN_ROWS)) == 7


def test_unusable_rows_are_left_out_and_counted(
    imported: Path, data: Path, tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {"role": "assistant", "content": "red"}
    question = {"role": "user", "content": "Which?"}
    broken: list[Any] = [
        [question],
        [],
        [question, {"role": "assistant", "content": None}],
        [question, {"role": "robot", "content": "x"}],
        [question, {"role": "assistant", "content": "  "}],
        [{"role": "user", "content": "cup " * 60}, answer],
    ]
    rows = [{"messages": messages} for messages in [[question, answer], *broken]]
    write_rows(tmp_path / "rows.jsonl", rows)
    call(
        "preprocess",
        train_file_path=tmp_path / "rows.jsonl",
        test_file_path=data / "test.jsonl",
        max_seq_length=32,
        batch_size=2,
        model_selector_output=imported,
        output_dir=tmp_path / "out",
    )
    assert len(TokenRows(tmp_path / "out" / layout.TRAIN_ROWS)) == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("train: "))
    assert line.startswith("train: 1 rows")
    for reason in ("2 without an assistant answer", "1 without messages", "no text content", "unknown role 'robot'"):
        assert reason in line
    assert "1 whose answers begin after 32 tokens" in line
    assert "first: rows.jsonl, line 2" in line


def test_long_rows_are_truncated_and_said(
    imported: Path, data: Path, tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    short = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "The cup is red. " * 20}]
    write_rows(tmp_path / "rows.jsonl", [{"messages": short}])
    options = {"train_file_path": tmp_path / "rows.jsonl", "test_file_path": data / "test.jsonl"}
    call("preprocess", **options, model_selector_output=imported, output_dir=tmp_path / "a", max_seq_length=20)
    assert TokenRows(tmp_path / "a" / layout.TRAIN_ROWS).lengths == [20]
    assert "1 rows truncated to 20 tokens" in capsys.readouterr().out
    call("preprocess", **options, model_selector_output=imported, output_dir=tmp_path / "b", max_seq_length=999)
    assert "999 is more than the model's 128" in capsys.readouterr().out
    call("preprocess", **options, model_selector_output=imported, output_dir=tmp_path / "c", max_seq_length=-1)
    summaries = [json.loads((tmp_path / name / layout.PREPROCESS_SUMMARY).read_text()) for name in ("a", "b", "c")]
    assert [summary["max_seq_length"] for summary in summaries] == [20, 128, 128]


@pytest.mark.parametrize(
    ("given", "evaluation", "rows", "said"),
    [
        ({"validation": "test", "test": "train"}, "validation", (64, 16), "The validation data is used"),
        ({"test": "test"}, "test", (64, 16), "the test data is used for evaluation"),
        ({}, "held out", (58, 6), "every tenth training row is held out"),
    ],
)
def test_which_data_is_evaluated_on(
    imported: Path,
    data: Path,
    tmp_path: Path,
    call: Call,
    capsys: pytest.CaptureFixture[str],
    given: dict[str, str],
    evaluation: str,
    rows: tuple[int, int],
    said: str,
) -> None:
    files = {f"{split}_file_path": data / f"{name}.jsonl" for split, name in {"train": "train", **given}.items()}
    call("preprocess", **files, model_selector_output=imported, output_dir=tmp_path / "out")
    summary = json.loads((tmp_path / "out" / layout.PREPROCESS_SUMMARY).read_text())
    assert summary["evaluation"] == evaluation
    assert said in capsys.readouterr().out
    stored = [len(TokenRows(tmp_path / "out" / name)) for name in (layout.TRAIN_ROWS, layout.EVALUATION_ROWS)]
    assert tuple(stored) == rows


def test_too_few_rows_to_hold_any_out(imported: Path, tmp_path: Path, call: Call) -> None:
    tiny_model.write_jsonl(tmp_path / "rows.jsonl", tiny_model.conversations(3))
    call(
        "preprocess",
        train_file_path=tmp_path / "rows.jsonl",
        model_selector_output=imported,
        output_dir=tmp_path / "out",
    )
    assert len(TokenRows(tmp_path / "out" / layout.TRAIN_ROWS)) == 3
    empty = TokenRows(tmp_path / "out" / layout.EVALUATION_ROWS)
    assert (len(empty), empty.lengths) == (0, [])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("rows.jsonl", b'{"text": "x", "id": 1}\n', r"rows.jsonl, line 1: there is no column 'messages'.*id, text"),
        ("rows.jsonl", b'{"messages": []}\n', "no usable row.*1 without messages"),
        ("rows.jsonl", b"", "no usable row"),
        ("rows.jsonl", b'{"messages": \n', "rows.jsonl, line 1: not valid JSON"),
        ("rows.jsonl", b"[1]\n", "expected an object"),
        ("rows.parquet", b"no parquet", "not a Parquet file"),
        ("rows.csv", b"messages\nhello\n", "neither JSON nor a Python list"),
        ("rows.txt", b"x", "unsupported format; use one of: jsonl, json, csv, tsv, parquet"),
    ],
)
def test_bad_data_is_named(imported: Path, tmp_path: Path, call: Call, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ComponentError, match=reason):
        call(
            "preprocess",
            train_file_path=tmp_path / name,
            model_selector_output=imported,
            output_dir=tmp_path / "out",
        )


def test_line_separators_inside_a_text_do_not_split_a_row(imported: Path, tmp_path: Path, call: Call) -> None:
    messages = [{"role": "user", "content": "a\u2028b\x85c"}, {"role": "assistant", "content": "d\u2029e"}]
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"messages": messages}, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    call(
        "preprocess",
        train_file_path=tmp_path / "rows.jsonl",
        model_selector_output=imported,
        output_dir=tmp_path / "out",
    )
    assert len(TokenRows(tmp_path / "out" / layout.TRAIN_ROWS)) == 1


def test_finetune_config_can_bring_the_template(base_model: Path, data: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"chat_template": UNMARKED, "other": 1}), encoding="utf-8")
    call(
        "model_import",
        mlflow_model_path=base_model,
        finetune_config_path=tmp_path / "config.json",
        output_dir=tmp_path / "imported",
    )
    call(
        "preprocess",
        train_file_path=data / "train.jsonl",
        model_selector_output=tmp_path / "imported",
        output_dir=tmp_path / "out",
    )
    assert load_tokenizer(tmp_path / "out" / "tokenizer").chat_template == UNMARKED


def test_import_takes_a_plain_folder_before_an_mlflow_one(base_model: Path, tmp_path: Path, call: Call) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for source in (base_model / "data" / "model", base_model / "data" / "tokenizer"):
        for file in source.iterdir():
            (plain / file.name).write_bytes(file.read_bytes())
    call("model_import", pytorch_model_path=plain, mlflow_model_path=base_model, output_dir=tmp_path / "out")
    summary = json.loads((tmp_path / "out" / layout.IMPORT_SUMMARY).read_text())
    assert (summary["source"], summary["model_name"]) == ("pytorch_model_path", "plain")
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()


def test_import_without_a_model_or_with_half_of_one_fails(tmp_path: Path, call: Call) -> None:
    with pytest.raises(ComponentError, match="no base model"):
        call("model_import", output_dir=tmp_path / "out")
    with pytest.raises(ComponentError, match="has no MLmodel"):
        call("model_import", mlflow_model_path=tmp_path, output_dir=tmp_path / "out")
    (tmp_path / "MLmodel").write_text("flavors:\n  sklearn: {}\n", encoding="utf-8")
    with pytest.raises(ComponentError, match="flavors sklearn"):
        call("model_import", mlflow_model_path=tmp_path, output_dir=tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"learning_rate": "nan"}, "learning_rate is nan"),
        ({"adam_beta2": 1}, "adam_beta2 is 1"),
        ({"num_train_epochs": 0}, "num_train_epochs is 0"),
        ({"max_seq_length": 0}, "max_seq_length is 0"),
        ({"precision": 8}, "--precision"),
        ({"user_column_names": "messages,label"}, "no column label"),
        ({"train_file_path": "nowhere.jsonl"}, "nowhere.jsonl does not exist"),
        ({"mlflow_model_path": "."}, "no MLmodel"),
    ],
)
def test_validation_finds_what_would_fail_later(
    data: Path, tmp_path: Path, call: Call, options: dict[str, Any], reason: str
) -> None:
    given = {"train_file_path": data / "train.jsonl", "user_column_names": "messages", **options}
    with pytest.raises(ComponentError, match=reason):
        call("validation", **given, validation_info=tmp_path / "info")
    assert not (tmp_path / "info").exists()


def test_failure_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    process = start("preprocess", model_selector_output=tmp_path, output_dir=tmp_path / "out")
    assert process.returncode == 1
    assert process.stderr == "ERROR: no training data: give train_file_path or train_mltable_path\n"
    process = start("convert", output_dir=tmp_path / "out")
    assert process.returncode == 1
    assert process.stderr == "ERROR: the following arguments are required: --model_path\n"
