"""When an asset is materialized by itself, once somebody has switched `phi_automation` on."""

from typing import Any

import dagster as dg

# Conditions on assets, on checks and on both are different types to a type checker, and do not mix.
_Condition = dg.AutomationCondition[Any]

GRAPH_LEVELS = 9
"""Dependencies on the longest way from an asset back to a root; a test compares it with the graph."""


def _on_its_way(levels: int) -> _Condition:
    """The asset, or one of those that it is made from up to so many levels above, is being materialized or will be.

    A run is at it until the blocking checks are over as well: only then what stands below is requested.
    """
    moving: _Condition = (
        dg.AutomationCondition.in_progress()
        | dg.AutomationCondition.will_be_requested()
        | dg.AutomationCondition.any_checks_match(dg.AutomationCondition.run_in_progress(), blocking_only=True)
    )
    if levels <= 1:
        return moving
    return moving | dg.AutomationCondition.any_deps_match(_on_its_way(levels - 1))


def _not_yet_requested(condition: _Condition) -> _Condition:
    """The condition has become true, and the asset has not been requested since.

    `since_last_handled()` would also forget what arrived while the asset was being made from the version before it.
    """
    return condition.since(dg.AutomationCondition.newly_requested() | dg.AutomationCondition.initial_evaluation())


_has_new_inputs: _Condition = _not_yet_requested(
    dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
    | dg.AutomationCondition.newly_missing()
    | dg.AutomationCondition.code_version_changed()
)

_may_start: _Condition = (
    ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
    & dg.AutomationCondition.all_deps_blocking_checks_passed()
)

on_new_inputs: _Condition = (_has_new_inputs & _may_start).with_label("on_new_inputs")
"""Another data version of an input, or another code version (an edited recipe): an unchanged one starts nothing.

Nothing starts while an input has never been materialized or has not passed its blocking checks, which includes checks
that have never run. What had changed before the automation was switched on does not count.
"""

upstream_is_settled: _Condition = (~dg.AutomationCondition.any_deps_match(_on_its_way(GRAPH_LEVELS))).with_label(
    "upstream_is_settled"
)
"""Nothing that the asset is made from is on its way, however far up.

A new revision changes `sampled_test_gen` long before the job that it also starts has led to other live traffic.
Without this, `scoring_result` would be made twice: for the old model, and for the new one.
"""

on_edited_recipe: _Condition = (
    _not_yet_requested(dg.AutomationCondition.code_version_changed())
    & ~dg.AutomationCondition.missing()
    & ~dg.AutomationCondition.in_progress()
).with_label("on_edited_recipe")
"""Another code version of a root that has been materialized before; changes of its source are found by a sensor."""

# A new endpoint or a longer lease costs money until somebody ends it, so only people ask for one. What is billing has
# no input that could change.
_BY_HAND = frozenset({"online_endpoint", "still_billing"})


def with_automation(spec: dg.AssetSpec) -> dg.AssetSpec:
    """The asset with the condition that is right for its place in the graph."""
    if spec.key.path[-1] in _BY_HAND:
        return spec
    condition = on_new_inputs & upstream_is_settled if list(spec.deps) else on_edited_recipe
    return spec.replace_attributes(automation_condition=condition)
