"""A fresh install does nothing by itself."""

import dagster as dg

from phi_assets.config.recipe_files import load_recipe
from phi_assets.config.settings import load_settings
from phi_assets.definitions import build_definitions

SENSORS = {
    "phi_automation",
    "hub_revision_sensor",
    "foundation_model_sensor",
    "orphaned_job_sensor",
    "detached_jobs",
    "endpoint_health_sensor",
    "still_billing_sensor",
    "run_failure_alert",
    "run_success_alert",
    "lease_alert",
}


def repository() -> dg.RepositoryDefinition:
    return build_definitions(load_settings({}), load_recipe("quickstart")).get_repository_def()


def test_every_sensor_that_may_cost_money_is_stopped_and_says_what_it_does() -> None:
    sensors = {sensor.name: sensor for sensor in repository().sensor_defs}
    assert set(sensors) == SENSORS
    for sensor in sensors.values():
        # They make nothing: what is taken up was asked for, and a list is only read.
        is_on = sensor.name in {"detached_jobs", "still_billing_sensor"}
        assert (sensor.default_status is dg.DefaultSensorStatus.RUNNING) == is_on, sensor.name
        assert sensor.description, sensor.name


def test_every_schedule_is_stopped_and_says_what_it_does() -> None:
    (reaper,) = repository().schedule_defs
    assert reaper.name == "endpoint_reaper"
    assert reaper.default_status is dg.DefaultScheduleStatus.STOPPED
    assert reaper.description


def test_automation_gives_way_to_what_people_start() -> None:
    sensor = repository().get_sensor_def("phi_automation")
    assert isinstance(sensor, dg.AutomationConditionSensorDefinition)
    assert sensor.run_tags == {"dagster/priority": "-1"}
