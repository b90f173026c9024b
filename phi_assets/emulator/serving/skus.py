"""Virtual machines that online deployments can run on."""

from typing import Any

from phi_assets.emulator.serving.rules import bad_argument
from phi_assets.emulator.vm_sizes import VM_SIZES


def check_instance_type(instance_type: Any) -> None:
    """Raises ServiceError: 400 for a size that the region does not offer; the service ignores the case of names."""
    if not isinstance(instance_type, str) or instance_type.lower() not in VM_SIZES:
        raise bad_argument(
            f"The instance type {instance_type!r} is not known or not offered in this region. Choose one of "
            f"{', '.join(size.name for size in VM_SIZES.values())}."
        )
