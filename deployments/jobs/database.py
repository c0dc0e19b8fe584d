"""The database of jobs and files: SQLite or PostgreSQL, its tables, its clock, and its errors in our words.

Rows are numbered in the order of their arrival: clocks are too coarse for that. Every write is one short transaction.
SQLite runs in write-ahead mode and syncs each commit, so what was accepted survives the loss of power; several
processes of one machine may share the file.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, RowMapping, make_url

from deployments.jobs.model import StorageFullError, StorageUnavailableError

metadata = sa.MetaData()
_JSON = sa.JSON(none_as_null=True)
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # only this type counts up by itself there
JOBS = sa.Table(
    "jobs",
    metadata,
    sa.Column("number", _NUMBER, primary_key=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("progress", sa.Integer, nullable=False, default=0),
    sa.Column("token", sa.Integer, nullable=False, default=0),
    sa.Column("failures", sa.Integer, nullable=False, default=0),
    sa.Column("request", _JSON, nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("idempotency_key", sa.String(255)),
    sa.Column("result", _JSON),
    sa.Column("problem", _JSON),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("available_at", sa.Double, nullable=False),
    sa.Column("lease_until", sa.Double),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    sa.Column("expires_at", sa.Double),
    sa.Column("deleted_at", sa.Double),
    sa.UniqueConstraint("owner", "idempotency_key", name="jobs_idempotency"),
    sa.Index("jobs_queue", "state", "available_at"),
    sa.Index("jobs_of_owner", "owner", "number"),
)
FILES = sa.Table(
    "files",
    metadata,
    sa.Column("number", _NUMBER, primary_key=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("mime", sa.String(64), nullable=False),
    sa.Column("num_bytes", sa.BigInteger, nullable=False),
    sa.Column("purpose", sa.String(32), nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double),
    sa.Index("files_of_owner", "owner", "number"),
)
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CLOCKS = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "extract(epoch from clock_timestamp())",
}
_FULL_WORDS = ("database or disk is full", "no space left", "could not extend", "disk full", "disk quota")


class Database:
    """Connections to one database, and transactions on it; used from any thread."""

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        """Prepare connections; none is opened before it is needed.

        Args:
            url: `sqlite:////folder/file.db`, or `postgresql://user:password@host/name`.
            timeout_s: how long to wait for a connection, in SQLite for another writer, in PostgreSQL for a statement.

        Raises:
            ValueError: neither of the two kinds.
        """
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        kind = parsed.get_backend_name()
        if kind not in _CLOCKS:
            raise ValueError(f"database: got a URL of {kind!r}, expected sqlite or postgresql+psycopg")
        self.now: sa.ColumnElement[float] = sa.cast(sa.text(_CLOCKS[kind]), sa.Double)
        """The database's clock, in Unix seconds: all processes go by the same one."""
        self._file = Path(parsed.database or "") if kind == "sqlite" else None
        if self._file is not None:
            self._engine = sa.create_engine(parsed, connect_args={"timeout": timeout_s})
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
        else:
            milliseconds = round(1000 * timeout_s)
            # The first for a server that cannot be reached, the others for one that no longer answers.
            connect = {
                "connect_timeout": max(1, round(timeout_s)),
                "tcp_user_timeout": milliseconds,
                "options": f"-c statement_timeout={milliseconds}",
            }
            self._engine = sa.create_engine(
                parsed, pool_pre_ping=True, pool_timeout=timeout_s, max_overflow=20, connect_args=connect
            )
        self._ready = False

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine."""
        return self._engine

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is committed at the end, or rolled back if an exception leaves it.

        Raises:
            StorageUnavailableError: the database cannot be reached, or is locked for too long.
            StorageFullError: it has no room.
        """
        with self._translated():
            self._make_tables()
            with self._engine.connect() as connection:
                connection = connection.execution_options(writes=True)
                with connection.begin():
                    yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads; raises as `write`."""
        with self._translated():
            self._make_tables()
            with self._engine.connect() as connection, connection.begin():
                yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _make_tables(self) -> None:
        if self._ready:
            return
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        # Looking first: to make what is there already would wait for other writers.
        with self._engine.connect() as connection:
            there = sa.inspect(connection)
            if all(there.has_table(table) for table in metadata.tables):
                _check_columns(there)
                self._ready = True
                return
        try:
            with self._engine.connect() as connection:
                connection = connection.execution_options(writes=True)
                with connection.begin():
                    metadata.create_all(connection)
        except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
            # PostgreSQL: another process made the same table at the same moment, which "if not exists" does not cover.
            with self._engine.connect() as connection, connection.begin():
                metadata.create_all(connection)
        self._ready = True

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.IntegrityError:
            raise
        except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
            if any(word in str(error).lower() for word in _FULL_WORDS):
                raise StorageFullError("the job database has no room left") from error
            raise StorageUnavailableError("the job database cannot be reached") from error
        except OSError as error:
            raise from_os(error) from error


def is_id(text: str) -> bool:
    """Tell whether a row can have this id: what clients send goes no further otherwise."""
    return _ID.fullmatch(text) is not None


class Rows(NamedTuple):
    """Some rows of an owner, and whether there are more behind them."""

    rows: Sequence[RowMapping]
    has_more: bool


def page(
    connection: Connection,
    table: sa.Table,
    owner: str,
    seen: sa.ColumnElement[bool],
    *,
    after: str | None,
    limit: int,
    newest_first: bool,
) -> Rows:
    """Return rows in the order of their arrival.

    Args:
        connection: of a transaction.
        table: `JOBS` or `FILES`.
        owner: whose.
        seen: which of them.
        after: id of a row of this owner; those behind it are returned. None: from the first on.
        limit: how many at most.
        newest_first: the last to arrive comes first.
    """
    number = table.c.number
    asked = sa.select(table).where(table.c.owner == owner, seen)
    if after is not None:
        mark = sa.select(number).where(table.c.owner == owner, table.c.id == after)
        place = connection.execute(mark).scalar_one_or_none() if is_id(after) else None
        if place is None:
            return Rows([], False)
        asked = asked.where(number < place if newest_first else number > place)
    asked = asked.order_by(number.desc() if newest_first else number).limit(limit + 1)
    rows = connection.execute(asked).mappings().all()
    return Rows(rows[:limit], len(rows) > limit)


def _check_columns(there: sa.Inspector) -> None:
    """Refuse a database that an earlier version made: what it holds stays as it is."""
    for name, table in metadata.tables.items():
        lacking = set(table.columns.keys()) - {column["name"] for column in there.get_columns(name)}
        if lacking:
            raise StorageUnavailableError(
                f"the job database is of an earlier version (table {name} has no {', '.join(sorted(lacking))}): "
                f"move it away, or name another one in storage.database"
            )


def from_os(error: OSError) -> StorageFullError | StorageUnavailableError:
    """Translate what a file system or a network reports."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageFullError("the storage has no room left")
    return StorageUnavailableError("the storage cannot be reached")


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # Python's own handling of transactions starts them too late; `_begin_sqlite` does it.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that first reads and then writes could fail half-way: writers take the lock at once.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
