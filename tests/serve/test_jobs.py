"""Jobs on a real Ray cluster: processes are killed and the database is cut off, and nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import psutil
import pytest
import ray

from tests.serve.conftest import JobDatabase
from vitron.video import decode_clip

pytestmark = pytest.mark.cluster
VIDEOS = "/v1/videos"
COUNT = 20
VICTIMS = ("Gateway", "JobRunner", "VideoGenerator", "LanguageModel")
PATIENCE_S = 400


def ask(graph: str, method: str, path: str, **fields: Any) -> httpx.Response:
    """One request, repeated while the gateway is gone or its database is, as OpenAI's client repeats."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer = httpx.request(method, graph + path, timeout=30, **fields)
            if answer.status_code < 500 and answer.status_code not in (408, 429):
                return answer
            if answer.headers.get("content-type") == "application/json":
                assert answer.json()["error"]["message"]
        except httpx.TransportError:
            pass
        assert time.monotonic() < end, path
        time.sleep(0.3)


def create(graph: str, key: str | None = None, **fields: Any) -> dict[str, Any]:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = ask(graph, "POST", VIDEOS, json={"prompt": "film it", **fields}, headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def wait_for(graph: str, job_id: str, wanted: Any) -> dict[str, Any]:
    end = time.monotonic() + PATIENCE_S
    while True:
        job = ask(graph, "GET", f"{VIDEOS}/{job_id}").json()
        if wanted(job):
            return dict(job)
        assert time.monotonic() < end, job
        time.sleep(0.1)


def replicas(deployment: str) -> list[psutil.Process]:
    """The processes of a deployment's replicas in this very cluster."""
    session = ray._private.worker._global_node.get_session_dir_path()  # type: ignore[attr-defined]
    found = []
    for process in psutil.process_iter():
        try:
            # Ray names its processes by what they do.
            if f"ServeReplica:vitron:{deployment}" in " ".join(process.cmdline()[:1]):
                parent = process.parent()
                if parent is not None and any(session in word for word in parent.cmdline()):
                    found.append(process)
        except psutil.Error:
            continue
    return found


def kill(deployment: str) -> bool:
    """End one replica without a warning; False if there is none just now."""
    live = replicas(deployment)
    if live:
        os.kill(live[0].pid, signal.SIGKILL)
    return bool(live)


class Watch:
    """Looks at jobs all the time: progress may only rise, and what has ended stays as it is."""

    def __init__(self, graph: str) -> None:
        self.graph = graph
        self.seen: dict[str, dict[str, Any]] = {}
        self.wrong: list[str] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.stop.is_set():
            page = ask(self.graph, "GET", VIDEOS, params={"limit": 100}).json()
            for job in page["data"]:
                self._compare(self.seen.get(job["id"], job), job)
                self.seen[job["id"]] = job
            time.sleep(0.2)

    def _compare(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        if after["progress"] < before["progress"]:
            self.wrong.append(f"{after['id']}: {before['progress']} -> {after['progress']}")
        if before["status"] in ("completed", "failed") and after != before:
            self.wrong.append(f"{after['id']}: {before} -> {after}")


@pytest.mark.slow
def test_no_job_is_lost_or_done_twice_while_processes_die_and_the_database_is_away(
    graph: str, job_database: JobDatabase
) -> None:
    choose = random.Random(7)
    # One that is done, so that every process is there to be killed.
    first = create(graph, seed=0)
    wait_for(graph, first["id"], lambda job: job["status"] == "completed")
    watch = Watch(graph)
    try:
        ids = [create(graph, f"chaos-{i}", seed=i, options={"step_s": 0.4})["id"] for i in range(COUNT // 2)]
        killed = []
        for victim in choose.sample(VICTIMS, len(VICTIMS)):
            if kill(victim):
                killed.append(victim)
            time.sleep(choose.uniform(0.5, 2.5))
        with job_database.cut():
            time.sleep(4)
        ids += [create(graph, f"chaos-{i}", seed=i, options={"step_s": 0.4})["id"] for i in range(COUNT // 2, COUNT)]
        for victim in choose.sample(VICTIMS, len(VICTIMS)):
            if kill(victim):
                killed.append(victim)
            time.sleep(choose.uniform(0.5, 2.5))
        assert len(killed) >= 4, killed
        done = [wait_for(graph, job_id, lambda job: job["status"] in ("completed", "failed")) for job_id in ids]
        assert [job["status"] for job in done] == ["completed"] * COUNT, [job["error"] for job in done]
        time.sleep(2)  # whoever was only thought dead would show now
    finally:
        watch.stop.set()
        watch.thread.join(60)
    assert watch.wrong == []
    assert len(set(ids)) == COUNT
    # The same keys are the same jobs, and nothing else was accepted.
    assert create(graph, "chaos-3", seed=3, options={"step_s": 0.4})["id"] == ids[3]
    assert {job for job in watch.seen if job != first["id"]} >= set(ids)
    assert sum(job["prompt"] == "film it" for job in watch.seen.values()) == COUNT + 1
    for seed, job in enumerate(done):
        assert ask(graph, "GET", f"{VIDEOS}/{job['id']}").json() == job
        clip = decode_clip(ask(graph, "GET", f"{VIDEOS}/{job['id']}/content").content)
        assert np.abs(clip.frames.astype(int) - seed).max() <= 3


def test_deleting_a_job_stops_its_compute_within_two_seconds(graph: str, tmp_path: Path) -> None:
    log = tmp_path / "steps"
    options = {"step_s": 0.2, "fake_steps": 150, "log": str(log)}
    job = create(graph, options=options)
    wait_for(graph, job["id"], lambda found: found["progress"] > 0)
    start = time.monotonic()
    assert ask(graph, "DELETE", f"{VIDEOS}/{job['id']}").json()["deleted"]
    time.sleep(max(0.0, start + 2 - time.monotonic()))
    steps = log.stat().st_size
    time.sleep(1)
    assert 0 < log.stat().st_size == steps < 100


def test_the_openai_client_makes_polls_and_fetches_a_video(graph: str) -> None:
    client = openai.OpenAI(base_url=f"{graph}/v1", api_key="none")
    video = client.videos.create_and_poll(prompt="film it", extra_body={"seed": 40})
    assert (video.status, video.progress, video.error) == ("completed", 100, None)
    clip = decode_clip(client.videos.download_content(video.id).read())
    assert np.abs(clip.frames.astype(int) - 40).max() <= 3
    assert video.id in [each.id for each in client.videos.list()]
    assert client.videos.delete(video.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(video.id)
