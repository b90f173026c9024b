"""The rows of a sample as JSON Lines, just as they lie in the raw split."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from phi_assets.dataset.batches import Part, plan_parts, read_part
from phi_assets.dataset.sample import rows_to_read, take_sample
from phi_assets.dataset.schema import ARROW_SCHEMA
from phi_assets.dataset.write import json_lines, publish, staging
from phi_assets.recipe import SampleSection
from phi_assets.refs import SplitRef

_WORKERS = 3
"""One more than is needed to keep two cores busy while a third thread waits for the disk."""


def export_jsonl(ref: SplitRef, sample: SampleSection, path: Path) -> int:
    """`path` holds the sampled rows, in the split's order, without any contract; returns how many bytes that are.

    For notebooks and for comparison with other tools: what is trained on comes from `prepare_split`.

    Raises:
        DatasetError: the raw shards cannot be read; a file that was there before is untouched.
    """
    with staging(path.parent, path.name) as folder:
        with (folder / path.name).open("xb") as file, ThreadPoolExecutor(_WORKERS) as workers:
            serialize = _serializer(ref, sample)
            coming: deque[Future[list[memoryview | bytes]]] = deque()
            for part in plan_parts(ref, rows_to_read(ref.rows, sample)):
                coming.append(workers.submit(serialize, part))
                if len(coming) > _WORKERS:
                    _write(coming.popleft(), file)
            while coming:
                _write(coming.popleft(), file)
            size = file.tell()
        publish(folder / path.name, path.parent)
    return size


def _serializer(ref: SplitRef, sample: SampleSection) -> Callable[[Part], list[memoryview | bytes]]:
    def serialize(part: Part) -> list[memoryview | bytes]:
        return [json_lines(take_sample(batch, sample).select(ARROW_SCHEMA.names)) for batch in read_part(ref, part)]

    return serialize


def _write(texts: Future[list[memoryview | bytes]], file: BinaryIO) -> None:
    for text in texts.result():
        file.write(text)
