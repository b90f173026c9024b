"""What can be known to go wrong is found before anything is written, each thing with a message of its own."""

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from phi_assets.azureml.billing.prices import load_prices
from phi_assets.azureml.compute.clusters import ensure_compute, ensure_cpu_compute
from phi_assets.azureml.connection.client import Workspace, connect_emulator
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.azureml.preflight import access
from phi_assets.azureml.preflight.estimate import Training
from phi_assets.azureml.preflight.run import Preflight, run_preflight
from phi_assets.azureml.serving.endpoints import delete_endpoint, ensure_endpoint
from phi_assets.config.recipe import Recipe
from phi_assets.config.recipe_files import load_recipe
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.azureml import toys as toy
from tests.azureml.serving.serving_toys import make_cluster
from tests.emulator_requests import Requests
from tests.graph_runs import write_recipe
from tests.toy_graph import write_toy_recipe

A100_FAMILY = "standardNCADSA100v4Family"
TRAINING = Training(rows=10_000, tokens_per_row=1_000)


def look(ws: Workspace, recipe: Recipe, **others: Any) -> Preflight:
    given = {"credential": "cli", "prices": load_prices(), "training": TRAINING, **others}
    return run_preflight(ws, recipe, **given)


@dataclass(frozen=True)
class Broken:
    """Something that is wrong, and what has to be said of it."""

    code: str
    says: list[str]
    recipe: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    """Fields of the connection: what the environment would name."""
    world: Callable[[Control], object] | None = None
    base: str = "quickstart"


def no_quota(*families: str) -> Callable[[Control], object]:
    return lambda control: control.set_quotas(**dict.fromkeys(families, 0))


BESIDE = {"dataset": {"prepare": "cluster"}}
LOW_PRIORITY = {"Total Cluster LowPriority Regional vCPUs": 0}
T4 = {"serving": {"instance_type": "Standard_NC4as_T4_v3"}, "model": {"registry": toy.REGISTRY, "name": "free"}}

BROKEN: dict[str, Broken] = {
    # Settings.
    "subscription": Broken(
        "workspace_not_found",
        ["AZURE_SUBSCRIPTION_ID", "11111111"],
        settings={"subscription_id": "11111111-1111-4111-8111-111111111111"},
    ),
    "resource group": Broken(
        "workspace_not_found", ["AZURE_RESOURCE_GROUP", "no-group"], settings={"resource_group": "no-group"}
    ),
    "workspace": Broken(
        "workspace_not_found", ["AZURE_ML_WORKSPACE", "no-workspace"], settings={"workspace_name": "no-workspace"}
    ),
    "no access": Broken(
        "forbidden",
        ["AzureML Data Scientist", "cannot be read by you", "00000000-0000-4000-8000-0000000000aa"],
        world=lambda control: control.add_fault(
            plane="arm", action="status", status=403, code="AuthorizationFailed cannot be read by you"
        ),
    ),
    "token of another tenant": Broken(
        "credential_refused",
        ["Sign in", "InvalidAuthenticationTokenTenant"],
        world=lambda control: control.add_fault(
            plane="arm", action="status", status=401, code="InvalidAuthenticationTokenTenant"
        ),
    ),
    "resource provider": Broken(
        "provider_not_registered",
        ["az provider register", "NotRegistered"],
        world=lambda control: control.set_provider_state("NotRegistered"),
    ),
    "hub": Broken(
        "workspace_kind", ["is a Hub", "AZURE_ML_WORKSPACE"], world=lambda control: control.set_workspace_kind("Hub")
    ),
    "project": Broken(
        "workspace_kind", ["is a Project", "accept"], world=lambda control: control.set_workspace_kind("Project")
    ),
    "registry in place of a workspace": Broken(
        "workspace_kind", ["is a registry", "model.registry"], settings={"workspace_name": "azureml"}
    ),
    "lock against deletions": Broken(
        "locked_against_deletion",
        ["Lock keep-it (CanNotDelete)", "resourceGroups/phi-emulator", "go on billing", "az lock delete"],
        world=lambda control: control.set_locks(**{"keep-it": "CanNotDelete"}),
    ),
    "lock against changes": Broken(
        "locked", ["Lock frozen (ReadOnly)"], world=lambda control: control.set_locks(frozen="ReadOnly")
    ),
    # Model.
    "registry of the model": Broken("registry", ["azurerml", "model.registry"], {"model": {"registry": "azurerml"}}),
    "name of the model": Broken("model_not_found", ["phi-3-mini", "case-sensitive"], {"model": {"name": "phi-3-mini"}}),
    "version of the model": Broken("model_not_found", ["version 99"], {"model": {"version": "99"}}),
    "archived model": Broken(
        "model_archived", ["archived", "model.name: Phi-4", "15"], {"model": {"registry": "azureml-2026"}}
    ),
    "retired model": Broken(
        "model_retired",
        ["fine-tuning on 2025-08-30", "model.name: Phi-4", "version 8"],
        {"model": {"registry": "azureml-2026", "version": "15"}},
    ),
    "model that nothing may fine-tune": Broken(
        "model_not_fine_tunable", ["not-tunable"], {"model": {"registry": toy.REGISTRY, "name": "not-tunable"}}
    ),
    # Component and parameters.
    "registry of the component": Broken(
        "registry", ["azurerml", "component.registry"], {"component": {"registry": "azurerml"}}
    ),
    "name of the component": Broken("component_not_found", ["chat_pipeline"], {"component": {"name": "chat_pipeline"}}),
    "withdrawn component": Broken("component_not_found", ["0.0.1", "latest"], {"component": {"version": "0.0.1"}}),
    "component for something else": Broken(
        "component_interface",
        ["mlflow_model_path"],
        {"component": {"name": "ft_nlp_model_converter", "version": "0.0.80"}},
    ),
    "unknown parameter": Broken("parameter_unknown", ["lora_rank", "lora_r"], {"parameters": {"lora_rank": 8}}),
    "parameter of the graph": Broken(
        "parameter_unknown", ["set by the graph"], {"parameters": {"number_of_gpu_to_use_finetuning": 4}}
    ),
    "parameter that the seed would send": Broken(
        "parameter_unknown", ["learning_rate_min"], {"parameters": {"learning_rate_min": 5e-7}}
    ),
    "type of a parameter": Broken(
        "parameter_invalid",
        ["num_train_epochs", "'three'", "whole number"],
        {"parameters": {"num_train_epochs": "three"}},
    ),
    "range of a parameter": Broken(
        "parameter_invalid",
        ["rate = 2", "between 0.0 and 1.0"],
        {"parameters": {"rate": 2}},
        base="toys",
    ),
    "choice of a parameter": Broken(
        "parameter_invalid",
        ["lr_scheduler_type", "sawtooth", "cosine"],
        {"parameters": {"lr_scheduler_type": "sawtooth"}},
    ),
    "more nodes than the cluster has": Broken(
        "too_few_nodes", ["compute.max_nodes: 4"], {"parameters": {"num_nodes_finetune": 4}}
    ),
    # Machines.
    "size that may not fine-tune": Broken(
        "size_not_allowed", ["compute.size", "Standard_NC24ads_A100_v4"], {"compute": {"size": "Standard_NC4as_T4_v3"}}
    ),
    "size that the region lacks": Broken(
        "size_not_offered",
        ["Standard_NC999", "not offered", "compute.size"],
        {"compute": {"size": "Standard_NC999"}, "model": {"registry": toy.REGISTRY, "name": "free"}},
    ),
    "size without a GPU": Broken(
        "size_without_gpu",
        ["Standard_DS3_v2"],
        {"compute": {"size": "Standard_DS3_v2"}, "model": {"registry": toy.REGISTRY, "name": "free"}},
    ),
    "K80": Broken(
        "size_unsupported",
        ["K80"],
        {"compute": {"size": "Standard_NC6"}, "model": {"registry": toy.REGISTRY, "name": "free"}},
    ),
    "size that may not serve": Broken(
        "size_not_allowed", ["serving.instance_type"], {"serving": {"instance_type": "Standard_DS3_v2"}}
    ),
    "node limits": Broken("node_limits", ["compute.min_nodes"], {"compute": {"min_nodes": 2, "max_nodes": 1}}),
    "size of the preparation": Broken(
        "size_not_offered",
        ["Standard_E999", "preparation.size"],
        {**BESIDE, "preparation": {"size": "Standard_E999"}},
    ),
    "node limits of the preparation": Broken(
        "node_limits", ["preparation.min_nodes"], {**BESIDE, "preparation": {"min_nodes": 2, "max_nodes": 1}}
    ),
    "one name for two sizes": Broken(
        "cluster_size",
        ["Standard_E4s_v3 by `preparation`", "preparation.name"],
        {**BESIDE, "preparation": {"name": "phi-one"}, "compute": {"name": "phi-one"}},
    ),
    "network of the preparation": Broken(
        "nodes_without_network", ["preparation.subnet"], {**BESIDE, "preparation": {"public_ip": False}}
    ),
    # Quota.
    "no quota for the preparation": Broken(
        "cluster_quota",
        ["Cluster phi-prepare (1 x Standard_E4s_v3)", "limit 0", "needed 4"],
        {**BESIDE, "preparation": {"tiers": ["Dedicated"]}},
        world=no_quota("standardESv3Family"),
    ),
    "no quota for the cluster": Broken(
        "cluster_quota",
        ["NCADSA100v4 Family", "limit 0", "needed 24; ask for a new limit of ", "region emulator"],
        {"compute": {"tiers": ["Dedicated"]}},
        world=no_quota(A100_FAMILY),
    ),
    "no quota in any tier": Broken(
        "cluster_quota",
        ["Dedicated: ", "LowPriority: "],
        world=lambda control: control.set_quotas(**{A100_FAMILY: 0, **LOW_PRIORITY}),
    ),
    "quota without the reserve": Broken(
        # Three machines of four cores need sixteen: a fifth more, rounded up to whole machines.
        "deployment_quota",
        ["reserve of 20 %", "needed 16", "limit 12"],
        {**T4, "serving": {"instance_type": "Standard_NC4as_T4_v3", "instance_count": 3}},
        world=lambda control: control.set_quotas(standardNCASv3_T4Family=12),
    ),
    # Money.
    "budget": Broken("budget_cost", ["50 USD", "sample.percent"], {"budget": {"cost": 50}}),
    "GPU hours": Broken("budget_gpu_hours", ["0.1 GPU hours"], {"budget": {"gpu_hours": 0.1}}),
    "machine without a price": Broken(
        "price_unknown",
        ["PHI_PRICES", "Standard_NC24rs_v2"],
        {
            "budget": {"cost": 500},
            "model": {"registry": toy.REGISTRY, "name": "free"},
            "serving": {"instance_type": "Standard_NC24rs_v2"},
        },
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_found_in_seconds_and_nothing_is_written(
    name: str, emulator: Connection, toys: Workspace, control: Control, tmp_path: Path
) -> None:
    broken = BROKEN[name]
    write = write_toy_recipe if broken.base == "toys" else write_recipe
    recipe = load_recipe(str(write(tmp_path / "recipe.yaml", broken.recipe)))
    ws = connect_emulator(dataclasses.replace(emulator, **broken.settings))
    if broken.world is not None:
        broken.world(control)
    with Requests(emulator) as requests:
        found = look(ws, recipe)
    errors = [finding for finding in found.errors if finding.code == broken.code]
    assert errors, found.in_words
    for part in broken.says:
        assert part in " ".join(finding.in_words for finding in errors)
    assert requests.writes == []
    assert found.seconds < 10


@pytest.mark.parametrize("recipe", ["quickstart", "phi3_mini_ultrachat"])
def test_nothing_stands_in_the_way_of_the_shipped_recipes(workspace: Workspace, recipe: str) -> None:
    found = look(workspace, load_recipe(recipe))
    assert not found.findings, found.in_words
    assert found.facts["tenant"] == "00000000-0000-4000-8000-0000000000aa"
    assert found.facts["identity"] == "00000000-0000-4000-8000-0000000000cc"
    assert found.facts["region"] == "emulator"
    assert found.facts["cluster_cores"] == found.facts["deployment_cores"] == 24
    assert found.facts["estimated_cost"] > found.facts["estimated_serving_cost"] > 0


def test_the_seeds_model_today_is_refused_with_all_that_is_wrong_and_its_successor_is_not(
    workspace: Workspace, tmp_path: Path
) -> None:
    def found(file: str, **model: str) -> Preflight:
        changes = {"model": {"registry": "azureml-2026", **model}, "component": {"registry": "azureml-2026"}}
        return look(workspace, load_recipe(str(write_recipe(tmp_path / file, changes, "phi3_mini_ultrachat"))))

    seed = found("seed.yaml")
    assert {finding.code for finding in seed.errors} == {"model_archived", "model_retired"}
    assert {finding.subject.split()[1] for finding in seed.warnings} == {"learning_rate_min", "learning_rate_max"}
    assert all("is not declared by component chat_completion_pipeline:0.0.82" in each.cause for each in seed.warnings)
    assert not found("edited.yaml", name="Phi-4").findings


@pytest.mark.parametrize(
    ("today", "code", "level"),
    [
        ("2025-06-08", "model_retires_soon", "warning"),
        ("2025-06-10", "model_legacy", "warning"),
        ("2025-07-01", "model_deprecated", "warning"),
        ("2025-08-30", "model_retired", "error"),
    ],
)
def test_a_models_life_has_stages(workspace: Workspace, tmp_path: Path, today: str, code: str, level: str) -> None:
    changes = {"model": {"registry": "azureml-2026", "version": "15"}}
    recipe = load_recipe(str(write_recipe(tmp_path / "recipe.yaml", changes)))
    found = look(workspace, recipe, today=date.fromisoformat(today))
    stages = {finding.code: finding.level for finding in found.of("model")}
    assert stages.get(code) == level, found.in_words


def test_dates_among_the_tags_count_as_well(toys: Workspace, tmp_path: Path) -> None:
    changes = {"model": {"registry": toy.REGISTRY, "name": "new-layout"}}
    found = look(toys, load_recipe(str(write_recipe(tmp_path / "recipe.yaml", changes))))
    assert "model_retired" in {finding.code for finding in found.errors}


def test_an_error_that_the_recipe_accepts_stops_nothing(workspace: Workspace, tmp_path: Path) -> None:
    changes = {
        "model": {"registry": "azureml-2026", "version": "15"},
        "preflight": {"accept": ["model_retired"]},
    }
    found = look(workspace, load_recipe(str(write_recipe(tmp_path / "recipe.yaml", changes))))
    assert not found.errors
    assert any("accepted by the recipe" in finding.cause for finding in found.warnings)


def test_everything_that_is_wrong_is_found_at_once(workspace: Workspace, tmp_path: Path) -> None:
    changes = {
        "model": {"version": "99"},
        "component": {"version": "9"},
        "compute": {"size": "Standard_NC999", "min_nodes": 3},
        "budget": {"cost": 1},
    }
    found = look(workspace, load_recipe(str(write_recipe(tmp_path / "recipe.yaml", changes))))
    codes = {finding.code for finding in found.errors}
    assert codes >= {"model_not_found", "component_not_found", "size_not_offered", "node_limits", "price_unknown"}


def test_sizes_are_compared_without_regard_to_case(workspace: Workspace, tmp_path: Path) -> None:
    changes = {
        "compute": {"size": "standard_nc24ADS_a100_V4"},
        "serving": {"instance_type": "STANDARD_NC24ADS_A100_V4"},
    }
    assert not look(workspace, load_recipe(str(write_recipe(tmp_path / "recipe.yaml", changes)))).findings


def test_cores_in_use_are_a_warning_and_those_of_the_own_cluster_are_none(
    clean_emulator: Connection, toys: Workspace, control: Control, tmp_path: Path
) -> None:
    """A second run of what is live already must not be stopped for the quota that the first one uses."""
    ws = connect_emulator(clean_emulator)
    nodes = {"compute": {"min_nodes": 1, "tiers": ["Dedicated"]}, "scoring": {"compare_with_base": False}}
    recipe = load_recipe(str(write_recipe(tmp_path / "recipe.yaml", nodes)))
    model = get_foundation_model(ws, recipe.model)
    ensure_compute(ws, recipe.compute, model)
    control.set_quotas(**{A100_FAMILY: 24})
    found = look(ws, recipe)
    assert not found.errors
    quota = found.of("quota")
    # The deployment comes beside the node; the node itself is there already.
    assert [finding.code for finding in quota] == ["deployment_quota_in_use"]
    assert "in use 24, needed 24; ask for a new limit of 48" in quota[0].cause
    ensure_compute(ws, recipe.compute.model_copy(update={"name": "somebody-elses"}), model)
    control.set_quotas(**{A100_FAMILY: 48})
    others = recipe.compute.model_copy(update={"name": "not-yet-there"})
    found = look(ws, recipe.model_copy(update={"compute": others}))
    assert not found.errors
    assert [finding.code for finding in found.of("quota")] == ["cluster_quota_in_use", "deployment_quota_in_use"]
    control.reset()


def test_low_priority_takes_the_place_of_dedicated_with_a_warning(
    workspace: Workspace, control: Control, tmp_path: Path
) -> None:
    control.set_quotas(**{A100_FAMILY: 0})
    changes = {"serving": {"instance_type": "Standard_ND96asr_v4"}}
    found = look(workspace, load_recipe(str(write_recipe(tmp_path / "recipe.yaml", changes))))
    assert not found.errors
    assert [finding.code for finding in found.of("quota")] == ["cluster_tier"]


def test_an_existing_cluster_of_another_size_is_found(clean_emulator: Connection, tmp_path: Path) -> None:
    ws = connect_emulator(clean_emulator)
    recipe = load_recipe("quickstart")
    ensure_compute(ws, recipe.compute, get_foundation_model(ws, recipe.model))
    assert not look(ws, recipe).findings
    changes = {"compute": {"size": "Standard_NC48ads_A100_v4"}}
    found = look(ws, load_recipe(str(write_recipe(tmp_path / "recipe.yaml", changes))))
    assert [finding.code for finding in found.errors] == ["cluster_size"]
    assert "compute.size: STANDARD_NC24ADS_A100_V4" in found.in_words


def test_the_cluster_that_prepares_data_is_looked_at_where_it_is_wanted(
    clean_emulator: Connection, tmp_path: Path
) -> None:
    ws = connect_emulator(clean_emulator)
    here = load_recipe(str(write_recipe(tmp_path / "here.yaml", {"preparation": {"size": "Standard_E999"}})))
    assert not look(ws, here).findings
    beside = load_recipe(str(write_recipe(tmp_path / "beside.yaml", BESIDE)))
    found = look(ws, beside)
    assert not found.findings, found.in_words
    assert (found.facts["preparation_cores"], found.facts["cluster_cores"]) == (4, 24)
    ensure_cpu_compute(ws, beside.preparation)
    assert not look(ws, beside).findings
    larger = {**BESIDE, "preparation": {"size": "Standard_DS3_v2"}}
    found = look(ws, load_recipe(str(write_recipe(tmp_path / "larger.yaml", larger))))
    assert [finding.code for finding in found.errors] == ["cluster_size"]
    assert "preparation.size: STANDARD_E4S_V3" in found.in_words


def test_data_that_a_cluster_prepares_lies_in_a_datastore(
    workspace: Workspace, control: Control, tmp_path: Path
) -> None:
    here = load_recipe(str(write_recipe(tmp_path / "here.yaml", {})))
    beside = load_recipe(str(write_recipe(tmp_path / "beside.yaml", BESIDE)))
    assert not look(workspace, here, root=str(tmp_path)).findings
    assert not look(workspace, beside, root="azureml://datastores/workspaceblobstore/paths/phi-data").findings
    for root in (str(tmp_path), "abfss://elsewhere@account.dfs.core.windows.net/phi-data"):
        (finding,) = look(workspace, beside, root=root).errors
        assert finding.code == "data_in_no_datastore"
        assert f"{root} lies in no datastore of workspace {workspace.name}: set PHI_DATA to" in finding.cause
    control.add_fault(plane="arm", method="GET", path="(?i)/datastores$", action="status", status=403, code="Forbidden")
    unknown = look(workspace, beside, root="abfss://elsewhere@account.dfs.core.windows.net/phi-data")
    assert [(each.level, each.code) for each in unknown.of("data")] == [("warning", "datastores_unknown")]


def test_the_budget_counts_what_preparing_data_may_cost(clean_emulator: Connection, tmp_path: Path) -> None:
    ws, prices, numbers = connect_emulator(clean_emulator), load_prices(), count()

    def found(**changes: Any) -> Preflight:
        limits = {"max_nodes": 2, "timeout_hours": 3, **changes.pop("preparation", {})}
        file = tmp_path / f"{next(numbers)}.yaml"
        recipe = write_recipe(file, {**BESIDE, "preparation": limits, **changes})
        return look(ws, load_recipe(str(recipe)), prices=prices)

    here = look(ws, load_recipe(str(write_recipe(tmp_path / "here.yaml", {})))).facts
    assert "most_preparation_cost" not in here
    beside = found().facts
    # A job for each raw split, on both nodes for three hours.
    assert beside["most_preparation_cost"] == pytest.approx(4 * 2 * 3 * 0.252, abs=0.01)
    assert beside["most_cost"] == pytest.approx(here["most_cost"] + beside["most_preparation_cost"], abs=0.02)
    assert beside["estimated_cost"] == here["estimated_cost"]

    (finding,) = found(budget={"cost": here["most_cost"] + 1}).findings
    assert (finding.level, finding.code) == ("warning", "budget_cost_at_most")
    assert "without preparing data, and before its time limits it may take" in finding.cause
    assert finding.cause.endswith("of which 6.0 USD for preparing data")
    assert "`preparation.timeout_hours`, `preparation.max_nodes` or `finetune.timeout_hours`" in finding.next_step
    assert not found(budget={"cost": beside["most_cost"] + 1}).findings

    # The dearest priority counts where several may be granted; one that a cluster has counts where there is one.
    tiers = ["LowPriority", "Dedicated"]
    assert found(preparation={"tiers": tiers}).facts["most_preparation_cost"] == beside["most_preparation_cost"]
    low = found(preparation={"tiers": tiers[:1]}).facts["most_preparation_cost"]
    assert low == pytest.approx(0.2 * beside["most_preparation_cost"], abs=0.01)
    make_cluster(ws, "theirs", size="Standard_E4s_v3", most=7, tier="LowPriority", tags={})
    # It is used as it is, with as many nodes as it has.
    theirs = found(preparation={"name": "theirs"})
    assert theirs.facts["most_preparation_cost"] == pytest.approx(4 * 7 * 3 * 0.252 * 0.2, abs=0.01)

    prices = prices.model_copy(
        update={"hourly": {size: price for size, price in prices.hourly.items() if size != "Standard_E4s_v3"}}
    )
    unpriced = found(budget={"cost": 1e6})
    assert [(finding.code, finding.subject) for finding in unpriced.errors] == [
        ("price_unknown", "VM size Standard_E4s_v3")
    ]
    assert not unpriced.facts.keys() & {"most_preparation_cost", "most_cost"}
    assert unpriced.facts["estimated_cost"] == here["estimated_cost"]


def test_the_endpoint_may_be_ours_but_nobody_elses(workspace: Workspace, tmp_path: Path) -> None:
    recipe = load_recipe(str(write_recipe(tmp_path / "ours.yaml", {"serving": {"endpoint": "preflight-ours"}})))
    try:
        ensure_endpoint(workspace, recipe.serving)
        assert not look(workspace, recipe).findings
        token = recipe.serving.model_copy(update={"auth_mode": "aml_token"})
        found = look(workspace, recipe.model_copy(update={"serving": token}))
        assert [finding.code for finding in found.errors] == ["endpoint_auth_mode"]
        endpoint = workspace.ml.online_endpoints.get("preflight-ours")
        endpoint.tags = {"owner": "somebody"}
        workspace.ml.online_endpoints.begin_create_or_update(endpoint).wait()
        assert [finding.code for finding in look(workspace, recipe).errors] == ["endpoint_taken"]
    finally:
        delete_endpoint(workspace, "preflight-ours")


class Refusing:
    """A credential of a mode that does not work here."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        raise ClientAuthenticationError("Please run 'az login' to set up an account.")


class Given:
    """A credential whose token says nothing of its owner."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken("a.e30.b", 2**40)


class Hanging:
    """A credential that waits for something that does not come."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.released.wait(60)
        raise ClientAuthenticationError("released")


def with_credential(ws: Workspace, credential: Any) -> Workspace:
    return Workspace(credential, ws.subscription_id, ws.resource_group, ws.name, resource_manager=ws.resource_manager)


def test_a_credential_that_does_not_work_says_how_to_sign_in(workspace: Workspace, emulator: Connection) -> None:
    with Requests(emulator) as requests:
        found = look(with_credential(workspace, Refusing()), load_recipe("quickstart"), credential="cli")
    assert [finding.code for finding in found.errors] == ["credential"]
    assert "Please run 'az login'" in found.in_words
    assert found.looked_at == ("access",)
    assert requests.lines == []


def test_a_credential_that_hangs_is_not_waited_for(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "CREDENTIAL_PATIENCE_SECONDS", 0.2)
    credential = Hanging()
    try:
        found = look(with_credential(workspace, credential), load_recipe("quickstart"), credential="managed_identity")
    finally:
        credential.released.set()
    assert [finding.code for finding in found.errors] == ["credential"]
    assert "no token after" in found.in_words
    assert "AZURE_CLIENT_ID" in found.in_words


def test_nobody_at_the_address_is_found_before_anything_else_is_tried(workspace: Workspace) -> None:
    nowhere = Workspace(Given(), "s", "g", "w", resource_manager="https://127.0.0.1:9")
    found = look(nowhere, load_recipe("quickstart"))
    assert [finding.code for finding in found.errors] == ["unreachable"]
    assert found.looked_at == ("access",)
    assert found.seconds < 10


def test_a_service_that_stumbles_once_is_asked_again(workspace: Workspace, control: Control) -> None:
    control.add_fault(plane="arm", method="GET", action="status", status=503, count=1)
    assert not look(workspace, load_recipe("quickstart")).findings


def test_its_identity_is_that_of_the_workspace(workspace: Workspace, control: Control, tmp_path: Path) -> None:
    """So that neither an edited recipe nor a changed quota makes stale what depends on it."""
    first = look(workspace, load_recipe("quickstart"))
    control.set_quotas(**{A100_FAMILY: 100})
    other = load_recipe(str(write_recipe(tmp_path / "recipe.yaml", {"parameters": {"learning_rate": 1e-3}})))
    assert look(workspace, other).identity == first.identity
