"""Models follow one another on the same questions: who is worse than the best so far is named, and turned down."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.emulator.process import Connection
from tests.graph_runs import Graph, actions, failure_message
from tests.toy_graph import NAME, write_toy_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WORSE = (
    "under clouds grey horses jump, quick zebras mix vodka, bright foxes waltz by jolly quartz pylons, numb badgers "
    "kick velvet trumpets, six wild yaks hum psalms, old judges vex proud fjord nymphs, zinc gnomes box humble ducks: "
)
AS_BAD = (
    "above hills pink wizards fly, slow pandas knit jumpers, dull owls croon at mighty kelp farms, lazy squids whip "
    "crumpets, nine calm emus buff drums, young vicars tax grim lynx herds, wax elves jab crusty plums, odd goats mew: "
)


class Models:
    """The toy graph, with a model that is told by what its answers begin with."""

    def __init__(self, emulator: Connection, folder: Path, instance: dg.DagsterInstance, endpoint: str) -> None:
        self._emulator, self._folder, self._instance, self._endpoint = emulator, folder, instance, endpoint
        self._recipes: dict[str, Path] = {}

    def graph(self, prefix: str, *, gate: bool = False, **scoring: Any) -> Graph:
        key = f"{prefix}{gate}{scoring}"
        # A recipe is read once per path.
        if key not in self._recipes:
            folder = self._folder / str(len(self._recipes))
            folder.mkdir()
            self._recipes[key] = write_toy_recipe(
                folder / "champions.yaml",
                {
                    "sample": {"percent": 100},
                    "parameters": {"prefix": prefix},
                    "serving": {"endpoint": self._endpoint},
                    "scoring": {"samples": 12, **scoring},
                    "rollout": {"score_before_live": gate},
                },
            )
        return Graph(self._emulator.directory.parent, self._recipes[key], self._folder / "storage", self._instance)

    def score(self, prefix: str, **scoring: Any) -> dg.ExecuteInProcessResult:
        """The model is trained, serves, and has been scored."""
        result = self.graph(prefix, **scoring).run()
        assert result.success, failure_message(result)
        return result


@pytest.fixture
def models(emulator: Connection, toys: Workspace, tmp_path: Path) -> Iterator[Models]:
    with dg.DagsterInstance.ephemeral() as instance:
        models = Models(emulator, tmp_path, instance, "champions")
        yield models
        assert models.graph("").run("teardown").success


@pytest.fixture(scope="module")
def lonely(emulator: Connection, toys: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    """For tests in which there is no other model than the one that begins with nothing."""
    with dg.DagsterInstance.ephemeral() as instance:
        models = Models(emulator, tmp_path_factory.mktemp("lonely"), instance, "lonely-champion")
        yield models
        assert models.graph("").run("teardown").success


def check(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    return next(found for found in result.get_asset_check_evaluations() if found.check_name == name)


def metadata(result: dg.ExecuteInProcessResult, asset: str = "scoring_result") -> dict[str, Any]:
    (found,) = result.asset_materializations_for_node(f"{NAME}__{asset}")
    return {key: value.value for key, value in found.metadata.items()}


def test_each_model_is_measured_by_the_last_one_that_was_good(models: Models, toys: Workspace) -> None:
    first = models.score("", margin=0)
    good = metadata(first)
    assert check(first, "not_worse_than_champion").passed
    assert check(first, "not_worse_than_champion").description == "No other model has been scored."
    assert good["is_champion"]

    worse = models.score(WORSE, margin=0)
    verdict = check(worse, "not_worse_than_champion")
    assert (verdict.passed, verdict.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert verdict.metadata["champion"].value == good["model"]
    upper: Any = verdict.metadata["chrf_gain_high"].value
    assert upper < 0
    assert metadata(worse)["champion/chrf"] == good["chrf"] > metadata(worse)["chrf"]
    assert not metadata(worse)["is_champion"]
    # The base model was asked once, by a deployment that is gone.
    assert actions(worse)["base_answers"] == "reused"
    names = {str(found.name) for found in toys.ml.online_deployments.list(endpoint_name="champions")}
    assert names == {metadata(worse)["deployment"]}

    # As bad as the last one, which does not help it: the champion is still the first.
    bad = models.score(AS_BAD, margin=0)
    assert not check(bad, "not_worse_than_champion").passed
    assert check(bad, "not_worse_than_champion").metadata["champion"].value == good["model"]

    # Nobody but itself has ever been a champion.
    again = models.score("", margin=0)
    assert actions(again)["scoring_result"] == "reused"
    assert check(again, "not_worse_than_champion").passed
    assert metadata(again)["model"] == good["model"]
    assert metadata(again)["champion_note"] == "No other model has been scored."


def test_a_model_that_answers_worse_than_the_champion_does_not_go_live(models: Models, toys: Workspace) -> None:
    good = models.score("")
    before = metadata(good, "live_traffic")["traffic"]
    worse = models.graph(WORSE, gate=True).run()
    assert not worse.success
    said = failure_message(worse)
    assert f" looks worse than champion {NAME}-model-ultrachat-200k:" in said
    assert "worse by more than 2" in said
    gate = check(worse, "rollout_gate")
    assert not gate.passed
    # Nothing of it has got any traffic, and nothing of it is left to bill.
    endpoint = toys.ml.online_endpoints.get("champions")
    assert endpoint.traffic == before
    assert {str(found.name) for found in toys.ml.online_deployments.list(endpoint_name="champions")} == set(before)

    # The same words again are no worse, and what the gate has asked is not asked again for the scores.
    again = models.score("!", gate=True)
    assert metadata(again, "live_traffic")["traffic"] != before
    assert metadata(again)["action"] == "scored"
    assert metadata(again)["champion/chrf_gain"] >= -2


def test_other_questions_are_not_compared(models: Models) -> None:
    models.score("")
    other = models.score(WORSE, seed=1234, samples=1)
    # One question of another seed; twelve of more than a hundred were asked before.
    verdict = check(other, "not_worse_than_champion")
    assert (verdict.passed, verdict.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "has answered other questions, so nobody knows" in str(verdict.description)
    assert metadata(other)["champion_note"] == verdict.description


def test_without_the_base_model_nothing_is_deployed_for_it(lonely: Models) -> None:
    result = lonely.score("", compare_with_base=False)
    assert actions(result)["base_answers"] == "skipped"
    assert "base/chrf" not in metadata(result)
    verdict = check(result, "better_than_base_model")
    assert verdict.passed
    assert verdict.description == "The recipe does not ask for the base model."


def test_a_bound_that_is_exceeded_fails_its_check_and_asks_nobody_again(lonely: Models) -> None:
    slow = lonely.score("", max_p95_seconds=0.000_1)
    assert not check(slow, "p95_latency_is_within_bound").passed
    fast = lonely.score("", max_p95_seconds=60)
    assert check(fast, "p95_latency_is_within_bound").passed
    assert actions(fast)["scoring_result"] == "reused"


def test_base_answers_that_are_gone_are_named(lonely: Models) -> None:
    first = lonely.score("")
    Path(metadata(first, "base_answers")["json"]).unlink()
    graph = lonely.graph("")
    alone = graph.materialize("scoring_result")
    assert not alone.success
    assert "Materialize base_answers again" in failure_message(alone)
    healed = graph.materialize("base_answers or scoring_result")
    assert healed.success, failure_message(healed)
    assert actions(healed) == {"base_answers": "scored", "scoring_result": "reused"}
