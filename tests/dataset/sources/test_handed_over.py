"""What is handed over as training data is kept whole, whatever happened to an earlier copy."""

import subprocess
import sys
from pathlib import Path

import polars as pl

from phi_assets.config.settings import PROJECT_ROOT
from phi_assets.dataset.sources.handed_over import folder_with
from tests.dataset.shards import make_rows


def test_what_was_handed_over_and_is_damaged_is_written_again(tmp_path: Path) -> None:
    table = pl.DataFrame(make_rows(3, seed=1))
    (path,) = folder_with(table, tmp_path / "data").iterdir()
    whole = path.read_bytes()
    for damage in (path.unlink, lambda: path.write_bytes(whole[:-9]), lambda: path.with_name("b.parquet").touch()):
        damage()
        assert list(folder_with(table, tmp_path / "data").iterdir()) == [path]
        assert path.read_bytes() == whole


_HAND_OVER = """
import sys
from pathlib import Path
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.dataset.sources.handed_over import folder_with
from tests.dataset.slow_place import Slow

folder_with(sys.argv[1], Path(sys.argv[2]), DataStorage(sys.argv[2], Path(sys.argv[2]), Slow))
"""


def test_a_killed_copy_of_what_is_handed_over_is_gone_after_the_next(tmp_path: Path) -> None:
    rows = tmp_path / "rows" / "chats.parquet"
    rows.parent.mkdir()
    pl.DataFrame(make_rows(3, seed=1)).write_parquet(rows)
    url = f"file://{rows.parent}"
    data = tmp_path / "home" / "data"
    command = [sys.executable, "-c", _HAND_OVER, url, str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT) as copy:
        assert copy.stdout is not None
        assert copy.stdout.readline() == "half\n"
        copy.kill()
    assert list(data.iterdir()) == []
    assert len([path for path in data.parent.rglob("*.parquet") if path.is_file()]) == 1
    (path,) = folder_with(url, data).iterdir()
    assert [found for found in data.parent.rglob("*.parquet") if found.is_file()] == [path]
    assert path.read_bytes() == rows.read_bytes()
