"""What a run worker imports, for a process to have done it before workers are forked from it.

Most of it is imported by whoever needs it first, somewhere in a run. A module that is missing here costs every worker
its import again and changes nothing else.
"""

import sys

import alembic.command
import azure.identity
import dagster._cli
import dagster._core.storage.event_log.sqlite
import dagster._core.storage.local_compute_log_manager
import dagster._core.storage.root
import dagster._core.storage.runs.sqlite
import dagster._core.storage.schedules.sqlite
import dagster._grpc.server
import matplotlib.backends.backend_agg
import matplotlib.figure
import sacrebleu
import scipy.stats
import tokenizers

import phi_assets.definitions
from phi_assets.azureml.connection.client import sdk

__all__ = ["alembic", "azure", "dagster", "matplotlib", "phi_assets", "sacrebleu", "scipy", "tokenizers"]

sdk()

# Is made anew in each worker, with the recipe and the settings as they are by then.
del sys.modules["phi_assets.definitions"]
