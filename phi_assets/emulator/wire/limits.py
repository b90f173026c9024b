"""What the service refuses by a published rule; the answer names the field."""

from typing import Any

from phi_assets.config.limits import RESOURCE_TAGS, Rule
from phi_assets.emulator.wire.errors import ServiceError, user_error


def require(rule: Rule, field: str, value: Any) -> None:
    """Raises ServiceError 400 for a value that the rule does not take."""
    if (problem := rule.problem(value)) is not None:
        raise user_error(f"'{field}' is not valid: {problem}.", "BadArgument/ArgumentInvalid")


def require_resource_tags(tags: Any) -> None:
    """Raises ServiceError 400 for tags that Azure Resource Manager refuses on tracked resources."""
    if tags is None or (problem := RESOURCE_TAGS.problem(tags)) is None:
        return
    if isinstance(tags, dict) and any(RESOURCE_TAGS.has_reserved(str(name)) for name in tags):
        raise ServiceError(400, "InvalidTagNameCharacters", f"'tags' is not valid: {problem}.")
    raise user_error(f"'tags' is not valid: {problem}.", "BadArgument/ArgumentInvalid")
