"""An instance without the settings that the graph relies on is told so, with the lines that it lacks."""

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType

from phi_assets.graph.automation.instance_settings import missing_settings, tell_missing_settings

SHIPPED = yaml.safe_load((Path(__file__).parents[3] / "phi_assets" / "dagster.yaml").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def loaded_by_a_code_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster keeps what the last load in this process was for."""
    context = DefinitionsLoadContext(DefinitionsLoadType.INITIALIZATION)
    monkeypatch.setattr(DefinitionsLoadContext, "_instance", context)


def told(home: Path, content: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    (home / "dagster.yaml").write_text(content, encoding="utf-8")
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        tell_missing_settings({"DAGSTER_HOME": str(home)})
    return caplog.messages


def test_the_shipped_settings_lack_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert missing_settings(SHIPPED) == ""
    assert told(tmp_path, yaml.safe_dump(SHIPPED), caplog) == []
    tell_missing_settings({})
    assert caplog.messages == []


@pytest.mark.parametrize("content", ["", "telemetry: {enabled: false}", "concurrency: {pools: {granularity: run}}"])
def test_the_lines_that_are_told_are_those_to_add(
    content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (message,) = told(tmp_path, content, caplog)
    assert "dagster.yaml lacks settings that phi_assets relies on" in message
    lines = yaml.safe_load(message.partition("Add:\n")[2])
    assert missing_settings(merged(yaml.safe_load(content) or {}, lines)) == ""


def merged(settings: dict[str, Any], lines: dict[str, Any]) -> dict[str, Any]:
    inner = {key: merged(settings.get(key) or {}, value) for key, value in lines.items() if isinstance(value, dict)}
    return {**settings, **lines, **inner}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (message,) = told(tmp_path, "{", caplog)
    assert "dagster.yaml cannot be read" in message


def test_a_run_that_loads_the_code_again_tells_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconstruction = DefinitionsLoadContext(DefinitionsLoadType.RECONSTRUCTION)
    monkeypatch.setattr(DefinitionsLoadContext, "_instance", reconstruction)
    assert told(tmp_path, "", caplog) == []


def test_a_container_whose_instance_is_elsewhere_tells_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tell_missing_settings({"DAGSTER_HOME": str(tmp_path), "DAGSTER_CURRENT_IMAGE": "phi-assets"})
    assert caplog.messages == []
    tell_missing_settings({"DAGSTER_HOME": str(tmp_path)})
    assert len(caplog.messages) == 1
