"""Texts of other programs, before they go to where everybody reads them."""

import logging
import re

_HIDDEN = "***"

# What opens something, and how it is spelled where it stands in a text; the first group stays. The identifiers of
# keys (`AKIA...`, `Key-Pair-Id`) open nothing.
_SECRETS = [
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        # An address that opens something (Azure, S3, Google, CloudFront): the signature alone is the secret.
        r"([?&;\s\"'](?:sig|(?:X-(?:Amz|Goog)-)?Signature|X-Amz-Security-Token)=)[^&\s\"'<>]+",
        r"((?:AccountKey|SharedAccessKey|SharedAccessSignature|InstrumentationKey)=)[^;\s\"']+",
        # Of an Azure function, or of somebody who signs in.
        r"([?&]code=)[^&\s\"'<>]{16,}",
        r"(\bBearer\s+)[\w.~+/=-]{8,}",
        r"(\bSharedKey\s+[\w.-]+:)\S+",
        r"(\b(?:primary|secondary|api|account|access)[_-]?key[\"']?\s*[:=]\s*[\"']?)[\w.~+/=-]{8,}",
        r"(\b\w*(?:password|passwd|passphrase)[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&]+",
        r"(\bpwd[\"']?\s*=\s*[\"']?)(?!/)[^\s\"',;&]+",  # in connection strings; a shell's PWD is a folder
        # `secret: <text>` without quotes is prose; whose name only ends in `secret` says what it is.
        r"(\b\w*secret(?:[_-]?(?:access[_-]?)?key)?[\"']?\s*(?:=\s*[\"']?|:\s*[\"']))[^\s\"',;&]+",
        # Not the tokens of a tokenizer, which are short and have no digits.
        r"(\b(?:\w*[_-])?token[\"']?\s*[:=]\s*[\"']?)(?=[^\s\"',;&]*\d)[\w.~+/=-]{16,}",
        # User information of an address: proxies and package indexes have it.
        r"(://[^/\s:@\"']*:)[^/\s@\"']+(?=@)",
        # A webhook's address is its own credential (Slack, Discord, Teams).
        r"(://(?:hooks\.[^/\s]+|[^/\s]+/(?:api/webhooks|webhookb2))/)[^\s\"'<>]+",
        r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END|\Z)",
        # Wherever they stand: a JSON Web Token, tokens of Hugging Face, of GitHub, of OpenAI.
        r"(\b)eyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*",
        r"(\bhf_)[a-z0-9]{20,}",
        r"(\bgh[pousr]_|\bgithub_pat_)\w{20,}",
        r"(\bsk-)(?=[\w-]*\d)[\w-]{16,}",
    )
]


def without_secrets(text: str) -> str:
    """The text with `***` in place of signatures, keys and tokens."""
    for secret in _SECRETS:
        text = secret.sub(rf"\g<1>{_HIDDEN}", text)
    return text


def censor(error: BaseException) -> None:
    """Neither the exception nor any that led to it says a secret when it is printed; Dagster prints all of them."""
    from azure.core.exceptions import HttpResponseError

    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        text = str(current)
        if (clean := without_secrets(text)) != text:
            current.args = (clean,)
            if isinstance(current, HttpResponseError):
                # It prints the answer's body where it could not read an error out of it.
                current.response = None
        current = current.__cause__ or current.__context__


def censor_log(name: str) -> None:
    """What the library's logger of this name says has no secrets, wherever it goes. Doing it again changes nothing."""
    logging.getLogger(name).addFilter(_censor_record)


def _censor_record(record: logging.LogRecord) -> bool:
    record.msg, record.args = without_secrets(record.getMessage()), None
    return True
