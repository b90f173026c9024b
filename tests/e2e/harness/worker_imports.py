"""What a run worker imports, for a process to have done it before workers are forked from it.

Most of it is imported by whoever needs it first, somewhere in a run. A module that is missing here costs every worker
its import again and changes nothing else.
"""

import gc
import sys
from importlib import import_module
from tempfile import TemporaryDirectory

import alembic.command
import azure.identity
import dagster as dg
import dagster._cli
import dagster._core.definitions.antlr_asset_selection.antlr_asset_selection
import dagster._core.instance.factory
import dagster._core.storage.event_log.sqlite
import dagster._core.storage.local_compute_log_manager
import dagster._core.storage.root
import dagster._core.storage.runs.sqlite
import dagster._core.storage.schedules.sqlite
import dagster._core.storage.sqlite_storage
import dagster._grpc.server
import httpcore
import matplotlib.backends.backend_agg
import matplotlib.figure
import pandas
import sacrebleu
import scipy.stats
import sqlalchemy.dialects.sqlite
import tokenizers

import phi_assets.definitions
from phi_assets.azureml.connection.client import sdk
from phi_assets.dataset.contract import words
from tests import quick_runs

__all__ = [
    "alembic",
    "azure",
    "dagster",
    "httpcore",
    "matplotlib",
    "pandas",
    "phi_assets",
    "sacrebleu",
    "scipy",
    "sqlalchemy",
    "tokenizers",
]

quick_runs.use()
sdk()
quick_runs.use_sdk()
quick_runs.validate_a_job()
import_module("azure.ai.ml.dsl._component_func")
# What each character counts as is looked up once in a process.
words._folded()


@dg.asset
def made() -> None:
    """Something."""


@dg.asset_check(asset=made)
def is_made() -> dg.AssetCheckResult:
    """It is."""
    return dg.AssetCheckResult(passed=True)


# Dagster itself prepares much at its first run: statements, migrations, the classes of its events.
with TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder) as instance:
    dg.materialize([made, is_made], instance=instance)

# Is made anew in each worker, with the recipe and the settings as they are by then.
del sys.modules["phi_assets.definitions"]

# Or each worker would look at, and so copy, all that it has inherited.
gc.collect()
gc.freeze()
