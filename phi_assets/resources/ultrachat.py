"""The Dagster resource that stands for the source of chat data."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

import dagster as dg
from pydantic import Field

from phi_assets.dataset.sample import sample_split
from phi_assets.dataset.source import fetch_split, latest_revision
from phi_assets.fingerprint import fingerprint
from phi_assets.recipe import DatasetSection, SampleSection
from phi_assets.refs import DatasetRef, SampleRef, SplitRef


class UltrachatSource(dg.ConfigurableResource):
    """Splits of a chat data set, from the Hugging Face hub, a local folder or the package."""

    source: Literal["bundled", "hub", "local"] = Field(description="Where the splits come from")
    repo: str = Field(description="Repository on the Hugging Face hub")
    revision: str = Field(description="Branch, tag or commit of the repository")
    path: str | None = Field(default=None, description="Folder that holds data/<split>-*.parquet, for source `local`")
    data_dir: str = Field(description="Folder for downloads and samples")

    @classmethod
    def from_recipe(cls, dataset: DatasetSection, data_dir: Path) -> Self:
        """The source that a recipe names, with its files below `data_dir`."""
        return cls(**dataset.model_dump(mode="json"), data_dir=str(data_dir))

    @property
    def section(self) -> DatasetSection:
        """The recipe's `dataset` section that this resource stands for."""
        return DatasetSection.model_validate(self.model_dump(include=set(DatasetSection.model_fields)))

    def pin(self) -> DatasetRef:
        """The state of the source now: the commit that `revision` means, or a hash of the files."""
        name = {"hub": self.repo, "local": str(self.path), "bundled": "bundled conversations"}[self.source]
        return DatasetRef(source=self.source, name=name, revision=latest_revision(self.section))

    def fetch(self, pinned: DatasetRef, split: str, log: Callable[[str], None]) -> SplitRef:
        """The split's raw shards of the pinned revision lie on local disk; see `fetch_split`."""
        section = self.section.model_copy(update={"revision": pinned.revision} if pinned.source == "hub" else {})
        return fetch_split(section, split, Path(self.data_dir), log)

    def sample(self, raw: SplitRef, sample: SampleSection, log: Callable[[str], None]) -> SampleRef:
        """The split's sample lies in a folder of its own; see `sample_split`.

        The folder's name follows from content and choice: a ref from an earlier run, or of another recipe, never comes
        to point at other rows.
        """
        identity = fingerprint([raw.sha256, sample.model_dump(mode="json")])[:12]
        return sample_split(raw, sample, Path(self.data_dir) / "sampled" / identity, log)
