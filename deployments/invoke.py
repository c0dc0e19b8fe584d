"""Calling specialists from the language model's replica: the signal embedding goes there and nowhere else."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncGenerator, Mapping

from torch import Tensor

from deployments.envelope import Envelope, pack
from deployments.errors import is_replica_loss
from deployments.messages import Failure, Progress, RunResult
from deployments.parts import Handle
from deployments.specialist import SIGNAL
from vitron.specialists.base import SpecialistRequest

_logger = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.2


class SpecialistCaller:
    """Runs requests on specialists that are handles by name; survives the loss of their replicas."""

    def __init__(self, handles: Mapping[str, Handle], *, source: str, revision: str, max_retries: int) -> None:
        """Keep the handles; `source` and `revision` say whose signal embeddings are sent."""
        self._handles = {name: handle.options(stream=True, _by_reference=True) for name, handle in handles.items()}
        self._source, self._revision = source, revision
        self._max_retries = max_retries

    async def call(self, name: str, request: SpecialistRequest) -> AsyncGenerator[Progress | RunResult]:
        """Yield how far the specialist is, and its result last; if its replica dies, another one does the work."""
        if name not in self._handles:
            message = f"specialist: got {name!r}, expected one of {sorted(self._handles)}"
            yield RunResult(failure=Failure(kind="failed", message=message))
            return
        # The large values travel as arguments of their own.
        header = dataclasses.replace(request, signal=None, image=None, reference=None, clip=None)
        arrays = (request.image, request.reference, request.clip)
        for attempt in range(self._max_retries + 1):
            pending = self._handles[name].stream.remote(header, self._packed(request.signal), *arrays)
            finished = False
            try:
                async for event in pending:
                    yield event
                finished = True
                return
            # Which errors mean a lost replica is decided in one place; the rest is raised again.
            except Exception as error:
                if not is_replica_loss(error):
                    raise
                _logger.warning("a replica of %s was lost, attempt %d", name, attempt + 1)
                await asyncio.sleep(_FIRST_PAUSE_S * 2**attempt)
            finally:
                # Nobody waits for it any more: it stops at its next step.
                if not finished:
                    pending.cancel()
        yield RunResult(failure=Failure(kind="overloaded", message=f"{name}: its replicas were lost repeatedly"))

    def _packed(self, signal: Tensor | None) -> Envelope | None:
        if signal is None:
            return None
        return pack(signal, name=SIGNAL, source=self._source, revision=self._revision)
