"""Numbers, times and names as people read them."""

from datetime import UTC, datetime, timedelta

import pytest

from phi_assets.emulator.studio import words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (12.4, "12 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (273600, "3 d 4 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "just now"), (-3, "just now"), (50, "1 min ago"), (3700, "1 h ago"), (-7300, "in 2 h"), (200_000, "2 d ago")],
)
def test_moments(seconds: float, text: str) -> None:
    assert words.ago((datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.5, "0.5"),
        (0.063827, "0.06383"),
        (0.000241, "0.000241"),
        (0.0000195, "1.95e-5"),
        (-3.14159, "-3.142"),
        (1234.5, "1,234"),
        (2_361_024, "2.36e6"),
        (float("nan"), "nan"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("uri", "label"),
    [
        ("azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/15", "Phi-3-mini-4k-instruct:15"),
        ("/subscriptions/s/resourceGroups/g/providers/p/workspaces/w/data/train/versions/8b", "train:8b"),
        ("azureml:train:8b", "train:8b"),
        ("azureml://datastores/workspaceblobstore/paths/azureml/job/model/", "azureml/job/model"),
        ("https://example.com/file", "https://example.com/file"),
    ],
)
def test_labels_of_uris(uri: str, label: str) -> None:
    assert words.asset_label(uri) == label


def test_logs_are_what_a_terminal_shows_in_the_end() -> None:
    assert words.plain("\x1b[1;32mgreen\x1b[0m\r\n 10%\r 50%\r100%\nlast\r") == "green\n100%\nlast"


def test_every_status_has_a_colour() -> None:
    shown = ("Completed", "Failed", "Canceled", "Running", "Queued", "Updating", "Something new")
    assert [words.tone(status) for status in shown] == ["good", "bad", "off", "live", "wait", "live", "wait"]
