"""What opens something never reaches a reader; what only describes does."""

import logging
import traceback

import pytest
from azure.core.exceptions import HttpResponseError

from phi_assets.azureml.connection.retry import one_line
from phi_assets.redaction import censor, censor_log, without_secrets

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJhdWQiOiJodHRwcyJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("GET https://a.blob.example/c/x?sv=2022-11-02&sig=aB%2Fc%3D&sp=r failed", "aB%2Fc%3D"),
        ("?sig=aBcD+/=", "aBcD+/="),
        ("GET https://a.example/x?X-Amz-Expires=60&X-Amz-Signature=0123abcd&x=1", "0123abcd"),
        ("GET https://a.example/x?X-Amz-Security-Token=IQoJb3%2FJp&x=1", "IQoJb3%2FJp"),
        ("GET https://a.example/x?X-Goog-Signature=0123abcd", "0123abcd"),
        ("GET https://a.example/x?Expires=60&Signature=aB~c-_&Key-Pair-Id=K", "aB~c-_"),
        ("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=c2VjcmV0c2VjcmV0==;Suffix=x", "c2VjcmV0c2VjcmV0=="),
        (f"Authorization: Bearer {TOKEN}", TOKEN),
        (f"token={TOKEN} was refused", TOKEN),
        ("Authorization: Bearer 0aF-_short.key~+/=", "0aF-_short.key~+/="),
        ("Authorization: SharedKey account:c2lnbmVk/+=", "c2lnbmVk/+="),
        ('{"primaryKey": "k3y-of-an-endpoint", "b": 1}', "k3y-of-an-endpoint"),
        ("api_key='k3y-of-an-endpoint'", "k3y-of-an-endpoint"),
        ("401 for hf_abcdefghijKLMNOPQRSTuvwxyz0123456789", "abcdefghijKLMNOPQRSTuvwxyz0123456789"),
        ("git said ghp_0123456789abcdefghijklmnopqrstuvwxyz", "0123456789abcdefghijklmnopqrstuvwxyz"),
        ("github_pat_11AAAAAAA0abcdefghijkl_mnop is no more", "11AAAAAAA0abcdefghijkl_mnop"),
        ("Incorrect key sk-proj-0123456789abcdefghij", "proj-0123456789abcdefghij"),
        ("AZURE_CLIENT_SECRET=abc~DEF.ghi", "abc~DEF.ghi"),
        ("grant_type=x&client_secret=abc~DEF.ghi&y=1", "abc~DEF.ghi"),
        ('{"clientSecret": "abc~DEF"}', "abc~DEF"),
        ("aws_secret_access_key = wJalr/XUtnFEMI", "wJalr/XUtnFEMI"),
        ("cannot reach http://user:hunter2@proxy:8080", "hunter2"),
        ("Server=s;Uid=u;Pwd=hunter2;", "hunter2"),
        ("DAGSTER_PG_PASSWORD: hunter2", "hunter2"),
        ("refresh_token=abcdef0123456789abcdef", "abcdef0123456789abcdef"),
        ("POST https://hooks.example.com/services/T000/B000/XXXXXXXX failed", "T000/B000/XXXXXXXX"),
        ("POST https://discord.example/api/webhooks/123/abcDEF", "123/abcDEF"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIabc\ndef\n-----END RSA PRIVATE KEY-----", "MIIabc\ndef"),
        ("-----BEGIN PRIVATE KEY-----\nMIIabc", "MIIabc"),
        ("InstrumentationKey=00000000-0000-0000-0000-000000000000;x=1", "00000000-0000-0000-0000-000000000000"),
        ("GET https://f.example/api/x?code=abcdef0123456789abcdef==&x=1", "abcdef0123456789abcdef=="),
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
        "pad_token=<|endoftext|>, max_tokens=256, token_id: 32000, eos_token: '</s>'",
        "OLDPWD=/root PWD=/home/somebody",
        "Key Vault has no secret: ask its owner",
        "https://host:8080/path/a@b and mailto:a@b.example, status code=404",
        "the hooks are in https://example.com/hooks/services; task-0123456789abcdefghij",
    ],
)
def test_everything_else_stays(text: str) -> None:
    assert without_secrets(text) == text


def test_errors_in_one_line_hide_them() -> None:
    assert one_line(RuntimeError("the build log is at https://a.example/log?sig=abcdef&sp=r")) == (
        "the build log is at https://a.example/log?sig=***&sp=r"
    )


class Answer:
    """An answer of the service that is not in the form of its errors."""

    status_code, reason = 403, "Forbidden"

    def text(self) -> str:
        return "see https://a.example/log?sig=c4n4ry&x=1"


def raise_chain() -> None:
    try:
        try:
            raise KeyError("AccountKey=c4n4ry-c4n4ry")
        except KeyError as error:
            raise HttpResponseError("refused", response=Answer()) from error  # type: ignore[arg-type]
    except HttpResponseError:
        raise ValueError("readable, but for Bearer c4n4ry-c4n4ry")  # noqa: B904


def test_no_exception_of_a_chain_says_them() -> None:
    with pytest.raises(ValueError, match="readable") as raised:
        raise_chain()

    def said() -> str:
        shown = traceback.TracebackException.from_exception(raised.value)
        texts = []
        while shown is not None:
            texts.append(str(shown))
            shown = shown.__cause__ or shown.__context__
        return "\n".join(texts)

    assert said().count("c4n4ry") == 5
    censor(raised.value)
    assert "c4n4ry" not in said()
    assert "readable, but for Bearer ***" in said()
    assert "x=1" in said()


def test_what_says_nothing_stays_as_it_is() -> None:
    error = HttpResponseError("refused", response=Answer())  # type: ignore[arg-type]
    error.__cause__ = cause = KeyError("name")
    cause.__cause__ = error
    censor(cause)
    assert cause.args == ("name",)


def test_a_librarys_log_has_none(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("tests.test_redaction")
    with caplog.at_level(logging.INFO):
        log.info("GET %s", "https://a.example/?sig=c4n4ry")
        assert "c4n4ry" in caplog.text
        caplog.clear()
        censor_log(log.name)
        censor_log(log.name)
        log.info("GET %s %d", "https://a.example/?sig=c4n4ry", 100)
    assert caplog.messages == ["GET https://a.example/?sig=*** 100"]
