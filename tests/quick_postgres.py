"""Dagster's connections to PostgreSQL, which a process keeps.

Dagster's processes, but for the webserver, connect anew for each statement: the server forks for it, and both ends
compute a password. What a killed process has not committed is gone all the same.
"""

from functools import cache
from typing import Any

import sqlalchemy
from dagster_postgres import utils
from sqlalchemy.pool import NullPool, QueuePool


def use() -> None:
    """From now on this process, which forks no other one, connects so."""
    dagsters: Any = utils
    dagsters.create_engine = _engine


def _engine(url: str, **options: Any) -> sqlalchemy.Engine:
    return (_kept if options.get("poolclass") is NullPool else sqlalchemy.create_engine)(url, **options)


@cache
def _kept(url: str, **options: Any) -> sqlalchemy.Engine:
    kept = {"poolclass": QueuePool, "pool_size": 2, "max_overflow": -1}
    return sqlalchemy.create_engine(url, **options | kept)
