"""One attempt at a job: what ends it for good, and what another attempt may mend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from deployments.args import AppArgs
from deployments.jobs.artifacts import Artifacts
from deployments.jobs.model import Job, JobKind, JobState
from deployments.jobs.work import JobError, Worker
from deployments.messages import ChatCall, ChatEvent, Done
from vitron.types import Module


class Graph:
    """Answers every chat with one end."""

    def __init__(self, done: Done) -> None:
        self._done = done
        self.required: Module | None = None

    async def chat(self, call: ChatCall, *_: Any) -> AsyncGenerator[ChatEvent]:
        self.required = call.required
        yield self._done


def job(chat: Any, kind: JobKind = JobKind.GENERATION) -> Job:
    return Job(
        id="video_1",
        owner="ann",
        kind=kind,
        state=JobState.IN_PROGRESS,
        progress=0,
        token=1,
        failures=0,
        request={"chat": chat, "specialist": None, "inputs": {}, "prompt": "film it", "expected": {}},
        result={},
        problem=None,
        created_at=0.0,
        started_at=0.0,
        finished_at=None,
        expires_at=None,
    )


def attempt(folder: Path, done: Done, chat: Any = None) -> None:
    worker = Worker(AppArgs(), Graph(done), Artifacts(str(folder)))  # type: ignore[arg-type]
    asked = {"model": AppArgs().model_id, "messages": [{"role": "user", "content": "film it"}]}
    asyncio.run(worker.make(job(asked if chat is None else chat), lambda percent: None))


def ended(**fields: Any) -> Done:
    return Done(finish_reason="stop", prompt_tokens=1, completion_tokens=1, **fields)


@pytest.mark.parametrize("kind", list(JobKind))
def test_a_job_is_done_by_what_its_route_stands_for(tmp_path: Path, kind: JobKind) -> None:
    graph = Graph(ended())
    asked = {"model": AppArgs().model_id, "messages": [{"role": "user", "content": "hello"}]}
    with pytest.raises(JobError):
        worker = Worker(AppArgs(), graph, Artifacts(str(tmp_path)))  # type: ignore[arg-type]
        asyncio.run(worker.make(job(asked, kind), lambda percent: None))
    word = {JobKind.EDIT: "Editing", JobKind.SEGMENTATION: "Segmentation"}.get(kind, "Generation")
    assert graph.required is not None and graph.required.value == f"Video {word}"


def test_a_specialist_that_died_is_a_lost_attempt_and_one_that_refused_is_the_end(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="replicas were lost"):
        attempt(tmp_path, ended(error="its replicas were lost", lost=True))
    with pytest.raises(JobError, match="nothing was drawn"):
        attempt(tmp_path, ended(error="nothing was drawn"))


def test_a_kept_chat_that_is_none_ends_the_job_and_not_the_worker(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="messages"):
        attempt(tmp_path, ended(), {"model": "vitron-tiny", "messages": "none"})
