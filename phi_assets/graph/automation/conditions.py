"""When an asset is materialized by itself, once somebody has switched `phi_automation` on."""

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_
from typing import Any

import dagster as dg

# Conditions on assets, on checks and on both are different types to a type checker, and do not mix.
_Condition = dg.AutomationCondition[Any]

DETACHED_TAG, WAITING = "phi/detached", "waiting"
"""Tag of a run that has left a job to itself, and its value until somebody has taken the job up."""
_LEAVES_JOBS = "finetune_job"

_on_its_way: _Condition = (
    dg.AutomationCondition.in_progress()
    | dg.AutomationCondition.will_be_requested()
    | dg.AutomationCondition.any_checks_match(dg.AutomationCondition.run_in_progress(), blocking_only=True)
).with_label("on_its_way")
"""The asset is being materialized or will be.

A run is at it until the blocking checks are over as well: only then what stands below is requested.
"""

_left_to_itself: _Condition = dg.AutomationCondition.any_checks_match(
    dg.AutomationCondition.executed_with_tags(tag_values={DETACHED_TAG: WAITING})
).with_label("left_to_itself")
"""The newest run that was to check the asset has left its job to itself, and nobody has taken it up.

It has planned the checks and come to none, so it is theirs and not the one that materialized the asset last.
"""


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


def upstream_is_settled(upstream: Iterable[dg.AssetKey]) -> _Condition:
    """Nothing of all that the asset is made from, however far up, is on its way, or waits for a job left to itself.

    A new revision changes `sampled_test_gen` long before the job that it also starts has led to other live traffic.
    Without this, `scoring_result` would be made twice: for the old model, and for the new one. Each asset is named
    once: a condition on dependencies, and on theirs in turn, is evaluated once for every way that leads there.
    """
    moving = [dg.AutomationCondition.asset_matches(key, _on_its_way_up(key)) for key in sorted(upstream)]
    return (~reduce(or_, moving)).with_label("upstream_is_settled")


def _on_its_way_up(key: dg.AssetKey) -> _Condition:
    return _on_its_way | _left_to_itself if key.path[-1] == _LEAVES_JOBS else _on_its_way


on_edited_recipe: _Condition = (
    _not_yet_requested(dg.AutomationCondition.code_version_changed())
    & ~dg.AutomationCondition.missing()
    & ~dg.AutomationCondition.in_progress()
).with_label("on_edited_recipe")
"""Another code version of a root that has been materialized before; changes of its source are found by a sensor."""

# A new endpoint or a longer lease costs money until somebody ends it, so only people ask for one. What is billing has
# no input that could change.
_BY_HAND = frozenset({"online_endpoint", "still_billing"})


def with_automation(
    assets: Sequence[dg.AssetsDefinition], others: Sequence[dg.AssetsDefinition] = ()
) -> Sequence[dg.AssetsDefinition]:
    """The assets, each with the condition that is right for its place in the graph; `others` are part of that."""
    deps = {spec.key: {dep.asset_key for dep in spec.deps} for each in (*assets, *others) for spec in each.specs}

    def upstream(key: dg.AssetKey) -> set[dg.AssetKey]:
        direct = deps.get(key, set())
        return direct.union(*map(upstream, direct))

    def automated(spec: dg.AssetSpec) -> dg.AssetSpec:
        if spec.key.path[-1] in _BY_HAND:
            return spec
        above = upstream(spec.key)
        condition = on_new_inputs & upstream_is_settled(above) if above else on_edited_recipe
        if spec.key.path[-1] == _LEAVES_JOBS:
            condition &= ~_left_to_itself
        return spec.replace_attributes(automation_condition=condition)

    return dg.map_asset_specs(automated, assets)
