"""What every step of a sample's preparation is told, as a folder that lies beside the data."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from phi_assets.config.dataset import ContractSection, DatasetSection, Part, SampleSection
from phi_assets.dataset.contract.rules import Contract, Unseen, is_learned, unseen_rows
from phi_assets.dataset.contract.tokenizers import ModelTokenizer
from phi_assets.dataset.contract.tokens import Calibration, Room, TokenCounter
from phi_assets.dataset.progress import Log
from phi_assets.dataset.samples.benchmarks import read_benchmarks
from phi_assets.dataset.samples.mixture import Mixture, Raw, may_take, ref_of, refs_of
from phi_assets.dataset.samples.selection import rows_to_read
from phi_assets.refs import DataFile, SplitRef

REQUEST = "request.json"
_MODEL_TOKENIZER = "tokenizer.json"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shard(_Part):
    """A file of a raw split, and what is read of it."""

    source: str
    """Name of the source that it is of; empty where that is alone."""
    part: Part
    """Which of its rows are meant."""
    first_row: int
    """Number of its first row in the raw split of its source."""
    rows: int
    """As many of its rows are read, from the first."""

    def ref(self, split: str, file: Path) -> SplitRef:
        """The shard as if it were a raw split."""
        size = file.stat().st_size
        return SplitRef(
            split=split,
            files=(DataFile.at(file),),
            rows=self.rows,
            size_bytes=size,
            sha256="",
            source=self.source or split,
            part=self.part,
        )


class Request(_Part):
    """The choices that decide what becomes of a row. Which shards there are is the plan's matter: a shard that another
    one has joined is judged as before.
    """

    split: str
    sample: SampleSection
    contract: ContractSection
    """The paths of its files are relative to the request's folder."""
    sources: tuple[str, ...]
    """Their names, in the recipe's order; one that is alone has none."""
    mixing: DatasetSection | None = None
    """How several sources are mixed."""
    validation: bool = False
    is_compared: bool = False
    """Whether there is a test sample that must have no row in common with this one."""
    tokenizer: str = ""
    """Whose tokenizer lies in the folder; empty where there is none."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The request of a folder; the paths of its files are as they are here.

        Raises:
            OSError, ValueError: there is none.
        """
        return cls.model_validate_json((folder / REQUEST).read_text(encoding="utf-8"), context=folder)

    def shape(self, shard: Shard) -> Raw:
        """What of the raw split is known beside one of its shards: how it is mixed."""
        ref = SplitRef(split=self.split, files=(), rows=0, size_bytes=0, sha256="", source="", part=shard.part)
        return Mixture(self.mixing, dict.fromkeys(self.sources, ref)) if self.mixing else ref

    def own_tokenizer(self, folder: Path) -> ModelTokenizer | None:
        """The model's tokenizer, where it counts the tokens."""
        return ModelTokenizer(folder / _MODEL_TOKENIZER, self.tokenizer) if self.tokenizer else None

    def counter(self, folder: Path, calibrated: Calibration | None, room: Room) -> TokenCounter:
        """Counts the tokens of rows, as `token_counter` does; near the limit as many as there is room for."""
        model = self.own_tokenizer(folder)
        if model is None:
            return TokenCounter(self.contract.tokenizer)
        limit = self.contract.context_tokens
        return TokenCounter(model.path, calibrated=calibrated, limit=limit, source=model.source, room=room)

    def judge(self, tokens: TokenCounter, test: Path | None, log: Log) -> Contract:
        """Judges rows, compared with a `test` sample."""
        near = self.contract.near_duplicate_threshold
        unseen = unseen_rows(str(test), near) if test else None
        benchmarks = read_benchmarks(self.contract, log) if is_learned(self.split) else None
        return self._contract(tokens, (lambda: unseen) if unseen else None, benchmarks=benchmarks)

    def bare_contract(self) -> Contract:
        """Knows the rules and their policies, for rows that have been judged."""
        return self._contract(TokenCounter(None), Unseen if self.is_compared else None)

    def _contract(self, tokens: TokenCounter, unseen: Callable[[], Unseen] | None, **options: Any) -> Contract:
        return Contract(
            self.split,
            self.contract,
            tokens,
            unseen,
            sources=self.sources,
            with_validation=self.validation,
            **options,
        )


class Plan(_Part):
    """Which shards there are, and what the sample is made of as a whole."""

    identity: dict[str, Any]
    """Everything that decides the bytes of the files; see `identity_of`."""
    refs: dict[str, SplitRef]
    """The raw split of each source. Its files are numbers, by which `rows` are found."""
    rows: tuple[int, ...]
    """Of every file of every source."""
    shards: tuple[Shard, ...]
    """Of the files that are read, those of one source after those of another."""
    files: tuple[int, ...]
    """Which of the files each shard is."""
    with_lines: bool
    """Whether some row is more than its columns say; see `carries_more`."""

    def raw(self, request: Request) -> Raw:
        """What the sample is taken of."""
        return Mixture(request.mixing, self.refs) if request.mixing else next(iter(self.refs.values()))


def request_of(
    raw: Raw,
    sample: SampleSection,
    contract: ContractSection,
    folder: Path,
    *,
    validation: bool,
    is_compared: bool,
    tokenizer: ModelTokenizer | None,
) -> Request:
    """The folder holds the request and every file that it names; equal choices give equal bytes, wherever they are."""
    named: dict[str, Any] = {}
    if contract.tokenizer:
        named["tokenizer"] = _kept(contract.tokenizer, folder, "contract")
    if contract.decontaminate:
        files = enumerate(contract.decontaminate)
        named["decontaminate"] = [_kept(file, folder, f"decontaminate-{number}") for number, file in files]
    counts = tokenizer if contract.tokenizer is None else None
    if counts:
        shutil.copyfile(counts.path, folder / _MODEL_TOKENIZER)
    request = Request(
        split=ref_of(raw).split,
        sample=sample,
        contract=contract,
        sources=tuple(refs_of(raw)),
        mixing=_mixing(raw),
        validation=validation,
        is_compared=is_compared,
        tokenizer=counts.source or counts.path.name if counts else "",
    )
    content = request.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    content["contract"] |= named
    (folder / REQUEST).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return request


def plan_of(
    raw: Raw, request: Request, identity: Mapping[str, Any], rows_of: Callable[[DataFile], int], *, with_lines: bool
) -> Plan:
    """The plan for the shards of a raw split, of which `rows_of` says how many rows each has."""
    files = [(name, file, rows_of(file)) for name, ref in refs_of(raw).items() for file in ref.files]
    numbers = iter(range(len(files)))
    refs = {
        name: ref.model_copy(
            update={
                "files": tuple(DataFile.at(str(next(numbers))) for _ in ref.files),
                "sources": tuple(Path(file).name for file in ref.sources or ref.files),
            }
        )
        for name, ref in refs_of(raw).items()
    }
    planned = list(_shards(raw, request.sample, files))
    return Plan(
        identity=dict(identity),
        refs=refs,
        rows=tuple(rows for _, _, rows in files),
        shards=tuple(shard for _, shard in planned),
        files=tuple(number for number, _ in planned),
        with_lines=with_lines,
    )


def _shards(raw: Raw, sample: SampleSection, files: Sequence[tuple[str, DataFile, int]]) -> Iterator[tuple[int, Shard]]:
    for name, ref in refs_of(raw).items():
        first, wanted = 0, rows_to_read(ref.rows, may_take(raw, name, sample))
        for number, (source, _, rows) in enumerate(files):
            if source != name:
                continue
            if (read := min(rows, wanted - first)) > 0:
                yield number, Shard(source=name, part=ref.part, first_row=first, rows=read)
            first += rows


def _kept(file: Path, folder: Path, place: str) -> str:
    (folder / place).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, folder / place / file.name)
    return f"{place}/{file.name}"


def _mixing(raw: Raw) -> DatasetSection | None:
    """How much of each source is wanted; where they come from is nobody's matter any more."""
    if not isinstance(raw, Mixture):
        return None
    said = raw.section.model_dump(include={"total_rows", "oversample"})
    members = {name: each.model_dump(include={"weight", "rows"}) for name, each in raw.section.mixture.items()}
    return DatasetSection.model_validate({**said, "mixture": members})
