"""Files of every kind and format, as shards in the schema of ultrachat."""

import csv
import io
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi_assets.config.dataset import DatasetSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.sources.convert import convert
from phi_assets.dataset.sources.json_rows import array_elements
from phi_assets.dataset.sources.raw_splits import fetch_split
from phi_assets.dataset.sources.schema import CONVERTED_SCHEMA
from phi_assets.refs import DataFile, SplitRef
from tests.dataset.shards import make_rows, write_shards

Row = dict[str, Any]

TEXTS = [
    ("plain", "answer"),
    ("über 日本 😀", "U+2028 \u2028, U+2029 \u2029, U+0085 \x85, bell \x07"),
    ('say "so", he said', "line\nline\r\nline\ttab\n\n"),
    ("", " "),
    ("{[,]}\\", "\\ud800 \\n \\\\"),
    ("long", "x" * 3_000_000),
    ("NaN, null", "," * 10),
]
"""Questions and answers that trip careless readers."""


def spoken(question: str, answer: str, role: str = "role", content: str = "content") -> list[Row]:
    names = {"role": ("user", "assistant"), "from": ("human", "gpt")}[role]
    return [{role: names[0], content: question}, {role: names[1], content: answer}]


FORMATS: dict[str, Callable[[str, str], Row]] = {
    "messages": lambda q, a: {"messages": spoken(q, a)},
    "messages of from and value": lambda q, a: {"messages": spoken(q, a, "from", "value")},
    "prompt_completion": lambda q, a: {"prompt": q, "completion": a},
    "prompt_completion of messages": lambda q, a: {"prompt": spoken(q, a)[:1], "completion": spoken(q, a)[1:]},
    "sharegpt": lambda q, a: {"conversations": spoken(q, a, "from", "value"), "system": ""},
    "alpaca": lambda q, a: {"instruction": q, "input": "", "output": a},
}


def as_lines(rows: Sequence[Any]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def as_array(rows: Sequence[Any]) -> bytes:
    return json.dumps(rows, indent=2).encode()


def as_csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]))
    table.writeheader()
    cells = (lambda value: value if isinstance(value, str) else orjson.dumps(value).decode(),)
    table.writerows({name: cells[0](value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def as_parquet(rows: Sequence[Row]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), buffer, row_group_size=2)
    return buffer.getvalue()


CONTAINERS: dict[str, Callable[[Sequence[Row]], bytes]] = {
    "jsonl": as_lines,
    "ndjson": as_lines,
    "json": as_array,
    "csv": as_csv,
    "parquet": as_parquet,
}
CODECS = {"": None, ".gz": "gzip", ".zst": "zstd"}


def pack(content: bytes, ending: str) -> bytes:
    """The content, packed as the file name's ending says."""
    # An ending alone would be a name without one.
    codec = CODECS.get(Path(f"file{ending}").suffix)
    if codec is None:
        return content
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, codec) as stream:
        stream.write(content)
    return packed.getvalue().to_pybytes()


def put(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_bytes(pack(content, name))
    return file


def fetch(folder: Path, data_dir: Path, log: list[str] | None = None, **section: Any) -> SplitRef:
    section = {"source": "local", "path": folder, **section}
    return fetch_split(DatasetSection(**section), "train_sft", data_dir, (log if log is not None else []).append)


def converted_rows(ref: SplitRef) -> list[Row]:
    return [row for file in ref.files for row in pq.read_table(file).to_pylist()]


_NOTHING_MORE = {"problem": None, "json_line": None}


def expected_rows(texts: Sequence[tuple[str, str]] = TEXTS) -> list[Row]:
    rows = []
    for question, answer in texts:
        messages = [{"content": question, "role": "user"}, {"content": answer, "role": "assistant"}]
        identity = json.dumps([[question, "user"], [answer, "assistant"]], ensure_ascii=False)
        prompt_id = sha256(identity.encode()).hexdigest()
        rows.append({"prompt": question, "prompt_id": prompt_id, "messages": messages, **_NOTHING_MORE})
    return rows


# In a table of text, a prompt that looks like JSON is a prompt.
@pytest.mark.parametrize("ending", CODECS)
@pytest.mark.parametrize(
    ("form", "container"),
    [pair for pair in product(FORMATS, CONTAINERS) if pair != ("prompt_completion of messages", "csv")],
)
def test_every_format_in_every_container_gives_the_same_conversations(
    tmp_path: Path, form: str, container: str, ending: str
) -> None:
    content = CONTAINERS[container]([FORMATS[form](*texts) for texts in TEXTS])
    put(tmp_path, f"train_sft.{container}{ending}", content)
    ref = fetch(tmp_path, tmp_path / "data")
    assert converted_rows(ref) == expected_rows()
    assert ref.rows == len(TEXTS)
    (file,) = map(Path, ref.files)
    assert file.is_relative_to(tmp_path / "data" / "converted")
    assert pq.read_schema(file).equals(CONVERTED_SCHEMA)
    assert sorted(path.name for path in file.parent.iterdir()) == ["conversion.json", "rows-00000-of-00001.parquet"]


def test_lines_in_a_file_called_json_are_read_too(tmp_path: Path) -> None:
    put(tmp_path, "train_sft.json", b"\xef\xbb\xbf\r\n" + as_lines([FORMATS["alpaca"](*TEXTS[0])]) + b"\n \n")
    assert converted_rows(fetch(tmp_path, tmp_path / "data")) == expected_rows(TEXTS[:1])


def test_a_table_of_an_editor_with_a_mark_at_its_beginning_is_read(tmp_path: Path) -> None:
    put(tmp_path, "train_sft.csv", b"\xef\xbb\xbfprompt,completion\r\nplain,answer\r\n\r\n")
    assert converted_rows(fetch(tmp_path, tmp_path / "data")) == expected_rows(TEXTS[:1])


def test_conversations_of_several_turns_with_a_system_message_and_nulls(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "r"},
    ]
    rows = [{"messages": messages}, {"messages": []}, {"messages": None}, {"messages": messages[1:2]}]
    seen = []
    for container in ("jsonl", "parquet", "json"):
        put(tmp_path / container, f"train_sft.{container}", CONTAINERS[container](rows))
        seen.append(converted_rows(fetch(tmp_path / container, tmp_path / "data")))
    assert seen[0] == seen[1] == seen[2]
    first, empty, missing, last = seen[0]
    assert [message["content"] for message in first["messages"]] == ["s", "q", None, "r"]
    assert (empty["messages"], empty["prompt"], empty["problem"]) == ([], "", None)
    assert (missing["messages"], missing["prompt"]) == (None, '{"messages": null}')
    assert missing["problem"] == "messages is missing"
    assert (last["prompt"], first["prompt"]) == ("q", "q")


def test_rows_that_cannot_be_mapped_are_kept_in_their_place(tmp_path: Path) -> None:
    lines = [
        b'{"messages": "text"}',
        as_lines([FORMATS["messages"]("plain", "answer")]).strip(),
        b'["not", "an", "object"]',
        b'{"messages": [{"role": "user", "content": "half \\ud83d"}]}',
        b'{"messages": [{"role": "narrator", "content": "q"}]}',
        b'{"other": 1}',
        b'{"messages": [{"role": "user", "content": NaN}]}',
    ]
    put(tmp_path, "train_sft.jsonl", b"\n".join(lines))
    log: list[str] = []
    ref = fetch(tmp_path, tmp_path / "data", log)
    rows = converted_rows(ref)
    assert ref.rows == len(rows) == len(lines)
    assert rows[1] == expected_rows(TEXTS[:1])[0]
    bad = rows[:1] + rows[2:]
    assert [row["messages"] for row in bad] == [None] * 6
    assert [row["problem"] for row in bad] == [
        "messages is not JSON text: invalid literal, expected 'true': line 1 column 1 (char 0)",
        "the row is an array, not an object",
        "messages[0].content has half of a surrogate pair, which is no character",
        'messages[0].role is "narrator": say what that means in dataset.roles',
        "messages is missing",
        "messages[0].content is a number, not text",
    ]
    assert bad[0]["prompt"] == '{"messages": "text"}'
    assert bad[2]["prompt"] == lines[3].decode()
    assert len({row["prompt_id"] for row in rows}) == len(rows)
    assert any("Converted 7 rows" in line and "6 cannot be conversations" in line for line in log)


def test_row_groups_hold_a_thousand_rows_and_fewer_long_ones(tmp_path: Path) -> None:
    short = [FORMATS["alpaca"](f"question {number}", "a") for number in range(2500)]
    put(tmp_path / "short", "train_sft.jsonl", as_lines(short))
    long = [FORMATS["alpaca"](f"question {number}", "a" * 1_000_000) for number in range(40)]
    put(tmp_path / "long", "train_sft.parquet", as_parquet(long))
    sizes = {}
    for name in ("short", "long"):
        (file,) = fetch(tmp_path / name, tmp_path / "data").files
        metadata = pq.read_metadata(file)
        sizes[name] = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert sizes["short"] == [1000, 1000, 500]
    assert sum(sizes["long"]) == 40
    assert max(sizes["long"]) <= 17


def test_shards_stay_in_order_and_one_without_rows_is_left_out(tmp_path: Path) -> None:
    for number, content in enumerate(
        (as_lines([FORMATS["alpaca"]("1", "a")]), b"", as_lines([FORMATS["alpaca"]("3", "a")]))
    ):
        put(tmp_path / "data", f"train_sft-{number:05d}-of-00003.jsonl", content)
    ref = fetch(tmp_path, tmp_path / "out")
    assert [row["prompt"] for row in converted_rows(ref)] == ["1", "3"]
    assert ref.source == str(tmp_path)


def test_a_conversion_is_made_once_for_the_same_content_and_mapping(tmp_path: Path) -> None:
    rows = [FORMATS["sharegpt"](*texts) for texts in TEXTS]
    log: list[str] = []
    put(tmp_path / "a", "train_sft.jsonl", as_lines(rows))
    first = fetch(tmp_path / "a", tmp_path / "data", log)
    put(tmp_path / "b", "train_sft.jsonl", as_lines(rows))
    second = fetch(tmp_path / "b", tmp_path / "data", log)
    assert second.files == first.files
    assert second.sha256 == first.sha256
    assert sum("Converted" in line for line in log) == 1
    other_meaning = fetch(tmp_path / "b", tmp_path / "data", log, roles={"human": "system"})
    assert other_meaning.files != first.files
    put(tmp_path / "b", "train_sft.jsonl", as_lines(rows[:2]))
    assert fetch(tmp_path / "b", tmp_path / "data", log).rows == 2
    assert sum("Converted" in line for line in log) == 3


def test_a_damaged_conversion_is_made_again(tmp_path: Path) -> None:
    put(tmp_path, "train_sft.jsonl", as_lines([FORMATS["alpaca"](*texts) for texts in TEXTS]))
    first = fetch(tmp_path, tmp_path / "data")
    os.truncate(first.files[0], 1000)
    log: list[str] = []
    assert fetch(tmp_path, tmp_path / "data", log) == first
    assert any("Converted" in line for line in log)


def test_parquet_in_the_schema_is_used_as_it_lies_unless_the_recipe_gives_names_a_meaning(tmp_path: Path) -> None:
    (shard,) = write_shards(tmp_path, "train_sft", make_rows(7))
    assert fetch(tmp_path, tmp_path / "data", format="messages").files == (DataFile.at(shard),)
    assert not (tmp_path / "data" / "converted").exists()
    swapped = converted_rows(fetch(tmp_path, tmp_path / "data", roles={"user": "system"}))
    assert swapped[0]["messages"][0]["role"] == "system"
    renamed = converted_rows(fetch(tmp_path, tmp_path / "data", columns={"prompt": "prompt_id"}))
    assert renamed[0]["prompt"] == renamed[0]["prompt_id"]


def test_parquet_whose_own_problems_are_others_is_converted(tmp_path: Path) -> None:
    rows = [{**row, "problem": "1 + 1 = ?"} for row in make_rows(7)]
    put(tmp_path, "train_sft.parquet", as_parquet(rows))
    assert [row["problem"] for row in converted_rows(fetch(tmp_path, tmp_path / "data"))] == [None] * 7


def test_parquet_without_ids_and_of_other_types_is_converted(tmp_path: Path) -> None:
    rows = make_rows(2100)
    message = pa.struct([("role", pa.string()), ("content", pa.large_string()), ("weight", pa.int8())])
    table = pa.table(
        {
            "messages": pa.array([row["messages"] for row in rows], pa.large_list(message)),
            "prompt": pa.array([row["prompt"] for row in rows]).dictionary_encode(),
            "prompt_id": pa.array(range(len(rows))),
        }
    )
    pq.write_table(table, tmp_path / "train_sft.parquet", row_group_size=1500)
    converted = converted_rows(fetch(tmp_path, tmp_path / "data"))
    assert [row["messages"] for row in converted] == [row["messages"] for row in rows]
    assert [row["prompt"] for row in converted] == [row["prompt"] for row in rows]
    assert [row["prompt_id"] for row in converted] == [str(number) for number in range(len(rows))]


GOOD = as_lines([FORMATS["alpaca"](*TEXTS[0])])
PACKED = {ending: pack(os.urandom(50_000).hex().encode(), ending) for ending in CODECS if ending}


def damaged_parquet() -> bytes:
    content = bytearray(
        as_parquet([FORMATS["alpaca"](f"question {n} {os.urandom(50).hex()}", "a") for n in range(500)])
    )
    content[2000:12000] = b"\xff" * 10000
    return bytes(content)


@pytest.mark.parametrize(
    ("kind", "content", "complaint"),
    [
        ("jsonl", GOOD + b"{oops}\n" + GOOD, r"FILE, line 2 is not JSON \(.*expected one object a line"),
        ("jsonl", GOOD[: len(GOOD) // 2], r"FILE, line 1 is not JSON"),
        ("jsonl", GOOD + b'{"instruction": "caf\xe9"}\n', r"FILE, line 2 is not UTF-8 .*save the file"),
        ("jsonl", "".join(map(chr, range(65, 70))).encode("utf-16"), r"FILE, line 1 is not UTF-8"),
        ("jsonl", GOOD + b"[" * 100_000 + b"]" * 100_000, r"FILE, line 2 is not JSON \(depth"),
        ("jsonl", b"[1]\n2\n", r"FILE holds no JSON objects.*Write each row as an object with the columns"),
        ("jsonl", b"", r"FILE has no rows"),
        ("jsonl", b"\n \n", r"FILE has no rows"),
        ("json", b"[]", r"FILE has no rows"),
        ("json", as_array([FORMATS["alpaca"](*TEXTS[0])])[:-3], r"FILE, line \d+ is not JSON \(.*one array"),
        ("json", b'[\n{"instruction": 1},\n{"instruction" 2}\n]', r"FILE, line 3 is not JSON \(Expecting ':'"),
        ("json", b'[{"instruction": 1}\n{"instruction": 2}]', r"line 2 is not JSON \(expected ',', found '\{'"),
        ("json", b"[1] [2]", r"line 1 is not JSON \(there is more after the end of the array"),
        ("json", b'[\n{"a": "caf\xe9"}]', r"FILE, line 2 is not UTF-8"),
        ("json", b"[" * 100_000, r"FILE, line 1 is not JSON \(a value is nested too deeply"),
        ("json", b'{\n "messages": [\n}', r"FILE, line 3 is not JSON"),
        ("csv", b"prompt,completion\nq\n", r"FILE, the row that ends in line 2 has 1 cells, the header 2"),
        ("csv", b'prompt,completion\nq,"a\nb"\nq,a,c\n', r"FILE, the row that ends in line 4 has 3 cells"),
        ("csv", b'prompt,completion\nq,"a\nb\n', r"FILE, line 3 is not CSV \(unexpected end of data"),
        ("csv", b'prompt,completion\nq,"a"b\n', r"FILE, line 2 is not CSV"),
        ("csv", b"prompt,completion\nq,caf\xe9\n", r"FILE, line 2 is not UTF-8"),
        ("csv", b"prompt,prompt\n1,2\n", r"FILE, line 1 names the column\(s\) prompt more than once"),
        ("csv", b"prompt,completion\n", r"FILE has no rows"),
        ("csv", b"", r"FILE has no rows"),
        ("csv", b"question,answer\n1,2\n", r"FILE has the columns question, answer, which are not those"),
        ("parquet", b"PAR1 not at all", r"FILE is not a complete Parquet file"),
        ("parquet", as_parquet([{"instruction": "q", "output": "a"}])[:-20], r"FILE is not a complete Parquet"),
        ("parquet", damaged_parquet(), r"FILE cannot be read to its end"),
        (
            "parquet",
            as_parquet([{"text": "q"}]),
            r"FILE has the columns text, .*needs messages \(missing: messages",
        ),
        (
            "parquet",
            as_parquet([{"prompt": "q", "prompt_id": "1"}]),
            r"columns prompt, prompt_id.*needs messages \(missing: messages\).*completion \(missing: completion\)",
        ),
        (
            "parquet",
            as_parquet([{"messages": 1}]),
            r"FILE does not hold conversations in the format messages: column 'messages' is int64, expected list",
        ),
    ],
)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_file_that_is_damaged_as_a_whole_is_one_clear_message(
    tmp_path: Path, kind: str, content: bytes, complaint: str, ending: str
) -> None:
    name = f"train_sft.{kind}{ending}"
    rows = [FORMATS["alpaca"](*TEXTS[0])]
    put(tmp_path / "source", name, CONTAINERS[kind](rows))
    earlier = fetch(tmp_path / "source", tmp_path / "data")
    put(tmp_path / "source", name, content)
    with pytest.raises(DatasetError, match=complaint.replace("FILE", re.escape(name))):
        fetch(tmp_path / "source", tmp_path / "data")
    left = [path.name for path in (tmp_path / "data" / "converted").iterdir() if path.suffix != ".lock"]
    assert left == [Path(earlier.files[0]).parent.name]
    assert converted_rows(earlier) == expected_rows(TEXTS[:1])


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
@pytest.mark.parametrize("harm", ["cut in the middle", "cut at the end", "not packed at all", "overwritten"])
def test_what_cannot_be_unpacked_is_one_clear_message(tmp_path: Path, ending: str, kind: str, harm: str) -> None:
    choice = random.Random(1)
    rows = [FORMATS["alpaca"](f"question {number}", choice.randbytes(100).hex()) for number in range(500)]
    packed = pack(CONTAINERS[kind](rows), ending)
    middle = len(packed) // 2
    harmed = {
        "cut in the middle": packed[:middle],
        "cut at the end": packed[:-2],
        "not packed at all": CONTAINERS[kind](rows),
        "overwritten": packed[:middle] + b"\0" * 1000 + packed[middle + 1000 :],
    }[harm]
    (tmp_path / f"train_sft.{kind}{ending}").write_bytes(harmed)
    said = (
        f"is not packed: take {ending} from its name"
        if harm == "not packed at all"
        else r"cannot be read to its end \(.*replace the file"
    )
    with pytest.raises(DatasetError, match=rf"train_sft\.{kind}{ending} {said}"):
        fetch(tmp_path, tmp_path / "data")
    assert [path.name for path in (tmp_path / "data" / "converted").iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize("harm", ["cut", "nothing of the kind"])
def test_damage_in_what_is_left_to_datasets_is_one_clear_message(tmp_path: Path, harm: str) -> None:
    stream = pa.BufferOutputStream()
    table = pa.Table.from_pylist([FORMATS["alpaca"](f"question {number}", "a") for number in range(5000)])
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    content = stream.getvalue().to_pybytes()
    file = put(tmp_path, "train.arrow", content[: len(content) // 2] if harm == "cut" else b"once upon a time")
    with pytest.raises(DatasetError, match=r"train\.arrow cannot be read to its end \(.*replace the file"):
        convert([file], DatasetSection(), tmp_path / "converted", lambda _: None)
    assert [path.name for path in (tmp_path / "converted").iterdir() if path.suffix != ".lock"] == []


def test_a_line_that_never_ends_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A quarter of a gigabyte is more than a test should write.
    for module in ("tables", "json_rows"):
        monkeypatch.setattr(f"phi_assets.dataset.sources.{module}.LONGEST_ROW_BYTES", 1 << 20)
    for name in ("train_sft.jsonl", "train_sft.csv", "train_sft.json"):
        folder = tmp_path / name
        put(folder, name, (b"[" if name.endswith("json") else b"") + b'"' + b"x" * (3 << 20))
        with pytest.raises(DatasetError, match=r"(line 1 is|one value is) longer than 1 MB"):
            fetch(folder, tmp_path / "data")


_ON_A_SMALL_DISK = """
import resource, sys
from pathlib import Path
from phi_assets.dataset.sources.raw_splits import fetch_split
from phi_assets.config.dataset import DatasetSection
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    fetch_split(DatasetSection(source="local", path=sys.argv[1]), "train_sft", Path(sys.argv[2]), print)
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize("name", ["train_sft.jsonl", "train_sft.parquet.gz"])
def test_no_room_on_the_disk_is_one_clear_message(tmp_path: Path, name: str) -> None:
    rows = [FORMATS["alpaca"](f"question {number}", os.urandom(200).hex()) for number in range(3000)]
    put(tmp_path, name, as_lines(rows) if "jsonl" in name else as_parquet(rows))
    answer = subprocess.run(
        [sys.executable, "-c", _ON_A_SMALL_DISK, str(tmp_path), str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    converted = tmp_path / "data" / "converted"
    assert answer.splitlines()[-1].startswith(f"DatasetError: The disk that holds {converted} is full")
    assert [path.name for path in converted.iterdir() if path.suffix != ".lock"] == []


def as_file(text: str) -> io.BufferedReader:
    return io.BufferedReader(cast(io.RawIOBase, io.BytesIO(text.encode())))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(json_values, max_size=5),
    st.integers(1, 9),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.text(" \n", max_size=3),
)
def test_an_array_is_read_alike_however_it_is_cut(
    values: list[Any], chunk: int, indent: int | None, ascii_only: bool, space: str
) -> None:
    text = space + json.dumps(values, indent=indent, ensure_ascii=ascii_only) + space
    found = [value for value, _ in array_elements(as_file(text), Path("file"), longest=1 << 20, chunk=chunk)]
    assert found == values


@settings(max_examples=200, deadline=None)
@given(st.lists(json_values, min_size=1, max_size=3), st.integers(1, 9), st.data())
def test_an_array_that_ends_too_early_is_always_noticed(values: list[Any], chunk: int, data: st.DataObject) -> None:
    text = json.dumps(values)
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    with pytest.raises(DatasetError, match="file, line 1 is not JSON"):
        list(array_elements(as_file(cut), Path("file"), longest=1 << 20, chunk=chunk))
