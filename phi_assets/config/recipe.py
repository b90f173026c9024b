"""The recipe: every choice that defines one fine-tune, in one YAML file, checked before anything runs."""

import random
import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator

from phi_assets.config import limits
from phi_assets.config.dataset import ContractSection, DatasetSection, SampleSection
from phi_assets.config.section import Section
from phi_assets.fingerprint import fingerprint

OWNER = r"^(team:\S+|[^@\s]+@[^@\s]+\.[^@\s]+)$"
"""https://docs.dagster.io/guides/build/assets/metadata-and-tags#owners"""

ParameterValue = bool | int | float | str


def _kept(problem: Callable[[Any], str | None]) -> AfterValidator:
    """The value keeps a rule of `limits`."""

    def check(value: Any) -> Any:
        if (words := problem(value)) is not None:
            raise ValueError(words)
        return value

    return AfterValidator(check)


def _identity(*words: str) -> AfterValidator:
    """One of the words, or the resource id of a user-assigned identity."""
    return _kept(lambda value: None if value in words else limits.IDENTITY_ID.problem(value))


Switch = Literal["enabled", "disabled"]
JobTags = Annotated[dict[str, str], _kept(lambda tags: limits.JOB_TAGS.problem(tags, with_own=False))]
ResourceTags = Annotated[dict[str, str], _kept(lambda tags: limits.RESOURCE_TAGS.problem(tags, with_own=False))]


class ModelSection(Section):
    """The foundation model, in a registry."""

    registry: str = "azureml"
    """Registry that holds the model."""
    name: str = "Phi-3-mini-4k-instruct"
    """The model's name there; it has to be one that `component` may fine-tune."""
    version: str = "latest"
    """A version, or `latest`: the newest by creation time, resolved and pinned when `foundation_model` materializes."""

    @field_validator("version", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value


class ComponentSection(Section):
    """The registry's pipeline component that does the fine-tuning."""

    registry: str = "azureml"
    """Registry that holds the component."""
    name: str = "chat_completion_pipeline"
    """The component's name there."""
    version: str = "0.0.82"
    """A version; the component is pinned, as another one may ask for other inputs."""


class ComputeSection(Section):
    """The training cluster."""

    key: ClassVar[str] = "compute"
    """What the section is called in a recipe."""

    name: Annotated[str, _kept(limits.CLUSTER_NAME.problem)] = "phi-finetune"
    """Name of the cluster in the workspace; one of this name and size is used and kept to these limits."""
    size: str = "Standard_NC24ads_A100_v4"
    """VM size; one of the model's fine-tuning allow-list."""
    tiers: tuple[Literal["Dedicated", "LowPriority"], ...] = ("Dedicated", "LowPriority")
    """Priorities to try in this order when the cluster has to be created."""
    min_nodes: Annotated[int, Field(ge=0)] = 0
    """Nodes that are kept, and billed, while nothing runs."""
    max_nodes: Annotated[int, Field(ge=limits.CLUSTER_NODES.least, le=limits.CLUSTER_NODES.most)] = 1
    """Nodes that a job may get."""
    idle_seconds: Annotated[int, Field(ge=60)] = 300
    """How long a node waits for the next job before it is given back."""
    identity: Annotated[str, _identity("none", "system")] | None = None
    """Managed identity of the nodes: `none`, `system`, or the resource id of a user-assigned one; where nothing is
    given, a cluster keeps what it has, and a new one gets none."""
    subnet: Annotated[str, _kept(limits.SUBNET_ID.problem)] | None = None
    """Resource id of the subnet of the nodes, for a virtual network of your own."""
    public_ip: bool | None = None
    """Whether the nodes have public addresses; without, they need a subnet, or the workspace a managed network."""


class PreparationSection(ComputeSection):
    """The cluster that prepares data where `dataset.prepare` is `cluster`, and how long a job may take there."""

    key: ClassVar[str] = "preparation"

    name: Annotated[str, _kept(limits.CLUSTER_NAME.problem)] = "phi-prepare"
    """Name of the cluster in the workspace; one of this name and size is used and kept to these limits."""
    size: str = "Standard_E4s_v3"
    """VM size; it needs no GPU, and memory for one batch of rows and some sixty bytes of every row."""
    max_nodes: Annotated[int, Field(ge=limits.CLUSTER_NODES.least, le=limits.CLUSTER_NODES.most)] = 4
    """Shards that are worked on at a time."""
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Jobs that may be submitted for one sample when earlier ones failed; each takes over what those have done."""
    timeout_hours: Annotated[float, Field(gt=0)] = 6
    """Time from the start of the job's first step to its end."""
    max_queue_hours: Annotated[float, Field(gt=0)] = 24
    """Time that the job may wait for its first node, which costs nothing; one that waits longer is cancelled."""


class FinetuneSection(Section):
    """What the component is asked to do."""

    parameters: dict[str, ParameterValue] = Field(default_factory=dict)
    """Inputs of the component by their own names, for example `learning_rate`."""
    defaults: Literal["model_wins", "recipe_wins"] = "model_wins"
    """Who prevails where the model's `model_specific_defaults` and this recipe disagree; in the notebook, the model."""
    experiment: Annotated[str, _kept(limits.EXPERIMENT_NAME.problem)] = "chat_completion_phi3"
    """Experiment that Studio shows the job under."""
    display_name: Annotated[str, _kept(limits.DISPLAY_NAME.problem)] | None = None
    """Name of the job for people; made from model and parameters unless given. Not part of the job's identity."""
    tags: JobTags = Field(default_factory=dict)
    """Tags of your own on the job, for example a cost centre. Not part of the job's identity."""
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Jobs that may be submitted for one fingerprint when earlier ones failed or were cancelled."""
    timeout_hours: Annotated[float, Field(gt=0)] = 24
    """Time from the start of the job's first step to its end."""
    max_queue_hours: Annotated[float, Field(gt=0)] = 72
    """Time that the job may wait for its first node, which costs nothing; one that waits longer is cancelled."""
    wait: Literal["in_run", "detached"] = "in_run"
    """Who waits for the job: the run that submits it, or nobody. A `detached` run ends as soon as the job exists, and
    the sensor `detached_jobs` starts the run that takes it up. Runs that a sensor, a schedule or `phi_automation` has
    started are always detached."""


class ServingSection(Section):
    """The managed online endpoint and its deployment."""

    endpoint: Annotated[str, _kept(limits.ENDPOINT_NAME.problem)] | None = None
    """Name of the endpoint, which nobody else in the Azure region may have; the recipe's name and eight digits that are
    computed from workspace and recipe, unless given."""
    auth_mode: Literal["key", "aml_token", "aad_token"] = "key"
    """How callers are let in: by a key without end, a token of the endpoint that ends, or one of Microsoft Entra."""
    model_name: Annotated[str, _kept(limits.ASSET_NAME.problem)] | None = None
    """Name to register the fine-tuned model under; `<model>-ultrachat-200k` unless given."""
    instance_type: str = "Standard_NC24ads_A100_v4"
    """VM size; one of the model's inference allow-list."""
    instance_count: Annotated[int, Field(ge=limits.INSTANCES.least, le=limits.INSTANCES.most)] = 1
    """Machines of each deployment; every one is billed."""
    request_timeout_seconds: Annotated[int, Field(ge=limits.REQUEST_SECONDS.least, le=limits.REQUEST_SECONDS.most)] = 90
    """The service ends a request after this time."""
    liveness_initial_delay_seconds: Annotated[int, Field(ge=1)] = 600
    """Time that a deployment gets to load its model before it has to show that it is alive."""
    deployment_timeout_minutes: Annotated[float, Field(gt=0)] = 90
    """Time that a deployment may take to become healthy, its image and its machines included; one that takes longer is
    deleted if the run has created it."""
    max_concurrent_requests: Annotated[int, Field(ge=1)] = 1
    """Requests that one machine works on at once; more wait, then get 429."""
    worker_count: Annotated[int, Field(ge=1)] = 1
    """Processes of each machine that share its requests; every one holds the model in its own memory."""
    identity: Annotated[str, _identity("system")] | None = None
    """Managed identity of the endpoint: `system`, which is the default, or the resource id of a user-assigned one; it
    cannot be changed afterwards."""
    public_network_access: Switch | None = None
    """Whether the endpoint answers callers from outside the workspace's private network; the service says yes."""
    egress_public_network_access: Switch | None = None
    """Whether deployments reach out by the public network. The workspace's managed network has taken the place of this;
    it cannot be changed afterwards."""
    lease_hours: Annotated[float, Field(gt=0)] = 24
    """How long the endpoint may exist before it counts as forgotten; written to its tags as `expires_at`."""
    tags: ResourceTags = Field(default_factory=dict)
    """Tags of your own on the endpoint; `owner` is shown beside what is billing."""


class RolloutSection(Section):
    """How a new deployment proves itself before it gets the traffic of the old one."""

    prompts: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] = Field(
        default=[
            "What is the capital of France?",
            "Name three animals that live in the sea.",
            "How do I boil an egg?",
            "Why is the sky blue?",
            "Give me one tip for a good night's sleep.",
            "What is the difference between a fruit and a vegetable?",
            "Explain in one sentence what a computer does.",
            "Which season comes after summer?",
        ]
    )
    """Questions that old and new deployment are asked, past the traffic rules and without sampling."""
    seed: int = 42
    """Which of the prompts are asked at which step, and in which order."""
    observations: Annotated[int, Field(ge=1, le=200)] = 4
    """Prompts asked by the smoke gate, and of both deployments at each step."""
    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] = 64
    """Longest answer of a gate, in tokens."""
    max_problems: Annotated[int, Field(ge=0)] = 0
    """Prompts that may go wrong (no answer, an empty one, garbage): at the smoke gate all told, at a step beyond those
    that go wrong with the old deployment."""
    max_latency_seconds: Annotated[float, Field(gt=0)] = 30
    """The slowest answer that the smoke gate takes."""
    max_latency_ratio: Annotated[float, Field(gt=1)] = 3
    """How many times slower than the old deployment's the new one's median answer may be; tenths of a second count as
    equal."""
    mirror_percent: Annotated[int, Field(ge=limits.MIRRORED_PERCENT.least, le=limits.MIRRORED_PERCENT.most)] = 10
    """Share of the traffic that is copied to the new deployment before it answers anybody; 0: none."""
    steps: Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(min_length=1)] = Field(default=[10, 50, 100])
    """The new deployment's share of the traffic, step by step. The endpoint's first deployment gets all at once."""
    score_before_live: bool = False
    """Whether a new deployment answers the questions of `scoring` before it gets any traffic: where its answers are
    further below the champion's than `scoring.margin`, it gets none and is removed."""
    retire: Literal["delete", "keep"] = "delete"
    """What becomes of the old deployment once the new one has all the traffic; a kept one is billed."""

    @field_validator("steps")
    @classmethod
    def _up_to_everything(cls, steps: list[int]) -> list[int]:
        if steps != sorted(set(steps)) or steps[-1] != 100:
            raise ValueError("the steps must ascend and end with 100, for example [10, 50, 100]")
        return steps

    def chosen_prompts(self, occasion: str) -> list[str]:
        """The prompts of one occasion: as many as there are observations, each as often as any other."""
        generator = random.Random(f"{self.seed}/{occasion}")  # noqa: S311 - a choice, no secret
        shuffled = generator.sample(self.prompts, len(self.prompts))
        return [shuffled[index % len(shuffled)] for index in range(self.observations)]

    def parameters(self) -> dict[str, Any]:
        """The `parameters` object of a request: without sampling, equal models give equal answers."""
        return {"do_sample": False, "max_new_tokens": self.max_new_tokens}


class ScoringSection(Section):
    """How the deployed model is tried out."""

    samples: Annotated[int, Field(ge=1, le=1000)] = 32
    """Questions; with fewer than six, no model counts as better or worse than another."""
    seed: int = 42
    """Chooses the questions, and resamples the answers for the intervals."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.6
    """How freely the model chooses its words; 0: the likeliest ones."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Only the likeliest words that together have this share of the probability are chosen from."""
    do_sample: bool = True
    """Whether words are drawn at all; without it, equal models give equal answers."""
    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] = 200
    """Longest answer, in tokens."""
    compare_with_base: bool = True
    """Whether the foundation model is asked the same, once, by a deployment of its own that is deleted right after."""
    margin: Annotated[float, Field(ge=0, le=100)] = 2
    """Points of chrF that a model may be below the champion without being worse. The champion stays the best that was
    seen; what the number of answers cannot tell is a warning."""
    max_p95_seconds: Annotated[float, Field(gt=0)] = 30
    """A p95 latency above it fails a check."""

    def parameters(self) -> dict[str, Any]:
        """The `parameters` object of a scoring request."""
        return self.model_dump(include={"temperature", "top_p", "do_sample", "max_new_tokens"})


class BudgetSection(Section):
    """What one run may take, by preflight's estimate: a job that is submitted, and its model served for a lease."""

    cost: Annotated[float, Field(gt=0)] | None = None
    """In the currency of the price file: the fine-tuning job, the endpoint until its lease ends, and where a cluster
    prepares data, what that may cost at most."""
    gpu_hours: Annotated[float, Field(gt=0)] | None = None
    """Of the fine-tuning job."""


class PreflightSection(Section):
    """What is looked at before anything is asked for that costs money."""

    accept: list[Annotated[str, Field(pattern=r"^[a-z][a-z_]*$")]] = Field(default_factory=list)
    """Errors that shall be warnings, by the code that preflight shows with them, for example `model_retired`."""


class Recipe(Section):
    """One fine-tune, from data set to endpoint."""

    name: Annotated[str, _kept(limits.OWNER_NAME.problem)]
    """Whose things are: the tag `phi-recipe` on all that is made for it."""
    description: str = ""
    owners: list[Annotated[str, Field(pattern=OWNER)]] = Field(default_factory=lambda: ["team:ml-platform"])
    """Who stands for its assets, as the UI shows it: e-mail addresses, or `team:name`. It makes nothing stale."""
    dataset: DatasetSection = Field(default_factory=DatasetSection)
    sample: SampleSection = Field(default_factory=SampleSection)
    contract: ContractSection = Field(default_factory=ContractSection)
    model: ModelSection = Field(default_factory=ModelSection)
    component: ComponentSection = Field(default_factory=ComponentSection)
    budget: BudgetSection = Field(default_factory=BudgetSection)
    preflight: PreflightSection = Field(default_factory=PreflightSection)
    compute: ComputeSection = Field(default_factory=ComputeSection)
    preparation: PreparationSection = Field(default_factory=PreparationSection)
    finetune: FinetuneSection = Field(default_factory=FinetuneSection)
    serving: ServingSection = Field(default_factory=ServingSection)
    rollout: RolloutSection = Field(default_factory=RolloutSection)
    scoring: ScoringSection = Field(default_factory=ScoringSection)

    @property
    def registered_model_name(self) -> str:
        """Name of the fine-tuned model in the workspace."""
        return self.serving.model_name or re.sub(r"[^a-zA-Z0-9_-]", "-", f"{self.model.name}-ultrachat-200k")

    @property
    def cluster_sections(self) -> tuple[ComputeSection, ...]:
        """The clusters that it makes."""
        prepares = self.dataset.prepare == "cluster"
        return (self.compute, *([self.preparation] if prepares else []))

    @property
    def clusters(self) -> tuple[str, ...]:
        """Names of the clusters that it makes."""
        return tuple(section.name for section in self.cluster_sections)

    def code_version(self, *keys: str) -> str:
        """Twelve hexadecimal digits that change exactly when one of the named keys changes.

        A key is a section (`sample`) or a field of one (`serving.endpoint`).
        """
        content = self.model_dump(mode="json")
        if members := content["dataset"].get("mixture"):
            # Of rows that are the same, the first is kept: the order counts.
            content["dataset"]["mixture"] = list(members.items())
        return fingerprint({key: _lookup(content, key, type(self)) for key in keys})[:12]


def _lookup(content: dict[str, Any], key: str, model: type[Section]) -> Any:
    section, _, field = key.partition(".")
    found = content[section]
    if not field:
        return found
    # A key that came later is left out where it has its default.
    is_known = field in getattr(model.model_fields[section].annotation, "model_fields", {})
    return found.get(field) if is_known else found[field]
