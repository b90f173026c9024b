"""The steps of the test registry: copy a file, fail, wait."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def record(name: str, value: float, step: int) -> None:
    with Path(os.environ["PHI_METRICS_FILE"]).open("a") as file:
        file.write(json.dumps({"name": name, "value": value, "step": step, "timestamp": time.time()}) + "\n")


def copy(arguments: argparse.Namespace) -> None:
    source, target = Path(arguments.source), Path(arguments.target)
    if source.is_dir():
        source = next(path for path in sorted(source.rglob("*")) if path.is_file())
    text = source.read_text() + arguments.suffix * arguments.times
    (target / "copied.txt").write_text(text)
    print(f"copied {len(text)} characters")
    for step in range(3):
        record("loss", 3.0 - step, step)


def fail(arguments: argparse.Namespace) -> None:
    print("reading the data")
    print(f"ERROR: {arguments.message}", file=sys.stderr)
    sys.exit(3)


def wait(arguments: argparse.Namespace) -> None:
    if arguments.stubborn == "True":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(f"pids {os.getpid()} {helper.pid}")
    print("waiting")
    time.sleep(arguments.seconds)
    helper.kill()


def main() -> None:
    parser = argparse.ArgumentParser()
    actions = parser.add_subparsers(required=True)
    copying = actions.add_parser("copy")
    copying.add_argument("--source", required=True)
    copying.add_argument("--suffix", default="")
    copying.add_argument("--times", type=int, default=1)
    copying.add_argument("--target", required=True)
    copying.set_defaults(action=copy)
    failing = actions.add_parser("fail")
    failing.add_argument("--message", required=True)
    failing.set_defaults(action=fail)
    waiting = actions.add_parser("wait")
    waiting.add_argument("--seconds", type=float, required=True)
    waiting.add_argument("--stubborn", default="False")
    waiting.set_defaults(action=wait)
    arguments = parser.parse_args()
    arguments.action(arguments)


if __name__ == "__main__":
    main()
