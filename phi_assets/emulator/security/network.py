"""What the workspace's managed virtual network lets out."""

from typing import Literal

NetworkIsolation = Literal["Disabled", "AllowInternetOutbound", "AllowOnlyApprovedOutbound"]
"""`Disabled`: there is no such network."""
