"""One attempt at one job: the conversation that it is, the reply, and the media in it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from deployments.args import AppArgs
from deployments.body import to_model
from deployments.conversation import Conversation, read_conversation
from deployments.conversation_media import MediaReader
from deployments.errors import ApiError
from deployments.graph import Graph
from deployments.jobs.artifacts import Artifacts
from deployments.jobs.model import MODULES, Job, Problem, StorageUnavailableError
from deployments.jobs.render import Rendered, render
from deployments.media_files import StoredMedium
from deployments.media_reader import PictureReader, VideoReader
from deployments.messages import ChatEvent, Done, Failure, Progress, RunResult, TextDelta
from deployments.schema import ChatRequest
from vitron.specialists.base import SpecialistRequest
from vitron.types import DrawnRegion, SpecialistOutput

Told = Callable[[int], None]
"""Is told the percent done."""
_SHOWN_CHARS = 300


class JobError(Exception):
    """A job cannot be done; trying again would not help."""

    def __init__(self, code: str, message: str) -> None:
        """Keep why."""
        super().__init__(message)
        self.problem = Problem(code, message)


HINT = "; with assistant=false the prompt goes to the specialist without the language model"
"""What else can be done where the language model found no way."""


class OverloadedError(Exception):
    """A part has no room now."""


class Worker:
    """Carries jobs out through the graph, as a chat is."""

    def __init__(self, args: AppArgs, graph: Graph, artifacts: Artifacts) -> None:
        """Keep the parts."""
        self._args = args
        self._graph = graph
        self._artifacts = artifacts
        self._pictures, self._videos = PictureReader(args), VideoReader(args)

    async def make(self, job: Job, told: Told) -> Rendered:
        """Do the work of one attempt.

        Raises:
            JobError: it cannot be done.
            OverloadedError: a part has no room; any other exception: this attempt was lost.
        """
        conversation = await self._read(job)
        direct = job.request.get("specialist")
        if direct is None:
            output, said = await self._ask(conversation, told)
        else:
            output, said = await self._run(direct, job, conversation, told), ""
        source = conversation.clips[-1].clip if conversation.clips else None
        made = await asyncio.to_thread(render, job.kind, output, source, job.request.get("mask_format", "rle"))
        if made is None:
            raise JobError("nothing_made", f"the model made nothing that this job asks for; it said: {said!r}{HINT}")
        return made

    async def _read(self, job: Job) -> Conversation:
        media = MediaReader(
            self._pictures, self._videos, _Inputs(self._artifacts, job.request["inputs"]), self._args.limits
        )
        try:
            request = to_model(job.request["chat"], ChatRequest)
            name, module = f"{job.id}-{job.token}", MODULES[job.kind]
            return await read_conversation(request, self._args, media, job.owner, name, required=module)
        except ApiError as error:
            raise JobError(error.code, error.message) from error

    async def _ask(self, asked: Conversation, told: Told) -> tuple[SpecialistOutput, str]:
        text = ""
        events: AsyncGenerator[ChatEvent] = self._graph.chat(asked.call, asked.images, asked.clips)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, TextDelta):
                    text = (text + event.text)[:_SHOWN_CHARS]
                elif isinstance(event, Progress):
                    told(_percent(event))
                elif isinstance(event, Failure):
                    _raise(event)
                elif isinstance(event, Done):
                    if event.error is not None and event.lost:
                        raise RuntimeError(event.error)
                    if event.error is not None:
                        raise JobError("failed", f"{event.error}{HINT}")
                    return event.output or SpecialistOutput(), text
        raise RuntimeError("the reply ended before it was complete")

    async def _run(self, name: str, job: Job, asked: Conversation, told: Told) -> SpecialistOutput:
        turn = asked.call.messages[-1]
        request = SpecialistRequest(
            instruction=job.request["prompt"],
            drawn=tuple(_on_only_clip(region) for region in turn.regions),
            seed=asked.call.sampling.seed or 0,
            options=asked.call.options,
        )
        image = asked.images[-1] if asked.images else None
        clip = asked.clips[-1].clip if asked.clips else None
        events = self._graph.work(name, request, image, clip)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Progress):
                    told(_percent(event))
                elif isinstance(event, RunResult):
                    if event.failure is not None:
                        _raise(event.failure)
                    return event.output or SpecialistOutput()
        raise RuntimeError("the specialist ended before its result")


def _on_only_clip(region: DrawnRegion) -> DrawnRegion:
    return region if region.clip is None else dataclasses.replace(region, clip=0)


class _Inputs:
    """The media that a job came with, as `MediaSource`: kept with the job, so nobody can take them away."""

    def __init__(self, artifacts: Artifacts, inputs: Mapping[str, Mapping[str, Any]]) -> None:
        self._artifacts = artifacts
        self._inputs = inputs

    async def read(self, owner: str, file_id: str) -> StoredMedium | None:
        known = self._inputs.get(file_id)
        if known is None:
            return None
        data = await asyncio.to_thread(self._artifacts.get, known["key"])
        if data is None:
            raise StorageUnavailableError("an input of the job is not there")
        return StoredMedium(data, known["mime"])


def _percent(progress: Progress) -> int:
    return 100 * progress.done // max(1, progress.total)


def _raise(failure: Failure) -> None:
    if failure.kind == "overloaded":
        raise OverloadedError(failure.message)
    raise JobError(failure.code or ("invalid_value" if failure.kind == "invalid" else "failed"), failure.message)
