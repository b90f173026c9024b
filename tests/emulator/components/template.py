"""Runs component programs, each in a copy of this process, which has made the imports that fine-tuning needs.

A request is a line of JSON, and so is its answer, the exit code. What the program says goes to two files.
"""

import gc
import importlib
import json
import os
import sys

from phi_assets.emulator.components import finetune


def main() -> None:
    """Serves until the end of its input."""
    finetune._prepare_imports()
    importlib.import_module("phi_assets.emulator.components.fit")
    gc.freeze()  # what the copies share stays shared
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(**json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(module: str, arguments: list[str], environment: dict[str, str], stdout: str, stderr: str) -> None:
    for path, descriptor in ((os.devnull, 0), (stdout, 1), (stderr, 2)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    program = importlib.import_module(module)
    program.run(program.main)


if __name__ == "__main__":
    main()
