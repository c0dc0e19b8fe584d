"""Databases for the tests of jobs: SQLite always, a real PostgreSQL where its programs are installed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from deployments.jobs.database import Database
from deployments.jobs.model import JobKind, NewJob
from deployments.jobs.store import JobStore
from tests.postgres import Postgres, missing_postgres, running_postgres

TTL_S = 1000.0


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL."""
    reason = missing_postgres()
    if reason is not None:
        pytest.skip(reason)
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        made = Database(f"sqlite:///{tmp_path}/jobs.db")
    else:
        server: Postgres = request.getfixturevalue("postgres")
        made = Database(server.url)
        with made.write() as connection:
            for table in ("jobs", "files"):
                connection.execute(sa.text(f"TRUNCATE {table}"))
    yield made
    made.close()


def store_of(database: Database, *, max_failures: int = 2, max_unfinished: int = 100) -> JobStore:
    return JobStore(database, ttl_s=TTL_S, max_failures=max_failures, max_unfinished=max_unfinished)


@pytest.fixture
def store(database: Database) -> JobStore:
    return store_of(database)


def new_job(owner: str = "ann", **fields: object) -> NewJob:
    values = {"id": f"video_{uuid.uuid4().hex}", "owner": owner, "kind": JobKind.EDIT, "request": {"a": 1}, **fields}
    return NewJob(**values)  # type: ignore[arg-type]
