"""The instance is made once, however many begin with it at the same time, and it is said where it is."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner

from phi_assets.__main__ import main
from phi_assets.cli.instance import open_instance
from tests.postgres import Server, needs_postgresql

AT_ONCE = 4


@pytest.mark.parametrize("kind", ["SQLite", pytest.param("PostgreSQL", marks=needs_postgresql)])
def test_whoever_begins_at_the_same_time_finds_one_whole_instance(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    settings, place = {}, f"SQLite in {tmp_path}"
    if kind == "PostgreSQL":
        server: Server = request.getfixturevalue("postgres")
        database = server.new_database()
        settings = {"storage": database.storage}
        place = f"postgresql+psycopg2://dagster:***@127.0.0.1:{database.port}/{database.name}"
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    together = Barrier(AT_ONCE)

    def begin() -> Sequence[dg.DagsterRun]:
        together.wait()
        with open_instance() as instance:
            return instance.get_runs()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert [each.result() for each in [pool.submit(begin) for _ in range(AT_ONCE)]] == [[]] * AT_ONCE
    said = CliRunner().invoke(main, ["instance"], catch_exceptions=False)
    assert (said.exit_code, said.output) == (0, f"runs: {place}\nIts tables are those of this release of Dagster.\n")
