"""What a job is, and what can go wrong in keeping one. Knows no database and no storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from vitron.types import Module


class JobState(StrEnum):
    """Where a job is; the last three are final."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobKind(StrEnum):
    """What a job makes."""

    GENERATION = "generation"
    ANIMATION = "animation"
    EDIT = "edit"
    SEGMENTATION = "segmentation"


MODULES: dict[JobKind, Module] = {
    JobKind.GENERATION: Module.VIDEO_GENERATION,
    JobKind.ANIMATION: Module.VIDEO_GENERATION,
    JobKind.EDIT: Module.VIDEO_EDITING,
    JobKind.SEGMENTATION: Module.VIDEO_SEGMENTATION,
}
"""What a job of each kind is done by, whatever else its prompt may sound like."""


class Problem(NamedTuple):
    """Why a job failed: a stable name for programs and a sentence for people."""

    code: str
    message: str


class Lease(NamedTuple):
    """The right to work on a job. `token` rises with every lease: an older one can change nothing any more."""

    job_id: str
    token: int


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job to be accepted.

    Attributes:
        id: its name, unguessable.
        owner: whose it is; nobody else sees it.
        kind: what it makes.
        request: everything the work needs, as JSON.
        idempotency_key: the client's name for this request; a second one of that name is the same job.
        fingerprint: of the request, to tell a repeated request from another one with the same key.
    """

    id: str
    owner: str
    kind: JobKind
    request: Mapping[str, Any]
    idempotency_key: str | None = None
    fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as it is kept; times are Unix seconds by the database's clock.

    Attributes:
        id, owner, kind, request, fingerprint: as in `NewJob`.
        state: where it is.
        progress: percent, never falling; 100 when, and only when, it is completed.
        token: number of its latest lease; 0 before the first.
        failures: attempts that were lost.
        result: artifacts and facts of a completed job, as JSON.
        problem: of a failed job.
        created_at, started_at, finished_at: of the job.
        expires_at: when it and its media are removed; None while it is not final.
    """

    id: str
    owner: str
    kind: JobKind
    request: Mapping[str, Any]
    state: JobState
    progress: int
    token: int
    failures: int
    created_at: float
    fingerprint: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    problem: Problem | None = None
    started_at: float | None = None
    finished_at: float | None = None
    expires_at: float | None = None

    @property
    def lease(self) -> Lease:
        """The latest lease."""
        return Lease(self.id, self.token)


class Page(NamedTuple):
    """Some of an owner's jobs, and whether there are more behind them."""

    jobs: list[Job]
    has_more: bool


class StorageError(Exception):
    """Something could not be kept or read; nothing that was accepted is lost."""


class StorageUnavailableError(StorageError):
    """The database or the storage cannot be reached now; later it may be."""


class StorageFullError(StorageError):
    """There is no room."""


class IdempotencyError(StorageError):
    """A key was used again for another request."""


class TooManyJobsError(StorageError):
    """An owner has as many unfinished jobs as it may have."""

    def __init__(self, allowed: int) -> None:
        """Keep the limit."""
        super().__init__(f"{allowed} jobs are unfinished already, which is the most for one key")
        self.allowed = allowed
