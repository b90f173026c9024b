"""Refusals that people meet: what stands behind them, by its name, and what to do next."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
from azure.core.exceptions import HttpResponseError

POLICY = "RequestDisallowedByPolicy"
LOCKED = "ScopeLocked"
_NAME_HELD = "InferencingClientCallFailed"

# The older form of the message carries JSON:
# https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-policy-requestdisallowedbypolicy
_IDENTIFIERS = re.compile(r"Policy identifiers: '(\[.*\])'", re.DOTALL)
_LOCKED_SCOPES = re.compile(r"scope\(s\) are locked: '([^']+)'")
_CAPACITY = re.compile(r"OutOfCapacity|SkuNotAvailable|AllocationFailed|ZonalAllocationFailed|AllocationTimeout")


def error_document(error: BaseException) -> Mapping[str, Any]:
    """The service's own `error` object of a refused request or of an operation that failed; empty where there is none.

    The newer form of a policy's refusal names the policy in `additionalInfo`, which the SDK's message leaves out.
    """
    response: Any = getattr(error, "response", None)
    if not isinstance(error, httpx.HTTPStatusError | HttpResponseError) or response is None:
        return {}
    try:
        text = response.text if isinstance(response, httpx.Response) else response.text()
        found = json.loads(text).get("error")
    except (ValueError, AttributeError, TypeError, httpx.StreamError):
        return {}
    return found if isinstance(found, Mapping) else {}


def error_codes(error: BaseException) -> list[str]:
    """The codes of a refusal, from the outermost in."""
    found = [str(each.get("code")) for each in _documents(error_document(error))]
    own = getattr(getattr(error, "error", None), "code", None)
    return [*([str(own)] if own else []), *found]


def cause(error: BaseException) -> str:
    """What a policy or a lock is called that stands behind the refusal, in parentheses after a blank; else empty."""
    codes = error_codes(error)
    if POLICY in codes:
        names = policies(error)
        return f" ({'policy' if len(names) == 1 else 'policies'} {'; '.join(names)})" if names else ""
    return ""


def next_step(error: BaseException, otherwise: str) -> str:
    """What to do about a refusal whose cause is known; `otherwise` for any other."""
    codes, text = error_codes(error), _text(error)
    if POLICY in codes:
        return (
            "Change what the recipe asks for to what the policy allows, or have whoever assigns policies in this "
            "subscription make an exemption."
        )
    if LOCKED in codes:
        where = ", ".join(_LOCKED_SCOPES.findall(text)) or "what stands above it"
        return f"A lock on {where} forbids it: have it removed (`az lock list`, `az lock delete`), and run again."
    if _CAPACITY.search(text):
        return (
            "The region has no such machine free at the moment, whatever the quota: try again later, or choose another "
            "VM size or another region's workspace."
        )
    return otherwise


def policies(error: BaseException) -> list[str]:
    """Names of the policies that refused: assignment and definition, as far as the service names them."""
    document = error_document(error)
    names: list[str] = []
    for each in _documents(document):
        for info in each.get("additionalInfo") or []:
            if isinstance(info, Mapping) and str(info.get("type")).lower() == "policyviolation":
                names.append(_policy_of_info(info.get("info") or {}))
        for found in _IDENTIFIERS.findall(str(each.get("message") or "")):
            names += _policies_of_text(found)
    return list(dict.fromkeys(name for name in names if name))


def is_locked(error: BaseException) -> bool:
    """Whether a lock forbids it, which no waiting ends."""
    return LOCKED in error_codes(error)


def is_name_held(error: BaseException) -> bool:
    """Whether a new endpoint was refused because of one of this name that is on its way out, or is somebody else's.

    The service answers 400 or 404 out of its inferencing service for a while after a deletion
    (https://github.com/Azure/azure-cli-extensions/issues/7660, https://github.com/Azure/azureml-examples/pull/1930).
    """
    return isinstance(error, HttpResponseError) and error.status_code in (400, 404) and _NAME_HELD in error_codes(error)


def _policy_of_info(info: Mapping[str, Any]) -> str:
    assignment = info.get("policyAssignmentDisplayName") or info.get("policyAssignmentName")
    return _named(assignment, info.get("policyDefinitionDisplayName") or info.get("policyDefinitionName"))


def _policies_of_text(text: str) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [
        _named((each.get("policyAssignment") or {}).get("name"), (each.get("policyDefinition") or {}).get("name"))
        for each in found
        if isinstance(each, Mapping)
    ]


def _named(assignment: Any, definition: Any) -> str:
    if assignment and definition and assignment != definition:
        return f"{assignment!r}, an assignment of {definition!r}"
    return repr(str(assignment or definition)) if assignment or definition else ""


def _documents(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if document:
        yield document
    for detail in document.get("details") or []:
        if isinstance(detail, Mapping):
            yield from _documents(detail)


def _text(error: BaseException) -> str:
    # The rest of a message may be a container's log, in which any word may stand.
    message = str(error_document(error).get("message") or error)
    return " ".join([*error_codes(error), *message.strip().splitlines()[:1]])
