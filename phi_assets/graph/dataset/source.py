"""The source of chat data, whose errors are words that a run ends with."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg

from phi_assets.config.dataset import ContractSection, DatasetSection, SampleSection
from phi_assets.dataset.contract.tokenizers import ModelTokenizer
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.dataset.samples.mixture import Mixture, Raw, identity_of
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.sources.handed_over import folder_with
from phi_assets.dataset.sources.raw_splits import fetch_split, latest_revision
from phi_assets.fingerprint import fingerprint
from phi_assets.refs import DatasetRef, SampleRef, SplitRef


@dataclass(frozen=True)
class ChatDataSource:
    """Splits of a chat data set, from the Hugging Face hub, a local folder or the package."""

    section: DatasetSection
    storage: DataStorage
    """Where downloads and samples lie."""

    def pin(self) -> DatasetRef:
        """The state of the source now: the commit that `revision` means, or a hash of the files."""
        section = self.section
        name = {"hub": section.repo, "local": str(section.path), "bundled": "bundled conversations"}[section.source]
        with in_words():
            return DatasetRef(source=section.source, name=name, revision=latest_revision(section, storage=self.storage))

    def land(self, value: object) -> DatasetRef:
        """What the upstream asset handed over lies in a folder that every machine finds; see `folder_with`."""
        with in_words():
            folder = folder_with(value, self.storage.folder / "handed-over", self.storage)
            revision = latest_revision(self._of_folder(str(folder)))
            shared = self.storage.share(folder)
        return DatasetRef(source="asset", name=str(self.section.asset), revision=revision, folder=shared)

    def fetch(self, pinned: DatasetRef, split: str, log: Callable[[str], None]) -> SplitRef:
        """The split's raw shards of the pinned revision are kept; see `fetch_split`."""
        section = self.section
        if pinned.source == "hub":
            section = section.model_copy(update={"revision": pinned.revision})
        if pinned.folder:
            section = self._of_folder(pinned.folder)
        with in_words():
            return self.storage.keep(fetch_split(section, split, self.storage.folder, log, self.storage))

    def _of_folder(self, folder: str) -> DatasetSection:
        return self.section.of_folder(folder)

    def together(self, raw: Mapping[str, SplitRef]) -> Raw:
        """What a sample is taken of: the raw split of the only source, or of all that are mixed, by their names."""
        return Mixture(self.section, raw) if self.section.mixture else next(iter(raw.values()))

    def prepare(
        self,
        raw: Raw,
        sample: SampleSection,
        contract: ContractSection,
        log: Callable[[str], None],
        *,
        validation: bool = False,
        against: SampleRef | None = None,
        tokenizer: ModelTokenizer | None = None,
    ) -> tuple[SampleRef, ...]:
        """The split's sample is kept, in a folder of its own; see `prepare_split`.

        The folder's name follows from content and choices: a ref from an earlier run, or of another recipe, never comes
        to point at other rows.
        """
        with in_words():
            identity = identity_of(raw, sample, contract, validation=validation, against=against, tokenizer=tokenizer)
            folder = self.storage.folder / "sampled" / fingerprint(identity)[:12]
            refs = prepare_split(
                raw, sample, contract, folder, log, validation=validation, against=against, tokenizer=tokenizer
            )
            return tuple(map(self.storage.keep, refs))


@contextmanager
def in_words() -> Iterator[None]:
    """A `DatasetError` becomes a `dagster.Failure`: what it says is all that its reader needs."""
    try:
        yield
    except DatasetError as error:
        raise dg.Failure(description=str(error)) from error
