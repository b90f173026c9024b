"""The rows of a sample as JSON Lines, just as they lie in the raw split."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from phi_assets.config.dataset import SampleSection
from phi_assets.dataset.files.write import JSON_LINE, LINES_BUFFER_BYTES, json_lines, publish, staging
from phi_assets.dataset.files.write_behind import WriteBehind
from phi_assets.dataset.samples.batches import Part, plan_parts, read_part
from phi_assets.dataset.samples.selection import rows_to_read, take_sample
from phi_assets.dataset.sources.schema import ARROW_SCHEMA
from phi_assets.refs import SplitRef

_WORKERS = 4
"""Two more than keep two cores busy: one or the other waits for memory, for the disk, or for its turn."""

_Lines = list[memoryview | bytes]


def export_jsonl(ref: SplitRef, sample: SampleSection, path: Path) -> int:
    """`path` holds the sampled rows, in the split's order, without any contract; returns how many bytes that are.

    For notebooks and for comparison with other tools: what is trained on comes from `prepare_split`.

    Raises:
        DatasetError: the raw shards cannot be read; a file that was there before is untouched.
    """
    with staging(path.parent, path.name) as folder:
        with (
            (folder / path.name).open("xb", LINES_BUFFER_BYTES) as file,
            closing(WriteBehind(file)) as behind,
            ThreadPoolExecutor(_WORKERS) as workers,
        ):
            serialize = _serializer(ref, sample)
            coming: deque[Future[list[_Lines]]] = deque()

            def write_next() -> None:
                for lines in coming.popleft().result():
                    file.writelines(lines)
                    behind.grown_to(file.tell())

            for part in plan_parts(ref, rows_to_read(ref.rows, sample)):
                coming.append(workers.submit(serialize, part))
                if len(coming) > _WORKERS:
                    write_next()
            while coming:
                write_next()
            size = file.tell()
        publish(folder / path.name, path.parent)
    return size


def _serializer(ref: SplitRef, sample: SampleSection) -> Callable[[Part], list[_Lines]]:
    def serialize(part: Part) -> list[_Lines]:
        return [
            json_lines(take_sample(batch, sample, ref.part).select(*ARROW_SCHEMA.names, JSON_LINE))
            for batch in read_part(ref, part)
        ]

    return serialize
