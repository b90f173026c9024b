"""The rows of a sample as JSON Lines, just as they lie in the raw split."""

import io
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, cast

from phi_assets.dataset.batches import Part, plan_parts, read_part
from phi_assets.dataset.sample import rows_to_read, take_sample
from phi_assets.dataset.schema import ARROW_SCHEMA
from phi_assets.dataset.write import publish, staging
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
            coming: deque[tuple[_Buffer, Future[None]]] = deque()
            spare = [_Buffer() for _ in range(_WORKERS + 1)]
            for part in plan_parts(ref, rows_to_read(ref.rows, sample)):
                buffer = spare.pop()
                coming.append((buffer, workers.submit(serialize, part, buffer)))
                if not spare:
                    spare.append(_written(*coming.popleft(), file))
            for buffer, future in coming:
                _written(buffer, future, file)
            size = file.tell()
        publish(folder / path.name, path.parent)
    return size


class _Buffer(io.RawIOBase):
    """Bytes in memory that is used again: fresh memory for every batch costs as much time as filling it."""

    def __init__(self) -> None:
        super().__init__()
        self._memory = bytearray()
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data, /) -> int:  # type: ignore[override]
        end = self._size + len(data)
        if end > len(self._memory):
            self._memory.extend(bytes(end - len(self._memory)))
        self._memory[self._size : end] = data
        self._size = end
        return len(data)

    def empty_into(self, file: IO[bytes]) -> None:
        with memoryview(self._memory) as memory:
            file.write(memory[: self._size])
        self._size = 0


def _serializer(ref: SplitRef, sample: SampleSection) -> Callable[[Part, _Buffer], None]:
    def serialize(part: Part, buffer: _Buffer) -> None:
        for batch in read_part(ref, part):
            rows = take_sample(batch, sample)
            rows.select(ARROW_SCHEMA.names).write_ndjson(cast("IO[bytes]", buffer))

    return serialize


def _written(buffer: _Buffer, future: Future[None], file: IO[bytes]) -> _Buffer:
    future.result()
    buffer.empty_into(file)
    return buffer
