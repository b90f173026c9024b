"""A place that can be killed while something is fetched from it: for programs that a test starts as processes."""

import time
from typing import BinaryIO

from phi_assets.dataset.files.places import FsspecPlace


class Slow(FsspecPlace):
    """Sends half a file, says so on standard output, and never the rest."""

    def get(self, name: str, target: BinaryIO) -> None:
        target.write(b"half")
        target.flush()
        print("half", flush=True)
        time.sleep(600)
