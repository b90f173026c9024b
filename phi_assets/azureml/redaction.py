"""Texts of other programs, before they go to where everybody reads them."""

import re

_HIDDEN = "***"

# What opens something, and how it is spelled where it stands in a text; the first group stays.
_SECRETS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # A shared access signature: the signature alone is the secret, and says nothing to a reader.
        r"([?&;\s\"']sig=)[^&\s\"'<>]+",
        r"((?:AccountKey|SharedAccessKey|SharedAccessSignature)=)[^;\s\"']+",
        r"(\bBearer\s+)[\w.~+/=-]{8,}",
        r"(\bSharedKey\s+[\w.-]+:)\S+",
        r"(\b(?:primary|secondary|api|account|access)[_-]?key[\"']?\s*[:=]\s*[\"']?)[\w.~+/=-]{8,}",
        # A JSON Web Token, wherever it stands.
        r"(\b)eyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*",
    )
]


def without_secrets(text: str) -> str:
    """The text with `***` in place of signatures, keys and tokens."""
    for secret in _SECRETS:
        text = secret.sub(rf"\g<1>{_HIDDEN}", text)
    return text
