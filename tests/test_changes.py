"""Changes read like a sentence, and nothing that changed is left out."""

from phi_assets.changes import describe_changes


def test_changes_are_named_with_both_values_in_the_order_of_the_inputs() -> None:
    before = {"component": "c:1", "train data": "3f2a", "learning_rate": "5e-6"}
    now = {"component": "c:1", "train data": "91bc", "learning_rate": "1e-5"}
    assert describe_changes(before, now) == "train data: 3f2a -> 91bc; learning_rate: 5e-6 -> 1e-5"


def test_inputs_that_came_or_went_are_told_apart_from_changed_ones() -> None:
    assert describe_changes({"a": "1", "b": "2"}, {"b": "2", "c": "3"}) == "c: 3 (added); a: 1 (removed)"


def test_equal_inputs_and_no_earlier_ones() -> None:
    assert describe_changes({"a": "1"}, {"a": "1"}) == "nothing"
    assert describe_changes(None, {"a": "1"}) == "first materialization"


def test_ids_are_short_where_that_tells_them_apart() -> None:
    ours = "/subscriptions/a/resourceGroups/b/providers/Microsoft.MachineLearningServices/workspaces/c/models/chat"
    phi = "azureml://registries/{}/models/Phi-4/versions/7"
    assert describe_changes({"model": f"{ours}/versions/1"}, {"model": f"{ours}/versions/2"}) == (
        "model: chat:1 -> chat:2"
    )
    assert describe_changes({}, {"model": phi.format("azureml")}) == "model: Phi-4:7 (added)"
    moved = describe_changes({"model": phi.format("azureml")}, {"model": phi.format("ours")})
    assert moved == f"model: {phi.format('azureml')} -> {phi.format('ours')}"
