"""What makes two fine-tuning jobs the same job, and how that is written on the job."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from phi_assets.azureml.compute.live_jobs import COMPUTE_TAG, FINGERPRINT_TAG
from phi_assets.azureml.ownership import Owner
from phi_assets.azureml.training.live.limits import Limits
from phi_assets.azureml.training.parameters import EffectiveParameters, display_name
from phi_assets.azureml.training.pipelines import FinetuneComponent
from phi_assets.config.recipe import FinetuneSection
from phi_assets.config.settings import PROJECT
from phi_assets.fingerprint import canonical_json, fingerprint
from phi_assets.refs import ComputeRef, ModelRef, SampleRef

FORCED_TAG = "phi/forced_by"
COMPONENT_ENVIRONMENT = "pinned by the component"

_PARAMETER_TAG = "phi/parameter/"

# Documented limits are 50 tags of 1,000 characters per run; other places of the service cut at 256.
_MOST_TAGS, _LONGEST_TAG = 50, 256


@dataclass(frozen=True)
class JobRequest:
    """A fine-tuning job as the graph wants it."""

    component: FinetuneComponent
    model: ModelRef
    compute: ComputeRef
    train: SampleRef
    validation: SampleRef
    test: SampleRef
    parameters: EffectiveParameters
    finetune: FinetuneSection
    environment: str = COMPONENT_ENVIRONMENT
    """The image that the steps run in; the component's own unless one is given."""
    data_name: str = "ultrachat"
    """What the data assets are called, followed by the split. Not part of the job's identity."""
    owner: Owner = field(default_factory=lambda: Owner(PROJECT))
    """On whose behalf it is made. Not part of the job's identity: those who ask for the same share a job."""

    kind = "fine-tune"
    seed = "finetune.parameters.seed"
    asset = "finetune_job"
    section = "finetune"

    @property
    def attempts(self) -> int:
        """Jobs that may be submitted for this fingerprint."""
        return self.finetune.attempts

    @property
    def limits(self) -> Limits:
        """How long a job may take."""
        return Limits.of(self.finetune)

    @property
    def compute_name(self) -> str:
        """The cluster that its steps run on."""
        return self.compute.name

    @property
    def samples(self) -> dict[str, SampleRef]:
        """What the job is given, by its use: `train`, `validation` where the component's version takes it, `test`."""
        samples = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            use: sample for use, sample in samples.items() if use != "validation" or self.component.takes_validation
        }

    def display_name(self, attempt: int) -> str:
        """Name for people: the recipe's, or one made from model and parameters.

        Two jobs that differ in a parameter that is not in it, or in their data, end differently.
        """
        if self.finetune.display_name:
            return self.finetune.display_name
        made = display_name(self.model.name, self.parameters.values, self.compute.gpus)
        return f"{made}-{self.fingerprint[:6]}-r{attempt}"

    @property
    def inputs(self) -> dict[str, Any]:
        """Everything that the result depends on, and nothing else: no names, tags, experiment or timeouts."""
        return {
            "component": f"{self.component.id}:{self.component.version}",
            "model": self.model.id,
            "model_content": self.model.content_hash,
            **{use: sample.sha256 for use, sample in self.samples.items()},
            "parameters": dict(self.parameters.complete),
            "gpus": self.compute.gpus,
            "environment": self.environment,
            "seed": self.parameters.complete.get("seed"),
        }

    @property
    def labelled_inputs(self) -> dict[str, str]:
        """The same for people, as short text: `{"train data": "3f2a91bc0d12", "learning_rate": "5e-06", ...}`."""
        return {
            "component": f"{self.component.name}:{self.component.version}",
            "component registry": _registry(self.component.id),
            "foundation model": f"{self.model.name}:{self.model.version}",
            "model registry": _registry(self.model.id),
            "model content": self.model.content_hash[:12],
            **{f"{use} data": sample.sha256[:12] for use, sample in self.samples.items()},
            "gpus": str(self.compute.gpus),
            "environment": self.environment,
            **{name: _text(value) for name, value in self.parameters.complete.items()},
        }

    @property
    def fingerprint(self) -> str:
        """Identity of the job: equal for equal inputs, in any process on any machine."""
        return job_fingerprint(self.inputs)

    def data_asset(self, sample: SampleRef) -> str:
        """Name of the data asset for a sample, for example `ultrachat-train-sft`."""
        return f"{self.data_name}-{sample.split.replace('_', '-')}"

    def job_name(self, attempt: int) -> str:
        """Name of the n-th job for this fingerprint; n starts at 1."""
        return job_name(self.fingerprint, attempt)

    def tags(self, attempt: int, forced_by: str = "") -> dict[str, str]:
        """The recipe's tags, the fingerprint and its inputs, readable in Studio, within the service's limits."""
        inputs = self.inputs | {"component": self.component.id}
        parameters = inputs.pop("parameters")
        tags = {
            **self.finetune.tags,
            **self.owner.tags,
            COMPUTE_TAG: self.compute.name,
            FINGERPRINT_TAG: self.fingerprint,
            "phi/attempt": str(attempt),
            "phi/parameters_sha256": fingerprint(parameters),
        }
        if forced_by:
            tags[FORCED_TAG] = _tag_value(forced_by)
        tags |= {f"phi/{name}": _tag_value(value) for name, value in inputs.items() if value is not None}
        chosen = {f"{_PARAMETER_TAG}{key}": _tag_value(value) for key, value in self.parameters.values.items()}
        room = _MOST_TAGS - len(tags)
        if len(chosen) > room:
            left_out = len(chosen) - room + 1
            chosen = dict(sorted(chosen.items())[: room - 1]) | {f"{_PARAMETER_TAG}...": f"and {left_out} more"}
        return tags | chosen


def job_fingerprint(inputs: Mapping[str, Any]) -> str:
    """SHA-256 over the inputs of a job, 64 hexadecimal digits."""
    return fingerprint(dict(inputs))


def job_name(job_fingerprint: str, attempt: int) -> str:
    """`phi3-ft-<12 hexadecimal digits>-r<attempt>`: computable, so that no process has to remember it."""
    return f"phi3-ft-{job_fingerprint[:12]}-r{attempt}"


def _registry(asset_id: str) -> str:
    found = re.search(r"registries/([^/]+)/", asset_id)
    return found[1] if found else "workspace"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)


def _tag_value(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= _LONGEST_TAG else f"{text[: _LONGEST_TAG - 3]}..."
