"""The steps of a sample's preparation by shards, one after the other in this process."""

import contextlib
import io
from pathlib import Path
from tempfile import mkdtemp

from phi_assets.config.dataset import ContractSection, SampleSection
from phi_assets.dataset.contract.tokenizers import ModelTokenizer
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.samples.mixture import Raw, identity_of, ref_of
from phi_assets.dataset.samples.usable import rows_in
from phi_assets.dataset.sharded.__main__ import main
from phi_assets.dataset.sharded.request import Shard, plan_of, request_of
from phi_assets.dataset.sources.schema import carries_more
from phi_assets.refs import SampleRef


def prepare_by_shards(
    raw: Raw,
    sample: SampleSection,
    contract: ContractSection,
    out: Path,
    *,
    validation: bool = False,
    against: SampleRef | None = None,
    tokenizer: ModelTokenizer | None = None,
) -> Path:
    """As `prepare_split`, and the folder in which the steps have left what they tell each other."""
    work = Path(mkdtemp(dir=out.parent))
    folder = work / "request"
    folder.mkdir()
    request = request_of(
        raw, sample, contract, folder, validation=validation, is_compared=against is not None, tokenizer=tokenizer
    )
    identity = identity_of(raw, sample, contract, validation=validation, against=against, tokenizer=tokenizer)
    files = [str(file) for file in ref_of(raw).files]
    plan = plan_of(raw, request, identity, rows_in, with_lines=carries_more(ref_of(raw).files))
    (work / "plan.json").write_text(plan.model_dump_json())
    of_all = ["--request", str(folder), "--plan", str(work / "plan.json")]
    more: list[str] = []
    if request.tokenizer:
        more = ["--calibration", str(work / "calibration")]
        step("calibrate", *of_all, "--shards", *files, "--out", str(work / "calibration"))
    # Backwards: no shard may need what another one's steps have left.
    shards = list(enumerate(zip(plan.shards, (files[number] for number in plan.files), strict=True)))[::-1]
    test = ["--test", str(against.parquet)] if against else []
    for number, (shard, file) in shards:
        step("judge", *of_one(folder, shard, file), *more, *test, "--out", str(work / f"j{number}"))
    judged = [str(work / f"j{number}") for number in range(len(shards))]
    compared = ["--compared", str(work / "compared")]
    step("compare", *of_all, "--judged", *judged, *more, "--out", compared[1])
    for number, (shard, file) in shards:
        counted = ["--number", str(number), "--out", str(work / f"w{number}")]
        step("write", *of_one(folder, shard, file), *compared, *counted)
    written = [str(work / f"w{number}") for number in range(len(shards))]
    step("merge", *of_all, *compared, "--written", *written, "--out", str(out))
    return work


def of_one(folder: Path, shard: Shard, file: str) -> list[str]:
    source = ["--source", shard.source] if shard.source else []
    numbers = ["--part", shard.part, "--first-row", str(shard.first_row), "--rows", str(shard.rows)]
    return ["--request", str(folder), "--shard", file, *source, *numbers]


def step(*arguments: str) -> None:
    """The step is done, as the program does it; what it says is wrong is an error."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = main(list(arguments))
    if code:
        raise DatasetError(said.getvalue().strip().splitlines()[-1].removeprefix("ERROR: "))
