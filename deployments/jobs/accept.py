"""Accepting a job: its media are stored first, then the job; once the client hears of it, nothing can lose it."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deployments.args import AppArgs
from deployments.body import to_model
from deployments.conversation import check_limits
from deployments.errors import ApiError, shown
from deployments.jobs.model import MODULES, Job, JobKind, NewJob, StorageError
from deployments.jobs.storage import Storage
from deployments.media_files import StoredMedium
from deployments.schema import ChatRequest
from deployments.schema_media import Asked
from deployments.schema_parts import RegionField
from deployments.service import Service
from vitron import routing

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
SPECIALISTS: dict[JobKind, str] = {
    kind: routing.ANIMATOR if kind is JobKind.ANIMATION else routing.SPECIALISTS[module]
    for kind, module in MODULES.items()
}
"""Who makes what a job of each kind asks for."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a client asks for.

    Attributes:
        kind: what is to be made.
        text: put to the assistant.
        prompt: as the client wrote it.
        asked: what else the request says.
        media: its inputs, in order.
        regions: drawn on them.
        options: for the specialist.
        expected: facts of the result that are known already: `size`, `seconds`.
        mask_format: of tracks.
    """

    kind: JobKind
    text: str
    prompt: str
    asked: Asked
    media: Sequence[StoredMedium] = ()
    regions: Sequence[RegionField] = ()
    options: Mapping[str, float | int | str] = field(default_factory=dict)
    expected: Mapping[str, str] = field(default_factory=dict)
    mask_format: str = "rle"


async def accept(order: Order, service: Service, owner: str, key: str | None) -> Job:
    """Accept a job; with an idempotency key that was used before, return the job of then.

    Raises:
        ApiError: nobody here can do it, the chat that it would be is wrong or too large, or the key is malformed.
        StorageError: it cannot be kept now, or there are too many.
    """
    storage = service.storage
    check_served(SPECIALISTS[order.kind], service)
    _check_key(key)
    fingerprint = _fingerprint(order)
    if key is not None:
        earlier = await storage.call(storage.jobs.find_key, owner, key, fingerprint)
        if earlier is not None:
            return earlier
    job_id = f"video_{uuid.uuid4().hex}"
    new = NewJob(
        id=job_id,
        owner=owner,
        kind=order.kind,
        request=_request(order, service.args, job_id),
        idempotency_key=key,
        fingerprint=fingerprint,
    )
    return await storage.call(_keep, storage, new, order.media)


def check_served(specialist: str, service: Service) -> None:
    """Raise 501 unless a specialist is part of this application."""
    if specialist not in service.graph.specialists:
        raise ApiError(
            501,
            f"this server has no {specialist!r}, which would do this",
            code="not_served",
            headers={"x-should-retry": "false"},
        )


def _keep(storage: Storage, new: NewJob, media: Sequence[StoredMedium]) -> Job:
    inputs = new.request["inputs"]
    try:
        for (_, place), medium in zip(inputs.items(), media, strict=True):
            storage.artifacts.put(place["key"], medium.data)
        job, is_new = storage.jobs.create(new)
    except StorageError:
        _forget(storage, new)
        raise
    if not is_new:
        _forget(storage, new)
    return job


def _forget(storage: Storage, new: NewJob) -> None:
    """Take back the inputs of a job that was not accepted."""
    try:
        storage.artifacts.remove(f"jobs/{new.id}")
    except StorageError:
        return  # the storage is what failed: nothing more can be done, and nothing refers to them


def _request(order: Order, args: AppArgs, job_id: str) -> dict[str, Any]:
    asked = order.asked
    names = [f"input-{index}" for index in range(len(order.media))]
    content: list[dict[str, Any]] = [{"type": "file", "file": {"file_id": name}} for name in names]
    content.append({"type": "text", "text": order.text})
    chat = {
        "model": args.model_id,
        "messages": [{"role": "user", "content": content}],
        # Drawn once, so that every attempt makes the same.
        "seed": secrets.randbits(62) if asked.seed is None else asked.seed,
        "vitron": {
            "regions": [region.model_dump(mode="json", exclude_unset=True) for region in order.regions],
            "message": asked.message,
            "options": {**order.options, **asked.options},
        },
    }
    check_limits(to_model(chat, ChatRequest), args)
    return {
        "chat": chat,
        "prompt": order.prompt,
        "specialist": None if asked.assistant else SPECIALISTS[order.kind],
        "mask_format": order.mask_format,
        "expected": dict(order.expected),
        "inputs": {
            name: {"key": f"jobs/{job_id}/input/{name}", "mime": medium.mime}
            for name, medium in zip(names, order.media, strict=True)
        },
    }


def _check_key(key: str | None) -> None:
    if key is not None and not _KEY.fullmatch(key):
        raise ApiError(
            400,
            f"Idempotency-Key: got {shown(key)}, expected 1 to 255 visible ASCII characters",
            param="Idempotency-Key",
        )


def _fingerprint(order: Order) -> str:
    """Name what is asked by content: equal requests have equal names, however they were sent."""
    parts = [
        order.kind.value,
        order.text,
        order.asked.model_dump(mode="json", exclude={"video", "image", "input_reference", "regions"}),
        [region.model_dump(mode="json") for region in order.regions],
        dict(order.options),
        [hashlib.sha256(medium.data).hexdigest() for medium in order.media],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
