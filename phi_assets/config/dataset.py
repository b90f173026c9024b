"""The sections of a recipe about data: where it comes from, which rows are used, and what is asked of them."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, Self, cast

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from phi_assets.config.section import RECIPES_DIR, Section, later
from phi_assets.config.urls import is_url, url_problem

SPLITS = ("train_sft", "test_sft", "train_gen", "test_gen")
VALIDATION_SPLIT = "validation_sft"
SAMPLED_SPLITS = ("train_sft", VALIDATION_SPLIT, "test_sft", "train_gen", "test_gen")
"""What is made of the splits: part of the sample of `train_sft` becomes `validation_sft`."""

Split = Literal["train_sft", "test_sft", "train_gen", "test_gen"]
Policy = Literal["drop", "warn", "fail"]
Part = Literal["all", "train", "test"]
"""What of a source's split one of ours is."""


_NAME = r"^[a-z0-9][a-z0-9-]{0,40}$"


def _path_or_url(value: object) -> object:
    return value if isinstance(value, str) and is_url(value) else Path(str(value))


class SourceSection(Section):
    """Where four splits come from, and how conversations are written there."""

    source: Literal["bundled", "hub", "local", "asset"] = "hub"
    """`bundled`: the package's small data set; `hub`: the Hugging Face hub; `local`: a folder in the hub's layout;
    `asset`: another Dagster asset of the same code location."""
    repo: str = "HuggingFaceH4/ultrachat_200k"
    """The repository for `source: hub`."""
    revision: str = "main"
    """Branch, tag or commit of the hub repository; pin a commit for reproducible runs."""
    config: str | None = None
    """Configuration (subset) of the hub repository; its default one unless given."""
    path: Annotated[Path | str, BeforeValidator(_path_or_url)] | None = None
    """For `source: local`: a file of conversations, or a folder that holds `data/<split>-*.parquet` or files as
    `format` and `splits` describe them. What a URL (`abfss://`, `s3://`, ...), a datastore's
    `azureml://datastores/<name>/paths/<path>` or a data asset `azureml:<name>:<version>` of the workspace means is read
    where it lies: of Parquet in the schema of ultrachat no more than is sampled; other files are fetched first."""
    asset: Annotated[str, Field(pattern=r"^[^/]+(/[^/]+)*$")] | None = None
    """Key of the asset for `source: asset`, as `team/conversations`. Its value is the path or the URL of files, or a
    polars, pandas or pyarrow table; it comes through the asset's own IO manager."""
    splits: dict[Split, str] = Field(default_factory=dict)
    """The source's own names of the four splits where they differ, for example `{train_sft: chats}`. `train` and `test`
    are known, and a source with one split is cut in two: see `sample.test_percent`."""
    format: Literal["auto", "messages", "prompt_completion", "sharegpt", "alpaca"] = "auto"
    """How the source writes a conversation; `auto` tells it from the columns."""
    columns: dict[str, str] = Field(default_factory=dict)
    """The source's own names of the format's columns where they differ, for example `{messages: dialogue}`."""
    roles: dict[str, Literal["system", "user", "assistant", "tool"]] = Field(default_factory=dict)
    """What the source's own names of roles mean; the usual ones (`human`, `gpt`, `bot`, ...) are known."""
    tools: Literal["fields", "text"] = later("fields")
    """How tools and calls of them are written: as OpenAI's fields, which the model's chat template has to know, or as
    text of the messages, which every template and every endpoint passes on."""
    drop: list[str] = Field(default_factory=list)
    """Fields that change what is learned and are left out all the same, for example `[label, messages.weight]`; without
    it they are errors."""

    def source_split(self, split: str, known: Collection[str]) -> str:
        """What the source calls the split, of these names that it has; a name that is not there if none fits."""
        if named := self.splits.get(cast("Split", split)):
            return named
        part, _, kind = split.partition("_")
        usual = (split, f"{part}_sft", part) if kind == "gen" else (split, part)
        fitting = [name for name in usual if name in known]
        # A source that has one of ours alone lacks the others.
        only = list(known) if len(known) == 1 and not set(known) & set(SPLITS) else []
        return [*fitting, *only, split][0]

    def part_of(self, split: str, known: Collection[str]) -> Part:
        """Which part of the source's split this is: all of it, unless what is trained on and tested with are one."""
        part, _, kind = split.partition("_")
        train, test = (self.source_split(f"{each}_{kind}", known) for each in ("train", "test"))
        return cast("Part", part) if train == test else "all"

    @property
    def url(self) -> str | None:
        """Where the source is no folder of this machine's disk: the URL of it."""
        return self.path if self.source == "local" and isinstance(self.path, str) else None

    @model_validator(mode="after")
    def _is_found_where_it_says(self) -> Self:
        if self.url and (wrong := url_problem(self.url)):
            raise ValueError(f"`path` {wrong}")
        if self.source == "local" and self.path is None:
            raise ValueError("source 'local' needs `path`: a file of conversations, or a folder of such files")
        if (self.source == "asset") != (self.asset is not None):
            raise ValueError("source 'asset' and `asset`, the key of a Dagster asset, need each other")
        return self


class MemberSection(SourceSection):
    """One of several sources, and how many of its rows are trained on: all that `sample` leaves, unless it says."""

    weight: Annotated[float, Field(gt=0)] | None = None
    """Its part of the rows, beside the weights of the others, for example 3 to 1."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """How many of its rows."""


class DatasetSection(SourceSection):
    """Where the data comes from."""

    name: Annotated[str, Field(pattern=_NAME)] = "ultrachat"
    """What the data set is called: the raw splits' assets begin with it, as do the names of registered data assets
    (`ultrachat-train-sft`). Recipes that describe the same data set share its raw splits."""
    mixture: dict[Annotated[str, Field(pattern=_NAME)], MemberSection] = later({})
    """Several sources instead of one, by their names, each with its own `source`, `format`, `columns`, and so on, and
    with a `weight` or `rows`. Each is a data set with assets of its own, which recipes share."""
    prepare: Literal["here", "cluster"] = later("here")
    """Where samples are made of the raw splits: by the run, or by a job of Azure ML beside the data, on the cluster of
    `preparation`, a step for each shard. The bytes are the same."""
    total_rows: Annotated[int, Field(ge=1)] | None = later(None)
    """How many rows of `train_sft` the weights share out; as many as there are without repeating one, unless given."""
    oversample: bool = later(False)
    """Whether rows are repeated where a source of a mixture has too few; it is an error otherwise."""

    @property
    def content(self) -> "DatasetSection":
        """The same data, wherever samples of it are made."""
        return self.model_copy(update={"prepare": "here"})

    def sources(self) -> "dict[str, DatasetSection]":
        """Every source as a data set of its own, by its name."""
        if not self.mixture:
            return {self.name: self.content}
        ours = set(SourceSection.model_fields)
        return {name: DatasetSection(name=name, **each.model_dump(include=ours)) for name, each in self.mixture.items()}

    @model_validator(mode="after")
    def _is_one_source_or_several(self) -> Self:
        members = self.mixture
        mixing = {"total_rows", "oversample"} & self.model_fields_set
        if not members and mixing:
            raise ValueError(f"without a `mixture`, nothing is meant by {' and '.join(sorted(mixing))}")
        if members and (own := sorted(set(SourceSection.model_fields) & self.model_fields_set)):
            raise ValueError(f"with a `mixture`, each of its members says {', '.join(own)}, and the dataset does not")
        weighted = [name for name, member in members.items() if member.weight is not None]
        if weighted and len(weighted) < len(members):
            raise ValueError(
                f"a `weight` is given to {', '.join(weighted)} alone: give one to every member of the mixture"
            )
        if counted := [name for name in weighted if members[name].rows is not None]:
            raise ValueError(f"`rows` and `weight` exclude each other: give {', '.join(counted)} one of them")
        if self.total_rows and not weighted:
            raise ValueError("`total_rows` is shared out by weights: give every member of the mixture a `weight`")
        return self

    def of_folder(self, folder: str) -> Self:
        """The same data, whose files lie in that folder, or at that URL."""
        return self.model_copy(update={"source": "local", "path": _path_or_url(folder), "asset": None})


class SampleSection(Section):
    """Which rows of each split are used."""

    mode: Literal["head", "hash"] = "head"
    """`head`: the first rows, exactly as `datasets` rounds `split[0%:5%]`; `hash`: a uniform, nested, seeded choice."""
    percent: Annotated[float, Field(gt=0, le=100)] = 5
    """Share of each split, in percent."""
    seed: int = 42
    """Chooses the rows of `mode: hash`, and those that are kept to validate."""
    validation_percent: Annotated[float, Field(gt=0, le=50)] = 5
    """Share of the sampled `train_sft` rows that is kept from training, to evaluate on while it runs."""
    test_percent: Annotated[float, Field(gt=0, le=50)] = 10
    """Share of the rows that is kept to test with, where the source has one split for both: rows that begin alike stay
    together, and `seed` chooses them."""


PersonalKind = Literal[
    "EMAIL",
    "PHONE",
    "CREDIT_CARD",
    "SSN",
    "DE_IBAN",
    "IP_ADDRESS",
    "API_KEY",
    "BEARER_TOKEN",
    "CREDENTIAL_URI",
    "JWT",
    "PRIVATE_KEY",
]
"""Personal data and credentials that can be looked for, as datafog-core names them.

<https://github.com/DataFog/datafog-core>
"""


class Policies(Section):
    """What happens to a row that breaks a rule: `drop` moves it to quarantine, `warn` keeps it, `fail` ends the run."""

    schema_: Annotated[Policy, Field(alias="schema")] = "drop"
    """Nothing is missing: prompt, prompt_id, messages, the role and content of each message."""
    no_messages: Policy = "drop"
    """There is at least one message."""
    roles: Policy = "drop"
    """An optional system message, then user and assistant in turn, beginning with the user; what a tool
    says follows the call of it."""
    ending: Policy = "drop"
    """A conversation to train on (`*_sft`) ends with the assistant."""
    empty_content: Policy = "drop"
    """No message is empty or blank."""
    markup: Policy = "drop"
    """No message holds the model's own markup, such as `<|assistant|>`: it would turn around what is trained. That is
    the special tokens of `contract.tokenizer` or, without one, of well-known models."""
    prompt_mismatch: Policy = "warn"
    """The prompt is the first message of the user."""
    duplicate_id: Policy = "drop"
    """No earlier row of the sample has the same prompt_id."""
    duplicate_conversation: Policy = "drop"
    """No earlier row of the sample has the same messages."""
    leaked_id: Policy = "drop"
    """No row of the test sample has the same prompt_id."""
    leaked_text: Policy = "drop"
    """No row of the test sample asks the same at its beginning; case, width, accents' encoding, punctuation and white
    space aside."""
    near_duplicate: Policy = later("drop")
    """No earlier row of the sample is nearly the same; asked where there is a `contract.near_duplicate_threshold`."""
    leaked_near_duplicate: Policy = later("drop")
    """No row of the test sample is nearly the same; asked as `near_duplicate` is."""
    contaminated: Policy = later("drop")
    """No question of the files in `contract.decontaminate` is in the conversation."""
    personal_data: Policy = later("drop")
    """No message holds personal data of the kinds in `contract.personal_data`."""
    too_long: Policy = "warn"
    """The conversation fits into `contract.context_tokens`."""

    def of(self, rule: str) -> Policy:
        """The policy of a rule by its name in the recipe."""
        return getattr(self, "schema_" if rule == "schema" else rule)


class ContractSection(Section):
    """What a conversation has to be like, and when a sample is not fit to train on."""

    policies: Policies = Field(default_factory=Policies)
    """What happens to a row that breaks a rule."""
    context_tokens: Annotated[int, Field(ge=16)] = 4096
    """The model's context; the component truncates what is longer."""
    tokenizer: Path | None = None
    """A `tokenizer.json` to count the tokens of every row with, its path relative to the recipe or to the package's own
    recipes."""
    tokenizer_repo: str | None = later(None)
    """Where no `tokenizer` is given: the Hugging Face repository with the model's own, and with an empty text none.
    Unless given, the one that lies beside the model in the registry is used, and where there is none that of
    `microsoft/<model>` for the Phi models. Where none can be had, tokens are estimated from the bytes."""
    near_duplicate_threshold: Annotated[float, Field(ge=0.5, le=1)] | None = later(None)
    """From which similarity on two conversations are nearly the same, for example 0.8: the sequences of five words that
    both have, as a share of those that either has. Without it, nothing is compared."""
    decontaminate: list[Path] = later([])
    """Files, such as benchmarks, whose questions shall not be learned, their paths relative to the recipe."""
    personal_data: list[PersonalKind] = later([])
    """Kinds of personal data and credentials that no message may hold; what finds them comes with
    `pip install 'phi_assets[pii]'`."""
    decontaminate_threshold: Annotated[float, Field(gt=0, le=1)] = later(0.5)
    """From which share on a question of `decontaminate` is in a conversation: of its sequences of eight words."""

    minimum_rows: Annotated[int, Field(ge=1)] = 10
    """A sample with fewer rows fails its check."""
    max_quarantined_percent: Annotated[float, Field(ge=0, le=100)] = 10
    """A larger share of the sampled rows in quarantine fails the sample's check."""
    max_truncated_percent: Annotated[float, Field(ge=0, le=100)] = 20
    """A larger share of conversations that are longer than the context fails the sample's check."""

    @field_validator("tokenizer")
    @classmethod
    def _beside_the_recipe(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None:
            return None
        path = value.expanduser()
        beside = (info.context or Path()) / path
        # So that a copy of one of the package's own recipes is good wherever it lies.
        packaged = RECIPES_DIR / path
        return packaged if packaged.is_file() and not beside.is_file() else beside

    @field_validator("decontaminate")
    @classmethod
    def _each_beside_the_recipe(cls, value: list[Path], info: ValidationInfo) -> list[Path]:
        return [(info.context or Path()) / path.expanduser() for path in value]
