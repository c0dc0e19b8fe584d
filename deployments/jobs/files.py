"""Files by id: what clients upload, and what conversations made. Bytes are artifacts, the rest is in the database."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, fields
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from deployments.jobs.artifacts import Artifacts
from deployments.jobs.database import FILES, Database, is_id, page
from deployments.jobs.model import StorageError

_F = FILES.c
MAX_NAME_CHARS = 255
PRODUCED = "assistants_output"
"""Purpose of files that a conversation made; uploads have others."""


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file without its bytes; times are Unix seconds.

    Attributes:
        id: its name, unguessable.
        owner: whose it is; nobody else sees it.
        name: what its owner calls it, for people only.
        mime: its media type, as this server recognised it.
        num_bytes: its size.
        purpose: one of OpenAI's words.
        created_at, expires_at: its time.
    """

    id: str
    owner: str
    name: str
    mime: str
    num_bytes: int
    purpose: str
    created_at: float
    expires_at: float | None

    @property
    def key(self) -> str:
        """Where its bytes are among the artifacts."""
        return f"files/{self.id}"


class FilePage(NamedTuple):
    """Some of an owner's files, and whether there are more behind them."""

    files: list[StoredFile]
    has_more: bool


class FileStore:
    """The files of one database and its artifacts; methods block, and raise `StorageError` as those do."""

    def __init__(self, database: Database, artifacts: Artifacts) -> None:
        """Keep both."""
        self._db = database
        self._artifacts = artifacts

    def save(self, owner: str, data: bytes, mime: str, name: str, *, purpose: str, ttl_s: float | None) -> StoredFile:
        """Keep a file for `ttl_s` seconds; None: until it is deleted."""
        values = {
            "id": f"file-{uuid.uuid4().hex}",
            "owner": owner,
            "name": name[:MAX_NAME_CHARS],
            "mime": mime,
            "num_bytes": len(data),
            "purpose": purpose,
            "created_at": self._db.now,
            "expires_at": None if ttl_s is None else self._db.now + ttl_s,
        }
        # Bytes first: a row always has its bytes. Bytes without a row are left behind by a crash here alone.
        key = f"files/{values['id']}"
        self._artifacts.put(key, data)
        try:
            with self._db.write() as connection:
                row = connection.execute(sa.insert(FILES).values(values).returning(FILES)).mappings().one()
        except StorageError:
            self._artifacts.remove(key)
            raise
        return _file(row)

    def find(self, owner: str, file_id: str) -> StoredFile | None:
        """Return a file of this owner; None if there is none of that id."""
        if not is_id(file_id):
            return None
        with self._db.read() as connection:
            asked = sa.select(FILES).where(self._seen(owner), _F.id == file_id)
            row = connection.execute(asked).mappings().one_or_none()
        return None if row is None else _file(row)

    def read(self, owner: str, file_id: str) -> tuple[StoredFile, bytes] | None:
        """Return a file and its bytes."""
        found = self.find(owner, file_id)
        data = None if found is None else self._artifacts.get(found.key)
        return None if found is None or data is None else (found, data)

    def list(self, owner: str, *, after: str | None = None, limit: int = 100, newest_first: bool = True) -> FilePage:
        """Return files of this owner in the order of their arrival, those behind the file `after` if it is given."""
        with self._db.read() as connection:
            found = page(
                connection, FILES, owner, self._seen(owner), after=after, limit=limit, newest_first=newest_first
            )
        return FilePage([_file(row) for row in found.rows], found.has_more)

    def count(self, owner: str) -> int:
        """Return how many files an owner has uploaded."""
        uploaded = sa.select(sa.func.count()).where(self._seen(owner), _F.purpose != PRODUCED)
        with self._db.read() as connection:
            return connection.execute(uploaded).scalar_one()

    def delete(self, owner: str, file_id: str) -> bool:
        """Remove a file; False if the owner has none of that id."""
        if not is_id(file_id):
            return False
        with self._db.write() as connection:
            done = connection.execute(sa.delete(FILES).where(_F.owner == owner, _F.id == file_id)).rowcount == 1
        if done:
            self._artifacts.remove(f"files/{file_id}")
        return done

    def remove_expired(self, limit: int = 100) -> int:
        """Remove files whose time is over; return how many."""
        with self._db.read() as connection:
            asked = sa.select(_F.id, _F.owner).where(_F.expires_at < self._db.now).limit(limit)
            gone = connection.execute(asked).all()
        return sum(self.delete(owner, file_id) for file_id, owner in gone)

    def _seen(self, owner: str) -> sa.ColumnElement[bool]:
        alive = sa.or_(_F.expires_at.is_(None), _F.expires_at > self._db.now)
        return sa.and_(_F.owner == owner, alive)


def _file(row: RowMapping) -> StoredFile:
    return StoredFile(**{field.name: row[field.name] for field in fields(StoredFile)})
