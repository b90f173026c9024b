"""What changes a job's identity and what does not, its tags, and names made from it."""

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from phi_assets.azureml.models.registered import model_versions
from phi_assets.azureml.ownership import Owner
from phi_assets.azureml.serving.deployments import deployment_name
from phi_assets.azureml.training.identity import JobRequest
from phi_assets.azureml.training.lookup import created_at
from phi_assets.azureml.training.parameters import EffectiveParameters
from phi_assets.azureml.training.pipelines import FinetuneComponent
from phi_assets.config.recipe import FinetuneSection
from phi_assets.refs import ComputeRef, DataFile, JobRef, ModelRef, RegisteredModelRef, SampleRef
from tests.azureml.training.test_parameters import Declared

A_FILE = DataFile.at("/a")


def sample(split: str, sha: str, rows: int = 10) -> SampleRef:
    return SampleRef(split=split, jsonl=A_FILE, parquet=A_FILE, rows=rows, rows_total=100, size_bytes=1, sha256=sha)


def parameters(**values: Any) -> EffectiveParameters:
    complete = {"seed": 42, "lora_r": 8, "learning_rate": 5e-6, **values}
    return EffectiveParameters(values=values, complete=complete, origins=dict.fromkeys(complete, "recipe"))


INPUTS: dict[str, Any] = {"validation_file_path": Declared("uri_file", optional=True)}

BASE = JobRequest(
    component=FinetuneComponent(
        "azureml://registries/azureml/components/c/versions/1", "c", "1", INPUTS, node=lambda: None
    ),
    model=ModelRef(
        id="azureml://registries/azureml/models/m/versions/1",
        name="m",
        version="1",
        content_hash="h",
        finetune_computes=None,
        inference_computes=None,
    ),
    compute=ComputeRef(name="cluster", size="Standard_NC24ads_A100_v4", gpus=1, tier="Dedicated", action="reused"),
    train=sample("train_sft", "a" * 64),
    validation=sample("validation_sft", "d" * 64),
    test=sample("test_sft", "b" * 64),
    parameters=parameters(learning_rate=5e-6),
    finetune=FinetuneSection(),
)


@pytest.mark.parametrize(
    "changed",
    [
        {"component": replace(BASE.component, id=BASE.component.id[:-1] + "2", version="2")},
        {"model": BASE.model.model_copy(update={"id": BASE.model.id[:-1] + "2", "version": "2"})},
        {"component": replace(BASE.component, id=BASE.component.id.replace("registries/azureml/", "registries/own/"))},
        {
            "model": BASE.model.model_copy(
                update={"id": BASE.model.id.replace("registries/azureml/", "registries/own/")}
            )
        },
        {"model": BASE.model.model_copy(update={"content_hash": "edited in place"})},
        {"train": sample("train_sft", "c" * 64)},
        {"validation": sample("validation_sft", "c" * 64)},
        {"test": sample("test_sft", "c" * 64)},
        {"parameters": parameters(learning_rate=1e-5)},
        {"parameters": parameters(learning_rate=5e-6, seed=7)},
        {"compute": BASE.compute.model_copy(update={"gpus": 2})},
        {"environment": "another image"},
    ],
    ids=[
        "component",
        "model",
        "component registry",
        "model registry",
        "model content",
        "train",
        "validation",
        "test",
        "parameter",
        "seed",
        "gpus",
        "environment",
    ],
)
def test_what_the_result_depends_on_changes_the_fingerprint_and_what_people_see_of_it(changed: dict[str, Any]) -> None:
    assert replace(BASE, **changed).fingerprint != BASE.fingerprint
    assert replace(BASE, **changed).labelled_inputs != BASE.labelled_inputs


@pytest.mark.parametrize(
    "changed",
    [
        {"compute": BASE.compute.model_copy(update={"name": "other", "tier": "LowPriority", "action": "created"})},
        {"compute": BASE.compute.model_copy(update={"size": "Standard_NC40ads_H100_v5"})},
        {"finetune": FinetuneSection(experiment="other", attempts=1, timeout_hours=1)},
        {"finetune": FinetuneSection(display_name="Mine", tags={"cost centre": "7"})},
        {"train": BASE.train.model_copy(update=dict.fromkeys(("jsonl", "parquet"), DataFile.at("/elsewhere")))},
        {"train": BASE.train.model_copy(update={"report": A_FILE, "quarantine": A_FILE, "rows_quarantined": 1})},
        {"data_name": "other"},
        {"parameters": replace(BASE.parameters, overridden={"x": "y"}, dropped={"a": "b"})},
    ],
    ids=[
        "cluster's name and tier",
        "size with equal gpus",
        "experiment and limits",
        "display name and tags",
        "where files lie",
        "what was left out of a sample with equal content",
        "names of the data assets",
        "reports",
    ],
)
def test_what_does_not_matter_leaves_the_fingerprint(changed: dict[str, Any]) -> None:
    assert replace(BASE, **changed).fingerprint == BASE.fingerprint
    assert replace(BASE, **changed).labelled_inputs == BASE.labelled_inputs


def test_a_value_that_is_the_components_default_anyway_is_the_same_job() -> None:
    assert replace(BASE, parameters=parameters(learning_rate=5e-6, lora_r=8)).fingerprint == BASE.fingerprint


def test_validation_data_that_the_component_does_not_take_is_no_input_of_the_job() -> None:
    without = replace(BASE, component=replace(BASE.component, inputs={}))
    assert list(without.samples) == ["train", "test"]
    other = replace(without, validation=sample("validation_sft", "c" * 64))
    assert other.fingerprint == without.fingerprint != BASE.fingerprint
    assert other.labelled_inputs == without.labelled_inputs
    assert "phi/validation" not in without.tags(1)


def test_data_assets_are_named_after_the_data_set_and_the_split() -> None:
    names = [BASE.data_asset(sample) for sample in BASE.samples.values()]
    assert names == ["ultrachat-train-sft", "ultrachat-validation-sft", "ultrachat-test-sft"]
    assert replace(BASE, data_name="mine").data_asset(BASE.test) == "mine-test-sft"


def test_job_names_are_computable_and_valid() -> None:
    assert BASE.job_name(2) == f"phi3-ft-{BASE.fingerprint[:12]}-r2"
    assert BASE.job_name(2).replace("-", "").isalnum()


def test_tags_carry_the_fingerprint_and_its_inputs_within_the_services_limits() -> None:
    tags = BASE.tags(3)
    assert tags["phi/fingerprint"] == BASE.fingerprint
    assert [tags[f"phi/{use}"] for use in ("train", "validation", "test")] == ["a" * 64, "d" * 64, "b" * 64]
    assert tags["phi/parameter/learning_rate"] == "5e-06"
    assert tags["phi/attempt"] == "3"
    assert tags["phi/component"] == BASE.component.id
    many = replace(BASE, parameters=parameters(**{f"p{i}": "x" * 999 for i in range(80)}))
    assert len(many.tags(1)) == 50
    assert max(len(value) for value in many.tags(1).values()) <= 256
    shown = sum(key.startswith("phi/parameter/p") for key in many.tags(1))
    assert many.tags(1)["phi/parameter/..."] == f"and {80 - shown} more"


def test_tags_say_whose_the_job_is_and_where_it_runs_and_its_name_does_not() -> None:
    owned = replace(BASE, owner=Owner("mine", "a"), compute=BASE.compute.model_copy(update={"name": "elsewhere"}))
    assert owned.tags(1).items() >= {**Owner("mine", "a").tags, "phi-compute": "elsewhere"}.items()
    assert owned.job_name(1) == BASE.job_name(1)
    own = replace(owned, finetune=FinetuneSection(tags={"phi-recipe": "b", "phi-project": "theirs"}))
    assert own.tags(1) == owned.tags(1)


def test_the_recipes_tags_and_name_are_on_the_job_and_cannot_replace_ours() -> None:
    own = replace(BASE, finetune=FinetuneSection(display_name="Mine", tags={"team": "x", "phi/fingerprint": "0"}))
    assert own.display_name(1) == own.display_name(2) == "Mine"
    other = replace(BASE, train=BASE.train.model_copy(update={"sha256": "f" * 64}))
    assert len({BASE.display_name(1), BASE.display_name(2), other.display_name(1)}) == 3
    assert own.tags(1)["team"] == "x"
    assert own.tags(1)["phi/fingerprint"] == BASE.fingerprint
    assert own.tags(1, "run 1")["phi/forced_by"] == "run 1"
    assert "phi/forced_by" not in own.tags(1)


def job(attempt: int, created_at: str = "") -> JobRef:
    return JobRef(
        name="j",
        fingerprint="0123456789abcdef" * 4,
        display_name="d",
        studio_url="s",
        status="Completed",
        action="reused",
        attempt=attempt,
        created_at=created_at,
    )


def test_model_versions_rise_with_the_jobs() -> None:
    moments = ["2026-11-29T10:00:00.4+00:00", "2026-11-29T10:00:01+00:00", "2038-01-19T03:14:07+00:00"]
    versions = [int(model_versions(job(1, moment))[0]) for moment in moments]
    assert versions == [1795946400, 1795946401, 2**31 - 1]
    assert model_versions(job(1, moments[0])) == model_versions(job(1, "2026-11-29T12:00:00+02:00"))


def test_a_job_was_taken_in_utc_whatever_zone_this_machine_is_in() -> None:
    """Or two machines would register its model under two numbers."""
    naive, elsewhere = datetime(2026, 11, 29, 10), datetime(2026, 11, 29, 12, tzinfo=timezone(timedelta(hours=2)))
    contexts = [SimpleNamespace(created_at=moment) for moment in (naive, elsewhere)]
    moments = [created_at(SimpleNamespace(creation_context=context)) for context in contexts]
    assert [moment and moment.isoformat() for moment in moments] == ["2026-11-29T10:00:00+00:00"] * 2
    assert created_at(SimpleNamespace(creation_context=None)) is None


def test_model_versions_of_earlier_releases_follow_from_the_job() -> None:
    (version,) = model_versions(job(1))
    assert [version] == model_versions(job(1)) != model_versions(job(2))
    assert re.fullmatch(r"[1-9]\d{0,9}", version)
    assert int(version) < 2**31


@pytest.mark.parametrize("version", ["0123456789ab-r1", "7", "1700000000", "A_b.c", "x" * 60, "--", "ABC"])
def test_deployment_names_obey_the_services_rule(version: str) -> None:
    name = deployment_name(RegisteredModelRef(id="i", name="m", version=version, job_name="j", action="created"))
    assert re.fullmatch(r"[a-z](-?[a-z0-9])*", name), name
    assert 3 <= len(name) <= 32


def test_deployment_names_tell_versions_apart() -> None:
    versions = ["1", "2", "a.b", "a-b", "a_b", "x" * 40, "x" * 41]
    names = {
        deployment_name(RegisteredModelRef(id="i", name="m", version=version, job_name="j", action="created"))
        for version in versions
    }
    assert len(names) == len(versions)
    assert "ft-1" in names
