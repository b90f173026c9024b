"""What opens something never reaches a reader; what only describes does."""

import pytest

from phi_assets.azureml.redaction import without_secrets
from phi_assets.azureml.retry import one_line

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJhdWQiOiJodHRwcyJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("GET https://a.blob.example/c/x?sv=2022-11-02&sig=aB%2Fc%3D&sp=r failed", "aB%2Fc%3D"),
        ("?sig=aBcD+/=", "aBcD+/="),
        ("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=c2VjcmV0c2VjcmV0==;Suffix=x", "c2VjcmV0c2VjcmV0=="),
        (f"Authorization: Bearer {TOKEN}", TOKEN),
        (f"token={TOKEN} was refused", TOKEN),
        ("Authorization: Bearer 0aF-_short.key~+/=", "0aF-_short.key~+/="),
        ("Authorization: SharedKey account:c2lnbmVk/+=", "c2lnbmVk/+="),
        ('{"primaryKey": "k3y-of-an-endpoint", "b": 1}', "k3y-of-an-endpoint"),
        ("api_key='k3y-of-an-endpoint'", "k3y-of-an-endpoint"),
    ],
)
def test_secrets_are_hidden(text: str, secret: str) -> None:
    assert secret in text
    hidden = without_secrets(text)
    assert secret not in hidden
    assert "***" in hidden


@pytest.mark.parametrize(
    "text",
    [
        "BadArgument: The model azureml://registries/a/models/b/versions/1 has no file MLmodel",
        "?sv=2022-11-02&se=2026-01-01&sp=r",
        "design=blue, the key is not one of this endpoint's keys, monkey=12345678",
        "KeyError: 'api'",
        "bearer of bad news",
    ],
)
def test_everything_else_stays(text: str) -> None:
    assert without_secrets(text) == text


def test_errors_in_one_line_hide_them() -> None:
    assert one_line(RuntimeError("the build log is at https://a.example/log?sig=abcdef&sp=r")) == (
        "the build log is at https://a.example/log?sig=***&sp=r"
    )
