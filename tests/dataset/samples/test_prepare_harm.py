"""Whatever happens while a sample is made: one clear message, nothing half-written, the sample before untouched."""

import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phi_assets.config.dataset import ContractSection, SampleSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.jsonl import read_jsonl
from phi_assets.dataset.samples.batches import plan_parts, read_part
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.sources.parquet_rows import open_parquet
from phi_assets.dataset.sources.schema import read_footer
from phi_assets.refs import SplitRef
from tests.dataset.shards import SCHEMA, Row, make_odd_rows, make_rows, quiet, raw_split

ALL = SampleSection(percent=100)

_IN_ANOTHER_PROCESS = """
import os, resource, signal, sys
from pathlib import Path
from phi_assets.dataset.files import write
from phi_assets.dataset.samples import prepare
from phi_assets.dataset.errors import DatasetError
from phi_assets.config.dataset import ContractSection, SampleSection
from phi_assets.refs import SplitRef

raw, destination, harm, at = sys.argv[1:]
calls = 0

def dying_at(function):
    def call(*arguments):
        global calls
        calls += 1
        if calls == int(at):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return call

if harm == "killed while writing":
    write.JsonLinesFile.write = dying_at(write.JsonLinesFile.write)
elif harm == "killed while publishing":
    prepare.publish = dying_at(prepare.publish)
else:
    # Python ignores the signal that a file grown too large would send; the write fails like one on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(at), int(at)))
try:
    prepare.prepare_split(
        SplitRef.model_validate_json(raw), SampleSection(percent=100), ContractSection(), Path(destination), print,
        validation=True,
    )
except DatasetError as error:
    print(f"DatasetError: {error}")
"""


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a folder of samples but the locks."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def prepare_elsewhere(raw: SplitRef, destination: Path, harm: str, at: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _IN_ANOTHER_PROCESS, raw.model_dump_json(), str(destination), harm, str(at)],
        capture_output=True,
        text=True,
        check=False,
    )


def overwrite_the_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 400] = b"\x5a" * 400
    path.write_bytes(content)


def cut(path: Path) -> None:
    # As long as before, so that only reading tells.
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2].ljust(len(content), b"\0"))


def empty(path: Path) -> None:
    pq.write_table(SCHEMA.empty_table(), path)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (overwrite_the_middle, "is damaged at or after row"),
        (cut, "is damaged at or after row"),
        (empty, "have changed since it was materialized: materialize it again"),
        (remove, "has gone since raw_train_sft was materialized: materialize that again"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_damaged_shard_is_named_and_the_sample_before_stays(
    tmp_path: Path, harm: Callable[[Path], None], message: str
) -> None:
    out = tmp_path / "out"
    prepare_split(raw_split(tmp_path / "before", make_rows(300)), ALL, ContractSection(), out, quiet)
    before = files(out)
    raw = raw_split(tmp_path / "after", make_rows(2000, seed=1, words=60), shards=2, group=100)
    harm(Path(raw.files[1]))

    with pytest.raises(DatasetError, match=message) as raised:
        prepare_split(raw, ALL, ContractSection(), out, quiet)

    assert Path(raw.files[1]).name in str(raised.value) or "raw_train_sft" in str(raised.value)
    assert files(out) == before


def test_text_that_is_not_utf_8_is_damage(tmp_path: Path) -> None:
    rows: list[Row] = make_rows(50)
    raw = raw_split(tmp_path, rows)
    good = pq.read_table(raw.files[0])
    spoiled = b"\xff\xfe not UTF-8"
    prompts = [row["prompt"].encode() for row in rows[:-1]] + [spoiled]
    # No writer of text writes such bytes; one that takes bytes for text does.
    column = pa.array(prompts, pa.binary()).view(pa.string())
    pq.write_table(good.set_column(0, "prompt", column), raw.files[0])
    raw = raw.model_copy(update={"size_bytes": Path(raw.files[0]).stat().st_size})

    with pytest.raises(DatasetError, match=r"Split 'train_sft' of .* cannot be read: .* is damaged") as raised:
        prepare_split(raw, ALL, ContractSection(), tmp_path / "out", quiet)

    assert "replace the file with a whole copy of it" in str(raised.value)
    assert str(raised.value).endswith("Then materialize raw_train_sft again.")
    assert files(tmp_path / "out") == {}


def test_a_full_disk_is_one_clear_message_and_the_sample_before_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_split(raw_split(tmp_path / "before", make_rows(100)), ALL, ContractSection(), out, quiet, validation=True)
    before = files(out)
    raw = raw_split(tmp_path / "after", make_rows(3000, seed=1))

    ended = prepare_elsewhere(raw, out, "full disk", 200_000)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].startswith(f"DatasetError: The sample of train_sft cannot be written to {out}")
    assert "nothing of the earlier sample has changed" in ended.stdout
    assert files(out) == before


def test_killed_while_writing_leaves_the_sample_before_and_the_next_run_is_as_if_nothing_had_been(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    before_raw = raw_split(tmp_path / "before", make_rows(100))
    (kept, _) = prepare_split(before_raw, ALL, ContractSection(), out, quiet, validation=True)
    raw = raw_split(tmp_path / "after", make_odd_rows(4000, seed=1), shards=3, group=500)
    expected = prepare_split(raw, ALL, ContractSection(), tmp_path / "undisturbed", quiet, validation=True)

    ended = prepare_elsewhere(raw, out, "killed while writing", 3)

    assert ended.returncode == -signal.SIGKILL, ended.stdout + ended.stderr
    assert [row["prompt"] for row in read_jsonl(Path(kept.jsonl))]
    assert prepare_split(before_raw, ALL, ContractSection(), out, quiet, validation=True)[0] == kept
    prepare_split(raw, ALL, ContractSection(), out, quiet, validation=True)
    assert files(out) == files(Path(expected[0].jsonl).parent)


@pytest.mark.parametrize("at", range(1, 8))
def test_killed_while_publishing_is_noticed_and_made_good(tmp_path: Path, at: int) -> None:
    out = tmp_path / "out"
    prepare_split(raw_split(tmp_path / "before", make_rows(100)), ALL, ContractSection(), out, quiet, validation=True)
    raw = raw_split(tmp_path / "after", make_odd_rows(200, seed=1))
    expected = prepare_split(raw, ALL, ContractSection(), tmp_path / "undisturbed", quiet, validation=True)

    ended = prepare_elsewhere(raw, out, "killed while publishing", at)

    assert ended.returncode == -signal.SIGKILL, ended.stdout + ended.stderr
    made = prepare_split(raw, ALL, ContractSection(), out, quiet, validation=True)
    assert files(out) == files(Path(expected[0].jsonl).parent)
    assert [ref.sha256 for ref in made] == [ref.sha256 for ref in expected]
    assert not list(out.glob(".*.partial"))


def test_want_of_descriptors_is_no_damage(tmp_path: Path) -> None:
    raw = raw_split(tmp_path / "raw", make_rows(100))
    file = Path(raw.files[0])
    (part,) = plan_parts(raw, 100)
    readers: tuple[Callable[[], object], ...] = (
        lambda: read_footer(file),
        lambda: list(plan_parts(raw, 100)),
        lambda: list(read_part(raw, part)),
        lambda: list(open_parquet(file, None, tmp_path).batches(("messages",))),
    )
    for read in readers:
        assert read()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    for read in readers:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            with pytest.raises(DatasetError, match=r"no more file descriptors .*Nothing is damaged") as raised:
                read()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert "deleted" not in str(raised.value)
