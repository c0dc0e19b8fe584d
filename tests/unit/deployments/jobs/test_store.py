"""Jobs are accepted once, leased to one at a time, finished once, and never go back."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.jobs.database import JOBS, Database
from deployments.jobs.model import (
    IdempotencyError,
    Job,
    JobState,
    Lease,
    Problem,
    StorageUnavailableError,
    TooManyJobsError,
)
from deployments.jobs.store import WORKER_LOST, JobStore
from tests.postgres import Postgres
from tests.unit.deployments.jobs.conftest import TTL_S, new_job, store_of

LOST = Problem("interrupted", "it was interrupted")
LONG = 60.0
GONE = -1.0
"""Length of a lease that has run out already."""


def leased(store: JobStore, seconds: float = LONG) -> Job:
    job = store.lease(seconds)
    assert job is not None
    return job


def now(store: JobStore, job: Job) -> Job:
    found = store.get(job.owner, job.id)
    assert found is not None
    return found


def test_a_job_goes_from_queue_to_result(store: JobStore) -> None:
    job, is_new = store.create(new_job())
    assert is_new and (job.state, job.progress, job.token) == (JobState.QUEUED, 0, 0)
    assert abs(job.created_at - time.time()) < 60
    work = leased(store)
    assert (work.id, work.state, work.token, work.request) == (job.id, JobState.IN_PROGRESS, 1, {"a": 1})
    assert store.lease(LONG) is None
    assert store.beat(work.lease, LONG, 40) and now(store, job).progress == 40
    assert store.complete(work.lease, {"artifacts": {}})
    done = now(store, job)
    assert (done.state, done.progress, done.result) == (JobState.COMPLETED, 100, {"artifacts": {}})
    assert done.finished_at is not None and done.expires_at == pytest.approx(done.finished_at + TTL_S, abs=1)
    assert store.lease(LONG) is None


def test_jobs_are_taken_in_the_order_of_their_arrival(store: JobStore) -> None:
    ids = [store.create(new_job())[0].id for _ in range(20)]
    assert [job.id for job in store.list("ann", newest_first=False).jobs] == ids
    assert [leased(store).id for _ in range(20)] == ids


def test_progress_never_falls_and_stays_below_100_until_the_result_is_stored(store: JobStore) -> None:
    job, _ = store.create(new_job())
    work = leased(store)
    for told, shown in ((30, 30), (10, 30), (100, 99), (0, 99)):
        assert store.beat(work.lease, LONG, told) and now(store, job).progress == shown
    assert store.release(work.lease, delay_s=0, failed=None)
    assert now(store, job).progress == 99
    again = leased(store)
    assert store.beat(again.lease, LONG, 5) and now(store, job).progress == 99


def test_a_silent_worker_loses_its_job_and_can_change_nothing_any_more(store: JobStore) -> None:
    job, _ = store.create(new_job())
    old = leased(store, GONE)
    fresh = leased(store)
    assert fresh.id == job.id and fresh.token == old.token + 1 and fresh.failures == 1
    assert not store.beat(old.lease, LONG, 90)
    assert not store.complete(old.lease, {"by": "old"})
    assert not store.fail(old.lease, LOST)
    assert not store.release(old.lease, delay_s=0, failed=LOST)
    assert now(store, job).progress == 0
    assert store.complete(fresh.lease, {"by": "fresh"})
    assert not store.complete(fresh.lease, {"by": "twice"})
    assert not store.complete(old.lease, {"by": "old"})
    assert now(store, job).result == {"by": "fresh"}


def test_a_late_beat_keeps_a_job_that_nobody_took(store: JobStore) -> None:
    store.create(new_job())
    work = leased(store, GONE)
    assert store.beat(work.lease, LONG, 1)
    assert store.lease(LONG) is None


def test_a_job_that_kills_its_workers_fails_in_the_end(store: JobStore) -> None:
    job, _ = store.create(new_job())
    for attempt in range(3):
        assert leased(store, GONE).failures == attempt
    assert store.lease(LONG) is None
    failed = now(store, job)
    assert failed.state is JobState.FAILED and failed.problem is not None
    assert failed.problem.code == WORKER_LOST


def test_a_job_that_is_given_back_waits_and_fails_after_too_many_losses(store: JobStore) -> None:
    job, _ = store.create(new_job())
    assert store.release(leased(store).lease, delay_s=50, failed=LOST)
    assert store.lease(LONG) is None and now(store, job).state is JobState.QUEUED
    other, _ = store.create(new_job())
    for _ in range(3):
        assert store.release(leased(store).lease, delay_s=0, failed=LOST)
    assert now(store, other).problem == LOST
    third, _ = store.create(new_job())
    for _ in range(9):
        assert store.release(leased(store).lease, delay_s=0, failed=None)
    assert now(store, third).state is JobState.QUEUED


def test_deleting_cancels_hides_and_may_be_repeated(store: JobStore) -> None:
    job, _ = store.create(new_job())
    work = leased(store)
    assert not store.delete("bob", job.id)
    assert store.delete("ann", job.id) and store.delete("ann", job.id)
    assert store.get("ann", job.id) is None and store.list("ann").jobs == []
    assert not store.beat(work.lease, LONG, 50)
    assert not store.complete(work.lease, {})
    assert store.lease(GONE) is None
    queued, _ = store.create(new_job())
    store.delete("ann", queued.id)
    assert store.lease(LONG) is None


def test_an_owner_sees_only_its_own_jobs(store: JobStore) -> None:
    job, _ = store.create(new_job("ann"))
    assert store.get("bob", job.id) is None
    assert store.list("bob").jobs == []
    assert [each.id for each in store.list("ann").jobs] == [job.id]


def test_lists_have_pages_in_both_orders(store: JobStore) -> None:
    ids = [store.create(new_job())[0].id for _ in range(7)]
    store.create(new_job("bob"))
    for newest_first, expected in ((True, ids[::-1]), (False, ids)):
        seen: list[str] = []
        while True:
            after = seen[-1] if seen else None
            page = store.list("ann", after=after, limit=3, newest_first=newest_first)
            seen += [job.id for job in page.jobs]
            if not page.has_more:
                break
            assert len(page.jobs) == 3
        assert seen == expected
    assert store.list("ann", after="video_none").jobs == []


def test_a_repeated_key_is_the_same_job_and_for_another_request_an_error(store: JobStore) -> None:
    first, is_new = store.create(new_job(idempotency_key="k", fingerprint="f"))
    again, new_again = store.create(new_job(idempotency_key="k", fingerprint="f"))
    assert is_new and not new_again and again.id == first.id
    assert store.find_key("ann", "k", "f") == now(store, first)
    assert store.find_key("ann", "other", "f") is None
    with pytest.raises(IdempotencyError):
        store.create(new_job(idempotency_key="k", fingerprint="g"))
    assert store.create(new_job("bob", idempotency_key="k", fingerprint="g"))[1]
    store.delete("ann", first.id)
    assert store.create(new_job(idempotency_key="k", fingerprint="g"))[1]


def test_one_key_at_the_same_moment_is_one_job(store: JobStore) -> None:
    gate = threading.Barrier(8)

    def create(_: int) -> tuple[Job, bool]:
        gate.wait()
        return store.create(new_job(idempotency_key="k", fingerprint="f"))

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(create, range(8)))
    assert len({job.id for job, _ in made}) == 1 and sum(is_new for _, is_new in made) == 1


def test_unfinished_jobs_of_one_owner_are_limited(database: Database) -> None:
    store = store_of(database, max_unfinished=2)
    first, _ = store.create(new_job())
    store.create(new_job())
    with pytest.raises(TooManyJobsError):
        store.create(new_job())
    store.create(new_job("bob"))
    store.delete("ann", first.id)
    store.create(new_job())


def test_many_workers_take_every_job_exactly_once(store: JobStore) -> None:
    ids = {store.create(new_job())[0].id for _ in range(40)}
    taken: list[str] = []

    def work(_: int) -> None:
        while (job := store.lease(LONG)) is not None:
            assert store.complete(job.lease, {})
            taken.append(job.id)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert sorted(taken) == sorted(ids)


def test_expired_jobs_are_hidden_and_can_be_removed(database: Database) -> None:
    store = JobStore(database, ttl_s=0.0, max_failures=2, max_unfinished=9)
    job, _ = store.create(new_job())
    running, _ = store.create(new_job())
    store.complete(leased(store).lease, {})
    time.sleep(0.01)
    assert store.get("ann", job.id) is None and store.get("ann", running.id) is not None
    assert list(store.removable(0.0)) == [job.id] and list(store.removable(50.0)) == []
    store.remove(job.id)
    assert list(store.removable(0.0)) == []


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["lease", "expire", "beat", "complete", "fail", "release", "lose", "delete"]),
        st.integers(0, 99),
    ),
    max_size=30,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS)
def test_whatever_happens_no_job_is_lost_finished_twice_or_goes_back(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int]]
) -> None:
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('property')}/jobs.db")
    store = store_of(database, max_failures=3)
    jobs = [store.create(new_job())[0] for _ in range(3)]
    leases: list[Lease] = []
    shown = dict.fromkeys((job.id for job in jobs), 0)
    ended: dict[str, Job] = {}
    deleted: set[str] = set()
    for event, number in events:
        if event in ("lease", "expire"):
            job = store.lease(LONG if event == "lease" else GONE)
            if job is not None:
                assert job.id not in ended and job.id not in deleted
                leases.append(job.lease)
        elif event == "delete":
            deleted.add(jobs[number % 3].id)
            store.delete("ann", jobs[number % 3].id)
        elif leases:
            lease = leases[number % len(leases)]
            changed = {
                "beat": lambda lease=lease, number=number: store.beat(lease, LONG, number),
                "complete": lambda lease=lease, number=number: store.complete(lease, {"by": number}),
                "fail": lambda lease=lease: store.fail(lease, LOST),
                "release": lambda lease=lease: store.release(lease, delay_s=0, failed=None),
                "lose": lambda lease=lease: store.release(lease, delay_s=0, failed=LOST),
            }[event]()
            newest = max(each.token for each in leases if each.job_id == lease.job_id)
            assert not changed or lease.token == newest
        for job in jobs:
            found = store.get("ann", job.id)
            assert (found is None) == (job.id in deleted)
            if found is None:
                continue
            assert found.progress >= shown[job.id]
            shown[job.id] = found.progress
            if job.id in ended:
                assert found == ended[job.id]
            elif found.state in (JobState.COMPLETED, JobState.FAILED):
                ended[job.id] = found
    # Whatever is left can still be done.
    while (job := store.lease(LONG)) is not None or (job := _expired(database, store)) is not None:
        assert store.complete(job.lease, {})
    for job in jobs:
        if job.id not in deleted:
            assert now(store, job).state in (JobState.COMPLETED, JobState.FAILED)
    database.close()


def _expired(database: Database, store: JobStore) -> Job | None:
    with database.write() as connection:
        connection.execute(sa.update(JOBS).where(JOBS.c.lease_until.is_not(None)).values(lease_until=0.0))
    return store.lease(LONG)


def test_a_locked_database_is_a_clear_error_and_accepts_nothing_by_halves(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    database = Database(f"sqlite:///{path}", timeout_s=0.1)
    store = store_of(database)
    store.create(new_job())
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailableError):
            store.create(new_job())
        other.execute("ROLLBACK")
    assert len(store.list("ann").jobs) == 1
    assert leased(store)


def test_jobs_outlive_a_crash_of_postgresql(postgres: Postgres) -> None:
    database = Database(postgres.url, timeout_s=1)
    store = store_of(database)
    job, _ = store.create(new_job("crash"))
    postgres.stop()
    try:
        with pytest.raises(StorageUnavailableError):
            store.create(new_job("crash"))
        with pytest.raises(StorageUnavailableError):
            store.get("crash", job.id)
    finally:
        postgres.start()
    assert [each.id for each in store.list("crash").jobs] == [job.id]
    store.delete("crash", job.id)
    database.close()


def test_ids_that_no_row_can_have_are_unknown_to_every_database(store: JobStore) -> None:
    """PostgreSQL takes no zero byte in a text, and would answer with an error."""
    store.create(new_job())
    for odd in ("a\0b", "", "a" * 65, "../x"):
        assert store.get("ann", odd) is None and not store.delete("ann", odd)
        assert store.list("ann", after=odd).jobs == []


def test_a_statement_of_postgresql_has_limited_time(postgres: Postgres) -> None:
    database = Database(postgres.url, timeout_s=0.3)
    with pytest.raises(StorageUnavailableError), database.read() as connection:
        connection.execute(sa.text("SELECT pg_sleep(20)"))
    database.close()


def test_a_database_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="mysql"):
        Database("mysql://host/name")


def test_a_database_of_an_earlier_version_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE jobs (id TEXT)")
        connection.execute("CREATE TABLE files (id TEXT)")
        connection.execute("INSERT INTO jobs VALUES ('kept')")
        connection.commit()
    with pytest.raises(StorageUnavailableError, match=r"earlier version.*number.*storage\.database"):
        store_of(Database(f"sqlite:///{path}")).create(new_job())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id FROM jobs").fetchall() == [("kept",)]
