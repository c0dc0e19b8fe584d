"""What happens to jobs when things break around them."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray.exceptions

from deployments.args import AppArgs, RunnerArgs, StorageArgs
from deployments.jobs.artifacts import Artifacts
from deployments.jobs.model import JobKind, JobState, StorageFullError, StorageUnavailableError
from deployments.jobs.render import Rendered, render
from deployments.jobs.runner import Runner
from deployments.jobs.storage import Storage
from deployments.jobs.work import JobError, OverloadedError
from tests.postgres import Postgres
from tests.unit.deployments.jobs.conftest import new_job
from tests.unit.deployments.jobs.running import finished, served, wait_for
from tests.unit.deployments.test_malformed import check
from vitron.media import encode_png
from vitron.types import Clip, SpecialistOutput

MADE = render(JobKind.GENERATION, SpecialistOutput(clips=(Clip(frames=np.zeros((2, 4, 4, 3), np.uint8)),)), None, "rle")
Work = Callable[[Any, Callable[[int], None]], Any]


class ScriptedWorker:
    """Does what it is told, and counts."""

    def __init__(self, *script: Work | BaseException | None) -> None:
        self.script = list(script)
        self.attempts = 0
        self.num_running: Callable[[], int] = lambda: 0

    async def make(self, job: Any, told: Callable[[int], None]) -> Rendered:
        self.attempts += 1
        step = self.script.pop(0) if self.script else None
        if isinstance(step, BaseException):
            raise step
        if step is not None:
            await step(job, told)
        assert MADE is not None
        return MADE


def storage_in(folder: Path, **settings: Any) -> Storage:
    return Storage(StorageArgs(folder=str(folder), timeout_s=0.2, **settings))


def run(storage: Storage, worker: ScriptedWorker, until: Callable[[], bool], **settings: Any) -> None:
    """Run a runner until something is the case."""

    async def main() -> None:
        args = RunnerArgs(**{"poll_s": 0.02, "retry_s": 0.01, "lease_s": 0.5, **settings})
        runner = Runner(args, storage, worker)  # type: ignore[arg-type]
        worker.num_running = lambda: runner.num_running
        runner.start()
        async with asyncio.timeout(20):
            while not until():
                runner.check_health()
                await asyncio.sleep(0.02)
        await runner.close()

    asyncio.run(main())


def state(folder: Path, job_id: str) -> Any:
    return storage_in(folder).jobs.get("ann", job_id)


@pytest.mark.parametrize("loss", [ray.exceptions.ActorDiedError(), OverloadedError("full"), RuntimeError("anything")])
def test_a_lost_attempt_is_repeated(tmp_path: Path, loss: BaseException) -> None:
    storage, worker = storage_in(tmp_path), ScriptedWorker(loss, loss)
    job, _ = storage.jobs.create(new_job())
    run(storage, worker, lambda: state(tmp_path, job.id).state is JobState.COMPLETED)
    assert worker.attempts == 3
    assert state(tmp_path, job.id).failures == (0 if isinstance(loss, OverloadedError) else 2)


def test_what_cannot_be_done_is_not_repeated(tmp_path: Path) -> None:
    storage, worker = storage_in(tmp_path), ScriptedWorker(JobError("nothing_made", "no"))
    job, _ = storage.jobs.create(new_job())
    run(storage, worker, lambda: state(tmp_path, job.id).state is JobState.FAILED)
    assert worker.attempts == 1 and state(tmp_path, job.id).problem.code == "nothing_made"


def test_losses_without_end_are_a_failure(tmp_path: Path) -> None:
    storage, worker = storage_in(tmp_path, max_failures=2), ScriptedWorker(*[RuntimeError("gone")] * 9)
    job, _ = storage.jobs.create(new_job())
    run(storage, worker, lambda: state(tmp_path, job.id).state is JobState.FAILED)
    assert worker.attempts == 3 and state(tmp_path, job.id).problem.code == "interrupted"


def test_an_attempt_has_limited_time(tmp_path: Path) -> None:
    async def sleep(*_: Any) -> None:
        await asyncio.sleep(60)

    storage, worker = storage_in(tmp_path), ScriptedWorker(sleep)
    job, _ = storage.jobs.create(new_job())
    run(storage, worker, lambda: state(tmp_path, job.id).state is JobState.FAILED, timeout_s=0.1)
    assert state(tmp_path, job.id).problem.code == "timeout"


def test_a_runner_that_stops_gives_its_jobs_back_at_once(tmp_path: Path) -> None:
    async def sleep(_: Any, told: Callable[[int], None]) -> None:
        told(60)
        await asyncio.sleep(60)

    storage, worker = storage_in(tmp_path), ScriptedWorker(sleep)
    job, _ = storage.jobs.create(new_job())
    run(storage, worker, lambda: state(tmp_path, job.id).progress == 60)
    back = state(tmp_path, job.id)
    assert (back.state, back.progress, back.failures) == (JobState.QUEUED, 60, 0)
    run(storage_in(tmp_path), ScriptedWorker(), lambda: state(tmp_path, job.id).state is JobState.COMPLETED)


def test_a_job_that_was_taken_by_another_runner_changes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    other = storage_in(tmp_path)

    async def steal(job: Any, _: Any) -> None:
        # As if this runner had been silent for too long.
        await other.call(other.jobs.beat, job.lease, -1.0, 0)
        assert (await other.call(other.jobs.lease, 60.0)).token == job.token + 1

    storage, worker = storage_in(tmp_path), ScriptedWorker(steal)
    job, _ = storage.jobs.create(new_job())
    run(storage, worker, lambda: worker.attempts == 1 and worker.num_running() == 0, poll_s=5, concurrency=1)
    assert state(tmp_path, job.id).state is JobState.IN_PROGRESS and state(tmp_path, job.id).token == 2
    assert not list(tmp_path.glob(f"artifacts/jobs/{job.id}/1/*"))


def test_a_deleted_job_is_cancelled(tmp_path: Path) -> None:
    ended: list[str] = []

    async def work(_: Any, __: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")

    storage, other, worker = storage_in(tmp_path), storage_in(tmp_path), ScriptedWorker(work)
    job, _ = storage.jobs.create(new_job())

    def check_ended() -> bool:
        if worker.attempts:
            other.jobs.delete("ann", job.id)
        return bool(ended)

    run(storage, worker, check_ended)
    assert ended == ["cancelled"]


def test_the_result_waits_for_a_database_that_is_away(tmp_path: Path) -> None:
    """The lock outlasts the lease: the work is kept and completed when the database is back."""
    path = tmp_path / "vitron.db"
    locks: list[sqlite3.Connection] = []

    async def lock(*_: Any) -> None:
        locks.append(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
        locks[0].execute("BEGIN IMMEDIATE")

        def unlock() -> None:
            locks[0].execute("ROLLBACK")
            locks[0].close()

        asyncio.get_running_loop().call_later(1.5, unlock)

    storage, worker = storage_in(tmp_path), ScriptedWorker(lock)
    job, _ = storage.jobs.create(new_job())
    run(storage, worker, lambda: state(tmp_path, job.id).state is JobState.COMPLETED, concurrency=1)
    assert worker.attempts == 1


def test_a_full_disk_does_not_lose_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = [True]
    real = os.fsync

    def fsync(file: int) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    monkeypatch.setattr("deployments.jobs.artifacts.os.fsync", fsync)
    storage, worker = storage_in(tmp_path, max_failures=1000), ScriptedWorker()
    job, _ = storage.jobs.create(new_job())

    def look() -> bool:
        if worker.attempts == 3:
            full[0] = False
        return state(tmp_path, job.id).state is JobState.COMPLETED

    run(storage, worker, look)
    assert worker.attempts >= 3 and not list(tmp_path.glob("artifacts/**/*.part"))


def test_a_place_that_is_gone_is_a_failure_of_the_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(part: str, path: str) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr("deployments.jobs.artifacts.os.replace", replace)
    with pytest.raises(StorageUnavailableError):
        Artifacts(str(tmp_path)).put("a/b", b"x")


def test_what_has_expired_is_swept(tmp_path: Path) -> None:
    storage = storage_in(tmp_path, ttl_s=0.1)
    job, _ = storage.jobs.create(new_job())
    file = storage.files.save("ann", b"x", "image/png", "a.png", purpose="vision", ttl_s=0.1)

    def swept() -> bool:
        return not list(tmp_path.glob("artifacts/*/*")) and not storage_in(tmp_path).jobs.removable(0)

    run(storage, ScriptedWorker(), lambda: worker_done(tmp_path, job.id) and swept(), sweep_s=0.05, lease_s=0.1)
    assert storage_in(tmp_path).files.find("ann", file.id) is None


def worker_done(folder: Path, job_id: str) -> bool:
    return state(folder, job_id) is None


def test_a_dead_database_is_a_clear_error_and_loses_nothing(tmp_path: Path, postgres: Postgres) -> None:
    storage = {"folder": str(tmp_path), "database": postgres.url, "timeout_s": 1}
    with served(tmp_path, storage=storage) as here:
        client = here.gateway.client
        accepted = client.post("/v1/videos", json={"prompt": "film it", "options": {"step_s": 0.3}}).json()
        wait_for(lambda: client.get(f"/v1/videos/{accepted['id']}").json()["progress"] > 0)
        postgres.stop()
        try:
            for answer in (
                client.post("/v1/videos", json={"prompt": "film it"}),
                client.get(f"/v1/videos/{accepted['id']}"),
                client.get("/v1/videos"),
                client.delete(f"/v1/videos/{accepted['id']}"),
                client.post("/v1/files", files={"file": ("a.png", _png())}),
            ):
                check(answer, 503)
                assert answer.json()["error"]["code"] == "storage_unavailable" and answer.headers["retry-after"]
            time.sleep(1.5)
        finally:
            postgres.start()
        assert finished(client, accepted["id"])["status"] == "completed"
        assert len(client.get("/v1/videos").json()["data"]) == 1
        client.delete(f"/v1/videos/{accepted['id']}")


def test_a_full_storage_refuses_uploads_and_jobs_and_keeps_nothing_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(tmp_path) as here:
        client = here.gateway.client
        client.get("/v1/videos")

        def full(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("deployments.jobs.artifacts.os.fsync", full)
        for answer in (
            client.post("/v1/files", files={"file": ("a.png", _png())}),
            client.post("/v1/videos", data={"prompt": "bring to life"}, files={"input_reference": ("a.png", _png())}),
        ):
            check(answer, 507)
            assert answer.json()["error"]["code"] == "storage_full"
        monkeypatch.undo()
        assert client.get("/v1/videos").json()["data"] == [] and client.get("/v1/files").json()["data"] == []
        assert not [path for path in tmp_path.glob("artifacts/**/*") if path.is_file()]


def _png() -> bytes:
    return encode_png(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_artifacts_are_kept_read_in_parts_and_removed(tmp_path: Path, where: str) -> None:
    artifacts = Artifacts(str(tmp_path) if where == "folder" else f"memory://{tmp_path.name}")
    artifacts.put("jobs/a/video.mp4", b"0123456789")
    artifacts.put("jobs/a/video.mp4", b"0123456789")
    artifacts.put("jobs/ab", b"x")
    assert artifacts.get("jobs/a/video.mp4") == b"0123456789"
    assert artifacts.get("jobs/a/video.mp4", 2, 5) == b"234" and artifacts.get("jobs/a/video.mp4", 0, 1) == b"0"
    assert artifacts.get("jobs/none") is None
    artifacts.remove("jobs/a")
    artifacts.remove("jobs/a")
    assert artifacts.get("jobs/a/video.mp4") is None and artifacts.get("jobs/ab") == b"x"


@pytest.mark.parametrize("key", ["", "/a", "../a", "a/../b", "a//b", "a/.", ".a", "a\x00", "a b", "a/"])
def test_a_key_never_leaves_its_place(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        Artifacts(str(tmp_path)).put(key, b"x")


def test_a_storage_that_fails_says_so_in_two_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts = Artifacts(str(tmp_path))
    for number, expected in ((errno.ENOSPC, StorageFullError), (errno.EIO, StorageUnavailableError)):

        def broken(_: int, number: int = number) -> None:
            raise OSError(number, "broken")

        monkeypatch.setattr("deployments.jobs.artifacts.os.fsync", broken)
        with pytest.raises(expected):
            artifacts.put("a", b"x")
        assert artifacts.get("a") is None


def test_the_default_store_is_in_a_folder_that_the_environment_names() -> None:
    args = AppArgs()
    assert args.storage.folder == os.environ["VITRON_HOME"]
    assert args.storage.database_url == f"sqlite:///{args.storage.folder}/vitron.db"
