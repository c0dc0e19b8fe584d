"""Media on a file system or an object store, by key; where that is, an fsspec URL says.

A key appears whole or not at all, and is never written twice with other bytes, so a reader needs no lock.
"""

from __future__ import annotations

import os
import posixpath
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from deployments.jobs.database import from_os
from deployments.jobs.model import StorageError, StorageUnavailableError

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class Artifacts:
    """Bytes by key below one URL; methods block, and raise `StorageError` when the storage does not work."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        """Keep the place; nothing is opened before it is needed.

        Args:
            url: a folder, or an fsspec URL such as `s3://bucket/prefix`.
            options: of the file system, such as `{"endpoint_url": "http://minio:9000"}` for S3.
        """
        self._url = url
        self._options = dict(options or {})
        self._opened: tuple[fsspec.AbstractFileSystem, str] | None = None

    def put(self, key: str, data: bytes) -> None:
        """Keep `data` under `key`."""
        with _translated():
            fs, path = self._place(key)
            if not self._is_local:
                fs.pipe_file(path, data)  # object stores show an object once it is complete
                return
            fs.makedirs(posixpath.dirname(path), exist_ok=True)
            part = f"{path}.{uuid.uuid4().hex}.part"
            try:
                with open(part, "xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(part, path)
            except OSError:
                if os.path.exists(part):
                    os.remove(part)
                raise

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes | None:
        """Return the bytes under `key` from `start` up to `end`; None if there are none."""
        with _translated():
            fs, path = self._place(key)
            try:
                found: bytes = fs.cat_file(path, start=start or None, end=end)
            except FileNotFoundError:
                return None
            return found

    def remove(self, key: str) -> None:
        """Remove `key` and everything below it; what is not there is no error."""
        with _translated():
            fs, path = self._place(key)
            fs.invalidate_cache()
            try:
                fs.rm(path, recursive=True)
            except FileNotFoundError:
                return

    @property
    def _is_local(self) -> bool:
        assert self._opened is not None
        return "file" in _names(self._opened[0])

    def _place(self, key: str) -> tuple[fsspec.AbstractFileSystem, str]:
        if not _KEY.fullmatch(key):
            raise ValueError(f"key: got {key!r}, expected names of letters, digits, '.', '_' and '-' between slashes")
        if self._opened is None:
            fs, root = url_to_fs(self._url, **self._options)
            self._opened = fs, str(root)
        fs, root = self._opened
        return fs, posixpath.join(root, key)


def _names(fs: fsspec.AbstractFileSystem) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (StorageError, ValueError, ImportError):
        raise
    except OSError as error:
        raise from_os(error) from error
    # Libraries of object stores raise errors of their own for a network that is down.
    except Exception as error:
        raise StorageUnavailableError("the storage cannot be reached") from error
