"""Jobs in the database: accepted once, leased to one worker at a time, finished once.

A worker holds a lease and renews it by beating. When it dies, the lease runs out and the job is leased again, with a
higher token; with its old token a worker that only seemed dead can change nothing. So work is done at least once, and
takes effect once. Every change of a job is a single statement that says what it expects to find.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from deployments.jobs.database import JOBS, Database, is_id, page
from deployments.jobs.model import (
    IdempotencyError,
    Job,
    JobKind,
    JobState,
    Lease,
    NewJob,
    Page,
    Problem,
    TooManyJobsError,
)

WORKER_LOST = "worker_lost"
MAX_UNFINISHED_PROGRESS = 99
"""Percent shown at most before the result is stored."""
_J = JOBS.c
_UNFINISHED = (JobState.QUEUED.value, JobState.IN_PROGRESS.value)


class JobStore:
    """The jobs of one database; methods block, and raise `StorageError` when the database does not work."""

    def __init__(self, database: Database, *, ttl_s: float, max_failures: int, max_unfinished: int) -> None:
        """Keep the settings.

        Args:
            database: where the jobs are.
            ttl_s: how long a job stays after its end.
            max_failures: attempts that may be lost before the job has failed.
            max_unfinished: jobs that one owner may have queued or running.
        """
        self._db = database
        self._ttl_s = ttl_s
        self._max_failures = max_failures
        self._max_unfinished = max_unfinished

    def create(self, new: NewJob) -> tuple[Job, bool]:
        """Accept a job; return it, and whether it is new. With a key that was used before, it is the job of then.

        Raises:
            IdempotencyError: the key was used for another request.
            TooManyJobsError: the owner has too many unfinished jobs.
        """
        try:
            with self._db.write() as connection:
                earlier = self._of_key(connection, new.owner, new.idempotency_key, new.fingerprint)
                if earlier is not None:
                    return earlier, False
                self._check_count(connection, new.owner)
                row = connection.execute(sa.insert(JOBS).values(self._values(new)).returning(JOBS)).mappings().one()
                return _job(row), True
        except sa.exc.IntegrityError:
            # The same key at the same moment in another process, which was faster.
            with self._db.read() as connection:
                earlier = self._of_key(connection, new.owner, new.idempotency_key, new.fingerprint)
            if earlier is None:
                raise
            return earlier, False

    def find_key(self, owner: str, key: str, fingerprint: str) -> Job | None:
        """Return the job accepted under an idempotency key; raises as `create`."""
        with self._db.read() as connection:
            return self._of_key(connection, owner, key, fingerprint)

    def _values(self, new: NewJob) -> dict[str, Any]:
        return {
            "id": new.id,
            "owner": new.owner,
            "kind": new.kind.value,
            "state": JobState.QUEUED.value,
            "request": dict(new.request),
            "fingerprint": new.fingerprint,
            "idempotency_key": new.idempotency_key,
            "created_at": self._db.now,
            "available_at": self._db.now,
        }

    def _of_key(self, connection: Connection, owner: str, key: str | None, fingerprint: str) -> Job | None:
        if key is None:
            return None
        asked = sa.select(JOBS).where(_J.owner == owner, _J.idempotency_key == key)
        row = connection.execute(asked).mappings().one_or_none()
        if row is None:
            return None
        if row["fingerprint"] != fingerprint:
            raise IdempotencyError("this idempotency key was used for another request")
        return _job(row)

    def _check_count(self, connection: Connection, owner: str) -> None:
        count = sa.select(sa.func.count()).where(_J.owner == owner, _J.state.in_(_UNFINISHED), _J.deleted_at.is_(None))
        if connection.execute(count).scalar_one() >= self._max_unfinished:
            raise TooManyJobsError(self._max_unfinished)

    def get(self, owner: str, job_id: str) -> Job | None:
        """Return a job of this owner; None if there is none of that id."""
        if not is_id(job_id):
            return None
        with self._db.read() as connection:
            row = connection.execute(sa.select(JOBS).where(self._seen(owner), _J.id == job_id)).mappings().one_or_none()
        return None if row is None else _job(row)

    def list(self, owner: str, *, after: str | None = None, limit: int = 20, newest_first: bool = True) -> Page:
        """Return jobs of this owner in the order of their arrival, those behind the job `after` if it is given."""
        with self._db.read() as connection:
            found = page(
                connection, JOBS, owner, self._seen(owner), after=after, limit=limit, newest_first=newest_first
            )
        return Page([_job(row) for row in found.rows], found.has_more)

    def _seen(self, owner: str) -> sa.ColumnElement[bool]:
        alive = sa.or_(_J.expires_at.is_(None), _J.expires_at > self._db.now)
        return sa.and_(_J.owner == owner, _J.deleted_at.is_(None), alive)

    def delete(self, owner: str, job_id: str) -> bool:
        """Remove a job from sight, which also ends its work; False if the owner never had it. May be repeated."""
        if not is_id(job_id):
            return False
        state = sa.case((_J.state.in_(_UNFINISHED), JobState.CANCELLED.value), else_=_J.state)
        with self._db.write() as connection:
            done = connection.execute(
                sa.update(JOBS)
                .where(_J.owner == owner, _J.id == job_id)
                .values(
                    state=state,
                    deleted_at=sa.func.coalesce(_J.deleted_at, self._db.now),
                    finished_at=sa.func.coalesce(_J.finished_at, self._db.now),
                    idempotency_key=None,
                )
            )
            return done.rowcount == 1

    def lease(self, seconds: float) -> Job | None:
        """Take the next job that waits, or whose worker has not been heard of; None if there is none.

        The lease lasts `seconds` unless it is renewed. A job that has lost too many workers fails here.
        """
        now = self._db.now
        lost = sa.and_(_J.state == JobState.IN_PROGRESS.value, _J.lease_until < now)
        waits = sa.and_(_J.state == JobState.QUEUED.value, _J.available_at <= now)
        with self._db.write() as connection:
            self._give_up(connection, lost)
            # PostgreSQL's workers pass over a row that another one is taking; SQLite has one writer at a time.
            chosen = sa.select(_J.id).where(sa.or_(waits, lost)).order_by(_J.number).limit(1)
            chosen = chosen.with_for_update(skip_locked=True)
            row = (
                connection.execute(
                    sa.update(JOBS)
                    .where(_J.id == chosen.scalar_subquery())
                    .values(
                        failures=_J.failures + sa.case((_J.state == JobState.IN_PROGRESS.value, 1), else_=0),
                        state=JobState.IN_PROGRESS.value,
                        token=_J.token + 1,
                        lease_until=now + seconds,
                        started_at=sa.func.coalesce(_J.started_at, now),
                    )
                    .returning(JOBS)
                )
                .mappings()
                .one_or_none()
            )
        return None if row is None else _job(row)

    def _give_up(self, connection: Connection, lost: sa.ColumnElement[bool]) -> None:
        problem = Problem(WORKER_LOST, f"the work was interrupted {self._max_failures + 1} times")
        connection.execute(
            sa.update(JOBS).where(lost, _J.failures >= self._max_failures).values(self._end(JobState.FAILED, problem))
        )

    def beat(self, lease: Lease, seconds: float, progress: int) -> bool:
        """Renew a lease and tell progress, which can only rise; False once the lease is void: stop working."""
        shown = min(progress, MAX_UNFINISHED_PROGRESS)
        values = {
            "lease_until": self._db.now + seconds,
            "progress": sa.case((_J.progress < shown, shown), else_=_J.progress),
        }
        return self._change(lease, values)

    def complete(self, lease: Lease, result: Mapping[str, Any]) -> bool:
        """End a job with its result; False if the lease is void, and then nothing is changed."""
        return self._change(lease, {**self._end(JobState.COMPLETED, None), "result": dict(result), "progress": 100})

    def fail(self, lease: Lease, problem: Problem) -> bool:
        """End a job that cannot be done; as `complete`."""
        return self._change(lease, self._end(JobState.FAILED, problem))

    def release(self, lease: Lease, *, delay_s: float, failed: Problem | None) -> bool:
        """Give a job back so that it is tried again after `delay_s`.

        Args:
            lease: held on it.
            delay_s: pause.
            failed: what went wrong, which counts as a lost attempt and is the job's end after too many; None: nothing
                did, the worker only stops.
        """
        back: dict[str, Any] = {
            "state": JobState.QUEUED.value,
            "available_at": self._db.now + delay_s,
            "lease_until": None,
        }
        if failed is None:
            return self._change(lease, back)
        exhausted = _J.failures >= self._max_failures
        if self._change(lease, self._end(JobState.FAILED, failed), exhausted):
            return True
        return self._change(lease, {**back, "failures": _J.failures + 1})

    def _end(self, state: JobState, problem: Problem | None) -> dict[str, Any]:
        return {
            "state": state.value,
            "problem": None if problem is None else list(problem),
            "finished_at": self._db.now,
            "expires_at": self._db.now + self._ttl_s,
            "lease_until": None,
        }

    def _change(self, lease: Lease, values: Mapping[str, Any], *where: sa.ColumnElement[bool]) -> bool:
        held = (_J.id == lease.job_id, _J.token == lease.token, _J.state == JobState.IN_PROGRESS.value)
        with self._db.write() as connection:
            return connection.execute(sa.update(JOBS).where(*held, *where).values(values)).rowcount == 1

    def removable(self, grace_s: float, limit: int = 100) -> Sequence[str]:
        """List jobs whose media can go: deleted or expired, and longer so than a worker could still write."""
        gone = sa.func.coalesce(_J.deleted_at, _J.expires_at)
        with self._db.read() as connection:
            asked = sa.select(_J.id).where(gone < self._db.now - grace_s).limit(limit)
            return connection.execute(asked).scalars().all()

    def remove(self, job_id: str) -> None:
        """Forget a job whose media are gone."""
        with self._db.write() as connection:
            connection.execute(sa.delete(JOBS).where(_J.id == job_id))


def _job(row: RowMapping) -> Job:
    problem = row["problem"]
    return Job(
        id=row["id"],
        owner=row["owner"],
        kind=JobKind(row["kind"]),
        request=row["request"],
        state=JobState(row["state"]),
        progress=row["progress"],
        token=row["token"],
        failures=row["failures"],
        created_at=row["created_at"],
        fingerprint=row["fingerprint"],
        result=row["result"] or {},
        problem=None if problem is None else Problem(*problem),
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        expires_at=row["expires_at"],
    )
