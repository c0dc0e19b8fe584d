"""All that is kept outside replicas, opened once per process: jobs, files and artifacts, for asyncio code.

Blocking work runs in threads of its own: a database that does not answer must not take those that decode media.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from deployments.args import StorageArgs
from deployments.jobs.artifacts import Artifacts
from deployments.jobs.database import Database
from deployments.jobs.files import PRODUCED, FileStore
from deployments.jobs.model import JobState
from deployments.jobs.store import JobStore
from deployments.media_files import StoredMedium

P = ParamSpec("P")
T = TypeVar("T")
_THREADS = 16


class Storage:
    """One process's way to jobs, files and artifacts."""

    def __init__(self, args: StorageArgs) -> None:
        """Prepare everything; nothing is opened before it is needed."""
        self.args = args
        self.database = Database(args.database_url, timeout_s=args.timeout_s)
        self.artifacts = Artifacts(args.artifacts_url, args.artifacts_options)
        self.jobs = JobStore(
            self.database, ttl_s=args.ttl_s, max_failures=args.max_failures, max_unfinished=args.max_unfinished_jobs
        )
        self.files = FileStore(self.database, self.artifacts)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="storage")

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking method of `jobs`, `files` or `artifacts` in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(wait=False)
        self.database.close()


class DurableFiles:
    """`MediaFiles` over a `Storage`: what conversations make, uploads, and the videos of completed jobs, by id."""

    def __init__(self, storage: Storage) -> None:
        """Keep the storage."""
        self._storage = storage

    async def save(self, owner: str, data: bytes, mime: str, name: str) -> str:
        """See `MediaFiles`."""
        storage = self._storage
        kept = await storage.call(
            storage.files.save, owner, data, mime, name, purpose=PRODUCED, ttl_s=storage.args.ttl_s
        )
        return kept.id

    async def read(self, owner: str, file_id: str) -> StoredMedium | None:
        """See `MediaFiles`."""
        return await self._storage.call(self._read, owner, file_id)

    def _read(self, owner: str, file_id: str) -> StoredMedium | None:
        found = self._storage.files.read(owner, file_id)
        if found is not None:
            return StoredMedium(found[1], found[0].mime)
        job = self._storage.jobs.get(owner, file_id)
        if job is None or job.state is not JobState.COMPLETED:
            return None
        made = job.result["artifacts"]["video"]
        data = self._storage.artifacts.get(made["key"])
        return None if data is None else StoredMedium(data, made["mime"])
