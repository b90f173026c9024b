"""How the workspace's datastores are opened."""

from typing import Literal

StorageAuth = Literal["keys", "sas", "identity", "keys_refused"]
"""With the account's key (of a new workspace), a signature made with it, or the caller's own identity.

`keys_refused`: the workspace hands out the key, and the account, whose keys are disabled, refuses it.
"""
