"""Who may look at Studio, and who may not ask through it."""

from urllib.parse import urlsplit

import httpx
import pytest

from phi_assets.emulator.process import Connection

FORM = {"history": "[]", "message": "Hello"}
PAGE = "/endpoints/realtime/nobody/detail"


def test_a_link_needs_no_credential(studio: httpx.Client) -> None:
    assert studio.get("/jobs").status_code == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1"])
def test_a_forwarded_port_is_fine(studio: httpx.Client, host: str) -> None:
    assert studio.get("/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", ""])
def test_somebody_elses_name_for_this_machine_is_refused(studio: httpx.Client, host: str) -> None:
    refused = studio.get("/jobs", headers={"Host": host})
    assert refused.status_code == 421
    assert "Jobs" not in refused.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "{own}", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "{own}", "Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_cannot_ask(studio: httpx.Client, emulator: Connection, headers: dict[str, str]) -> None:
    sent = {name: value.format(own=emulator.studio_url) for name, value in headers.items()}
    assert studio.post(PAGE, data=FORM, headers=sent).status_code == 403


def test_the_page_itself_can_ask(studio: httpx.Client, emulator: Connection) -> None:
    answer = studio.post(PAGE, data=FORM, headers={"Origin": emulator.studio_url, "Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 404  # there is no such endpoint, but it was let in


def test_a_page_keeps_to_itself(studio: httpx.Client) -> None:
    for path in ("/jobs", "/runs/nobody", "/no/such/page"):
        headers = studio.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert policy["form-action"] == policy["connect-src"] == "'self'"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"


def test_looking_is_kept_out_of_the_journal(studio: httpx.Client, emulator: Connection) -> None:
    from tests.emulator_requests import Requests

    with Requests(emulator) as requests:
        studio.get("/jobs")
        studio.get("/endpoints")
    assert requests.lines == []


def test_the_emulators_own_address_has_no_pages(emulator: Connection) -> None:
    from tests.emulator.http import raw_client

    assert urlsplit(emulator.studio_url).port != emulator.port
    with raw_client(emulator) as client:
        assert client.get("/jobs").status_code == 404
