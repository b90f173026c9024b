"""What to do where the workspace's storage account refuses: keys may be disabled, or a role missing."""

_ROLE = "give this identity the role Storage Blob Data Contributor on the storage account"

# https://learn.microsoft.com/azure/machine-learning/how-to-disable-local-auth-storage
_ADVICE = {
    "KeyBasedAuthenticationNotPermitted": (
        "The storage account takes no keys, and the workspace still hands them out. Let it open its datastores by "
        f"identity (az ml workspace update --system-datastores-auth-mode identity), {_ROLE}, and run again."
    ),
    "AuthorizationPermissionMismatch": (
        f"The datastore is opened by identity: {_ROLE}, wait some minutes, and run again."
    ),
    "AuthenticationFailed": (
        "Storage does not accept the key's signature. Either this machine's clock is more than 15 minutes off, or the "
        "account has got another key that the workspace does not know (az ml workspace sync-keys)."
    ),
    "AuthorizationFailure": (
        f"Either the storage account's network rules keep this machine out, or a role is missing: {_ROLE}."
    ),
}


def storage_advice(error: BaseException) -> str:
    """The next step, in sentences; empty where the error is not a refusal of storage."""
    seen: BaseException | None = error
    while seen is not None:
        text = f"{getattr(seen, 'error_code', '')} {seen}"
        for code, advice in _ADVICE.items():
            if code in text:
                return advice
        seen = seen.__cause__ or seen.__context__
    return ""
