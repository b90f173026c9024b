"""What assets hand to each other: small frozen values that name something, never the thing itself."""

import os
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Action = Literal["created", "updated", "reused", "submitted", "attached", "resubmitted", "scored", "skipped"]


class Ref(BaseModel):
    """Base of all refs: frozen, and refusing fields it does not know. Numbers that are none come back as they were."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class FileKeeper(Protocol):
    """Who knows where the files lie that refs name."""

    def fetch(self, file: "DataFile") -> Path:
        """The file on this machine's disk."""
        ...

    def where(self, file: "DataFile") -> str:
        """Where it lies, for people: a local path or a URL, which opens nothing."""
        ...

    def is_there(self, file: "DataFile") -> bool:
        """Whether it lies there, in its size."""
        ...

    def readable(self, file: "DataFile") -> Path | BinaryIO:
        """What reads it where it lies: a path on this machine's disk, or a file of which nothing is fetched but what is
        read."""
        ...


class DataFile(Ref, os.PathLike[str]):
    """A file that a ref names, by its content where it is known.

    Where a path is asked for (`Path(file)`, `open(file)`), it is the file on this machine's disk: where it lies
    elsewhere, it is fetched once. False where there is no such file.
    """

    name: str = ""
    """Its path below `PHI_DATA`, or its absolute path or its URL where it lies outside; empty where there is none."""
    size: int | None = None
    """Bytes; None where nobody has looked."""
    sha256: str = ""
    """Of its bytes, or its first 32 digits; empty where it has not been hashed."""

    version: str = ""
    """What the place of a URL calls this state of it, such as an ETag."""

    _keeper: FileKeeper | None = PrivateAttr(default=None)

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> Self:
        """The file of this path on the disk."""
        return cls(name=os.fspath(path))

    def kept_by(self, keeper: FileKeeper) -> Self:
        """The same file, which `keeper` finds."""
        file = self.model_copy()
        file._keeper = keeper
        return file

    @property
    def is_there(self) -> bool:
        """Whether it lies where it was put, in its size; nothing is fetched."""
        return self._keeper.is_there(self) if self._keeper and self.name else Path(self.name).is_file()

    def readable(self) -> Path | BinaryIO:
        """What reads it where it lies: a path on this machine's disk, or a file of which only what is read is sent."""
        return self._keeper.readable(self) if self._keeper and self.name else Path(self.name)

    def __fspath__(self) -> str:
        return str(self._keeper.fetch(self)) if self._keeper and self.name else self.name

    def __str__(self) -> str:
        return self._keeper.where(self) if self._keeper and self.name else self.name

    def __bool__(self) -> bool:
        return bool(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataFile) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash(self.name)

    def model_post_init(self, context: Any, /) -> None:
        """Refs that are read with a keeper in the validation's context have files that it finds."""
        if isinstance(context, dict):
            self._keeper = context.get("keeper")

    @model_validator(mode="before")
    @classmethod
    def _of_a_path(cls, value: Any) -> Any:
        # As earlier releases have written it.
        return {"name": value} if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _as_short_as_can_be(self, handler: SerializerFunctionWrapHandler) -> Any:
        said = {key: value for key, value in handler(self).items() if value not in (None, "")}
        return said if said.keys() - {"name"} else self.name


class EnsuredRef(Ref):
    """Base of the refs to things that were made so: what had to be done for it, and why."""

    action: Action
    reason: str = ""
    """One sentence, for example "Cluster phi-finetune did not exist."."""


class DatasetRef(Ref):
    """A data set pinned to one revision, so that all its splits come from the same state of it."""

    source: str
    """`bundled`, `hub`, `local` or `asset`."""
    name: str
    """Repository, folder or asset."""
    revision: str
    """Commit of the repository; for files without one, a hash of their content."""
    folder: str = ""
    """Where the files lie that another asset has handed over; empty for any other source."""


class SplitRef(Ref):
    """A raw split as Parquet shards."""

    split: str
    files: tuple[DataFile, ...]
    """The shards, in the data set's order."""
    rows: int
    size_bytes: int
    sha256: str
    """Over the shards' contents in order, and the part that is meant: equal content, equal value, wherever it came
    from."""
    source: str
    """Human-readable origin, for example `HuggingFaceH4/ultrachat_200k@8049631c`."""
    not_carried: dict[str, int] = Field(default_factory=dict)
    """Rows of the source that have a value in a column, or in `messages.<field>`, that is in no conversation."""
    sources: tuple[str, ...] = ()
    """Names of the source's files that the shards were made of, one for each; none where they are these files."""
    part: Literal["all", "train", "test"] = "all"
    """Which of the rows are meant: all, or those to train on or to test with where a source has one split for both."""


class Message(Ref):
    """One message of a conversation."""

    role: str | None
    content: str | None


class SampleRef(Ref):
    """Sampled conversations that keep the contract, in both formats."""

    split: str
    """Which conversations these are: a raw split, or `validation_sft`, which is kept from `train_sft`."""
    jsonl: DataFile
    parquet: DataFile
    rows: int
    rows_total: int
    """Rows of the raw split."""
    size_bytes: int
    """Size of the JSON Lines file."""
    sha256: str
    """Of the JSON Lines file."""
    quarantine: DataFile = DataFile()
    """Parquet file with the sampled rows that were left out and why; empty where none were."""
    rows_quarantined: int = 0
    violations: dict[str, int] = Field(default_factory=dict)
    """Rows of the sample that break a rule, by its name, whether they were left out or not."""
    truncated_share: float = 0.0
    """Share of the conversations that are longer than the model's context."""
    report: DataFile = DataFile()
    """JSON file with a `SplitReport`."""
    findings: DataFile = Field(default=DataFile(), exclude_if=lambda file: not file)
    """JSON file with what looking at its rows has shown; of a sample that a job has made beside the data."""
    keys: DataFile = Field(default=DataFile(), exclude_if=lambda file: not file)
    """Parquet file with hashes of its prompts, likewise, where these are compared with those of other samples."""


class ModelRef(Ref):
    """A pinned foundation model in a registry."""

    id: str
    """`azureml://registries/<registry>/models/<name>/versions/<version>`."""
    name: str
    version: str
    content_hash: str
    """Over tags, properties and flavors: registries edit versions in place."""
    finetune_computes: tuple[str, ...] | None
    """VM sizes that may fine-tune it; None where the registry says nothing."""
    inference_computes: tuple[str, ...] | None
    defaults: dict[str, Any] = Field(default_factory=dict)
    """The model's own fine-tuning parameters, `model_specific_defaults`."""


class ComputeRef(EnsuredRef):
    """A provisioned cluster that may fine-tune the model."""

    name: str
    size: str
    gpus: int
    """GPUs in one node."""
    tier: str


class DataRef(EnsuredRef):
    """A registered data asset."""

    id: str
    name: str
    version: str


class JobRef(EnsuredRef):
    """A completed pipeline job whose `trained_model` output has been looked for."""

    name: str
    fingerprint: str
    display_name: str
    studio_url: str
    status: str
    attempt: int
    created_at: str = ""
    """ISO 8601, UTC: when the service took the job. Empty in refs of earlier releases."""
    model_seen: bool = True
    """Whether the model was seen in the datastore. If not, nothing says that it is missing: registration decides."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Last value of each metric, for example `train_loss`, `eval_loss`."""
    metrics_note: str = ""
    """What is not known of the training, and why; empty where metrics, curves and logs were read."""
    loss_problems: tuple[str, ...] = ()
    """What says that the training has diverged, one sentence each; empty where nothing does."""


class RegisteredModelRef(EnsuredRef):
    """A model version in the workspace."""

    id: str
    name: str
    version: str
    job_name: str


class EndpointRef(EnsuredRef):
    """A managed online endpoint in state Succeeded."""

    name: str
    scoring_uri: str
    expires_at: str
    """ISO 8601, UTC; after it the endpoint counts as forgotten."""


class DeploymentRef(EnsuredRef):
    """A healthy deployment."""

    endpoint: str
    name: str
    model_id: str
    instance_type: str
    instance_count: int


class TrafficRef(EnsuredRef):
    """The endpoint's live traffic, read back from the service."""

    endpoint: str
    scoring_uri: str
    traffic: dict[str, int]
    model_id: str
    retired: tuple[str, ...] = ()


class AnswersRef(EnsuredRef):
    """What the foundation model said to the questions that the fine-tuned one is asked."""

    path: DataFile
    """JSON file with an `AnswerSet`; empty where the recipe does not ask for the comparison."""
    rows: int
    """Questions that were asked."""
    failed: int = 0
    """Of these, how many the model failed at."""
    left_out: int = 0
    """Questions that were not asked, since they leave no room for an answer in the model's context."""
    fingerprint: str
    """Over model, prompts and generation parameters."""
    model_id: str


class ScoringRef(EnsuredRef):
    """Scored conversations."""

    jsonl: DataFile
    """One object per conversation: prompt, answer, reference, base_answer, latency_ms, tokens, deployment, figures;
    where the model failed, the answer is null and `failure` says why."""
    parquet: DataFile
    report: DataFile
    """JSON file with a `ScoringReport`."""
    rows: int
    """Questions that were asked."""
    failed: int = 0
    """Of these, how many the model failed at; figures are over the others."""
    left_out: int = 0
    """Questions that were not asked, since they leave no room for an answer in the model's context."""
    fingerprint: str
    """Over model, prompts and generation parameters, and the same of the base model."""
    model_id: str
    deployment: str
