"""What makes two preparations the same job, and what is looked for once one is Completed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from phi_assets.azureml.compute.live_jobs import COMPUTE_TAG, FINGERPRINT_TAG
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.ownership import Owner
from phi_assets.azureml.preparation.places import read_file, sizes_below
from phi_assets.azureml.training.identity import FORCED_TAG
from phi_assets.azureml.training.live.limits import Limits
from phi_assets.config.recipe import PreparationSection
from phi_assets.dataset.files.manifest import manifest_name
from phi_assets.fingerprint import fingerprint


@dataclass(frozen=True)
class PreparationRequest:
    """A job that makes the samples of a raw split."""

    split: str
    inputs: Mapping[str, Any]
    """Everything that the result depends on, and where it is to lie."""
    labelled_inputs: dict[str, str]
    """The same for people."""
    settings: PreparationSection
    owner: Owner
    kind = "preparation"
    seed = "sample.seed"

    @property
    def asset(self) -> str:
        """What a person materializes to have it submitted."""
        return f"sampled_{self.split}"

    @property
    def section(self) -> str:
        """Of the recipe: what says how often it may be submitted."""
        return self.settings.key

    @property
    def fingerprint(self) -> str:
        """Identity of the job: equal for equal inputs, in any process on any machine."""
        return fingerprint(dict(self.inputs))

    @property
    def attempts(self) -> int:
        """Jobs that may be submitted for this fingerprint."""
        return self.settings.attempts

    @property
    def limits(self) -> Limits:
        """How long a job may take."""
        return Limits(
            running=timedelta(hours=self.settings.timeout_hours),
            queued=timedelta(hours=self.settings.max_queue_hours),
            section=self.settings.key,
            compute=self.settings.key,
        )

    @property
    def compute_name(self) -> str:
        """The cluster that its steps run on."""
        return self.settings.name

    def job_name(self, attempt: int) -> str:
        """`phi3-prep-<12 hexadecimal digits>-r<attempt>`: computable, so that no process has to remember it."""
        return f"phi3-prep-{self.fingerprint[:12]}-r{attempt}"

    def display_name(self, attempt: int) -> str:
        """Name for people."""
        return f"prepare-{self.split.replace('_', '-')}-{self.fingerprint[:6]}-r{attempt}"

    def tags(self, attempt: int, forced_by: str = "") -> dict[str, str]:
        """Whose it is, what it is, and on which cluster."""
        forced = {FORCED_TAG: forced_by[:256]} if forced_by else {}
        return {
            **self.owner.tags,
            COMPUTE_TAG: self.compute_name,
            FINGERPRINT_TAG: self.fingerprint,
            "phi/attempt": str(attempt),
            "phi/split": self.split,
            **forced,
        }


@dataclass(frozen=True)
class SampleFound:
    """What lies where a preparation was told to write: the manifest, and whether the files are there that it names."""

    uri: str
    manifest: Mapping[str, Any] | None
    sizes: Mapping[str, int]

    @property
    def is_complete(self) -> bool:
        """Whether every file is there, as large as it was written."""
        return self.manifest is not None and not self._wrong

    @property
    def is_missing(self) -> bool:
        """Whether some is not: the place is the one that the job was given, so there is no doubt."""
        return not self.is_complete

    @property
    def in_words(self) -> str:
        """For messages, as a clause."""
        if self.manifest is None:
            return f"there is no manifest of a sample in {self.uri}"
        if wrong := self._wrong:
            return f"{', '.join(wrong)} in {self.uri} is not what the manifest says"
        return f"its sample is complete ({len(self.manifest['files'])} files, {sum(self.sizes.values()):,} bytes)"

    @property
    def _wrong(self) -> list[str]:
        promised = {} if self.manifest is None else self.manifest["files"]
        return [name for name, written in promised.items() if self.sizes.get(name) != written["size"]]


def look_at_sample(ws: Workspace, uri: str, split: str, identity: Mapping[str, Any], log: Log = silent) -> SampleFound:
    """What lies below the datastore uri of the sample of that split and identity.

    Raises:
        StorageRefused: the storage account does not let this identity read.
    """
    content = read_file(ws, uri, manifest_name(split), log)
    try:
        manifest = json.loads(content) if content else None
    except ValueError:
        manifest = None
    if manifest is not None and manifest.get("identity") != fingerprint(dict(identity)):
        manifest = None
    return SampleFound(uri, manifest, sizes_below(ws, uri, log) if manifest else {})
