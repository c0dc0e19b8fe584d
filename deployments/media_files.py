"""Where pictures and videos of conversations are kept between turns, by id."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class StoredMedium(NamedTuple):
    """A kept file: its bytes and their media type."""

    data: bytes
    mime: str


class MediaSource(Protocol):
    """Has files of owners; what one owner keeps, another cannot see."""

    async def read(self, owner: str, file_id: str) -> StoredMedium | None:
        """Return a file of this owner; None if there is none of that id."""
        ...


class MediaFiles(MediaSource, Protocol):
    """Keeps files as well."""

    async def save(self, owner: str, data: bytes, mime: str, name: str) -> str:
        """Keep a file under a suggested name and return its id."""
        ...
