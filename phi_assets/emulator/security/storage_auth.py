"""How the workspace's datastores are opened."""

from typing import Literal

StorageAuth = Literal["keys", "identity", "keys_refused"]
