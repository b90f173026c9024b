"""Scored answers on disk: a row for each as JSON Lines and as Parquet, and the report over all of them."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi_assets.dataset.files.jsonl import read_jsonl
from phi_assets.evaluation.answers import question_id
from phi_assets.evaluation.scoring import Rival, Scored


@dataclass(frozen=True)
class ScoringFiles:
    """Where a scored model's answers lie."""

    jsonl: Path
    parquet: Path
    report: Path

    @classmethod
    def named(cls, folder: Path, name: str) -> "ScoringFiles":
        """The files of that name."""
        return cls(folder / f"{name}.jsonl", folder / f"{name}.parquet", folder / f"{name}.report.json")

    @property
    def all(self) -> tuple[Path, Path, Path]:
        """In the order in which they are written."""
        return self.report, self.parquet, self.jsonl

    @property
    def exist(self) -> bool:
        """Whether all three are there."""
        return all(file.exists() for file in self.all)

    def write(self, scored: Scored) -> None:
        """All three files are as given; a reader sees each of them whole, the old one or the new one."""
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in scored.rows)
        report = scored.report.model_dump_json(indent=2)
        self.jsonl.parent.mkdir(parents=True, exist_ok=True)
        _replace(self.report, lambda path: path.write_text(report, encoding="utf-8"))
        _replace(self.parquet, lambda path: _frame(scored.rows).write_parquet(path))
        _replace(self.jsonl, lambda path: path.write_text(lines, encoding="utf-8"))


def read_rival(model_id: str, jsonl: Path) -> Rival:
    """A model that was scored before, from its rows.

    Raises:
        OSError: the file has gone.
    """
    answered = (row for row in read_jsonl(jsonl) if row["answer"] is not None)
    return Rival(model_id, {question_id(row["messages"]): row["answer"] for row in answered})


def _frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    import polars as pl

    # Without a base model or a reference all values of a column are missing, and would have no type.
    types: dict[str, Any] = dict.fromkeys(("base_answer", "problem", "deployment", "failure"), pl.String)
    numbers = dict.fromkeys(("chrf", "base_chrf", "length_ratio"), pl.Float64)
    return pl.DataFrame(rows, schema_overrides=types | numbers, infer_schema_length=None)


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_suffix(".partial")
    write(partial)
    os.replace(partial, path)
