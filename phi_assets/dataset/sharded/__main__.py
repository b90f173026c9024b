"""The steps as a program: `python -m phi_assets.dataset.sharded judge|compare|write|merge|verify|calibrate`."""

import argparse
import sys
from pathlib import Path

from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.sharded.compare import compare_shards
from phi_assets.dataset.sharded.judge import calibrate, judge_shard
from phi_assets.dataset.sharded.request import Plan, Shard
from phi_assets.dataset.sharded.verify import verify_samples
from phi_assets.dataset.sharded.write import merge_shards, write_shard


def main(arguments: list[str] | None = None) -> int:
    """Do one step. What is wrong with the data is the last line, as `ERROR: ...`, and the exit code 1."""
    options = _parser().parse_args(arguments)
    try:
        _STEPS[options.step](options)
    except DatasetError as error:
        print(f"ERROR: {error}", flush=True)
        return 1
    return 0


def _calibrate(options: argparse.Namespace) -> None:
    calibrate(options.request, _plan(options), options.shards, options.out)


def _judge(options: argparse.Namespace) -> None:
    judge_shard(
        options.request,
        _shard(options),
        options.shard,
        options.out,
        test=options.test,
        calibration=options.calibration,
        log=print,
    )


def _compare(options: argparse.Namespace) -> None:
    compare_shards(options.request, _plan(options), options.judged, options.out, calibration=options.calibration)


def _write(options: argparse.Namespace) -> None:
    write_shard(options.request, _shard(options), options.shard, options.compared / str(options.number), options.out)


def _merge(options: argparse.Namespace) -> None:
    merge_shards(options.request, _plan(options), options.compared, options.written, options.out, print)


def _verify(options: argparse.Namespace) -> None:
    verify_samples(options.request, _plan(options), options.sample, options.out, test=options.test, log=print)


_STEPS = {
    "calibrate": _calibrate,
    "judge": _judge,
    "compare": _compare,
    "write": _write,
    "merge": _merge,
    "verify": _verify,
}


def _plan(options: argparse.Namespace) -> Plan:
    return Plan.model_validate_json(options.plan.read_bytes())


def _shard(options: argparse.Namespace) -> Shard:
    return Shard(source=options.source, part=options.part, first_row=options.first_row, rows=options.rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="phi_assets.dataset.sharded", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    of_one = argparse.ArgumentParser(add_help=False)
    of_one.add_argument("--shard", type=Path, required=True)
    of_one.add_argument("--source", default="")
    of_one.add_argument("--part", choices=("all", "train", "test"), required=True)
    of_one.add_argument("--first-row", type=int, required=True)
    of_one.add_argument("--rows", type=int, required=True)
    of_all = argparse.ArgumentParser(add_help=False)
    of_all.add_argument("--plan", type=Path, required=True)
    for name, parent in {
        "judge": of_one,
        "write": of_one,
        "calibrate": of_all,
        "compare": of_all,
        "merge": of_all,
        "verify": of_all,
    }.items():
        step = steps.add_parser(name, parents=[parent])
        step.add_argument("--request", type=Path, required=True)
        step.add_argument("--out", type=Path, required=True)
        if name in ("judge", "compare"):
            step.add_argument("--calibration", type=Path)
        if name in ("judge", "verify"):
            step.add_argument("--test", type=Path)
        if name == "calibrate":
            step.add_argument("--shards", type=Path, nargs="+", required=True)
        if name == "compare":
            step.add_argument("--judged", type=Path, nargs="+", required=True)
        if name in ("write", "merge"):
            step.add_argument("--compared", type=Path, required=True)
        if name == "write":
            step.add_argument("--number", type=int, required=True)
        if name == "merge":
            step.add_argument("--written", type=Path, nargs="+", required=True)
        if name == "verify":
            step.add_argument("--sample", type=Path, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
