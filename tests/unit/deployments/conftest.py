"""A gateway over fake parts in this process: HTTP for real, no Ray."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
import uvicorn
from starlette.testclient import TestClient

from deployments.args import AppArgs
from deployments.colocated import colocated
from deployments.gateway import make_gateway
from deployments.graph import Handles
from tests.serve.fakes import FakeLoaders
from vitron.media import encode_png
from vitron.routing import NAMES
from vitron.video import encode_mp4

MODEL = "vitron-tiny"


class Local(NamedTuple):
    """A client and the parts behind it."""

    client: TestClient
    handles: Handles


def local_gateway(address: str = "127.0.0.1", specialists: tuple[str, ...] = NAMES, **settings: Any) -> Local:
    """Build a gateway over fakes of these specialists, and a client that seems to come from `address`."""
    args = AppArgs(**{"batch_wait_s": 0, **settings})
    handles = colocated(args, FakeLoaders(), specialists)

    async def readiness() -> dict[str, bool]:
        return {"LanguageModel": True}

    app = make_gateway(args, handles, put=lambda image: image, readiness=readiness)
    client = TestClient(app, raise_server_exceptions=False, client=(address, 50000))  # type: ignore[arg-type]
    return Local(client, handles)


@pytest.fixture(scope="session")
def gateway() -> Iterator[Local]:
    """A gateway with the default settings, shared by the tests that leave no trace in it."""
    made = local_gateway()
    with made.client:
        yield made


def data_url(value: int = 200, height: int = 12, width: int = 16) -> str:
    """A plain picture as a data URL."""
    image = np.full((height, width, 3), value, np.uint8)
    return "data:image/png;base64," + base64.b64encode(encode_png(image)).decode()


def video_url(values: Sequence[int] = (40, 80, 120, 160), height: int = 32, width: int = 48) -> str:
    """A video as a data URL: a plain frame of each value."""
    frames = np.stack([np.full((height, width, 3), value, np.uint8) for value in values])
    return "data:video/mp4;base64," + base64.b64encode(encode_mp4(frames)).decode()


def chat_body(*parts: Any, **fields: Any) -> dict[str, Any]:
    """A chat request of one user message: strings become text parts, `data:` URLs pictures and videos."""
    content = [_part(part) for part in parts]
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **fields}


def _part(part: Any) -> Any:
    if not isinstance(part, str):
        return part
    if part.startswith("data:video"):
        return {"type": "video_url", "video_url": {"url": part}}
    if part.startswith(("data:", "http")):
        return {"type": "image_url", "image_url": {"url": part}}
    return {"type": "text", "text": part}


def region(kind: str = "box", **fields: Any) -> dict[str, Any]:
    """A region part."""
    if kind == "box":
        fields.setdefault("box", [0, 0, 0.5, 1])
    return {"type": "region", "region": {"kind": kind, **fields}}


@contextmanager
def over_http(gateway: Local) -> Iterator[str]:
    """Serve a gateway on a free port of this machine and yield its address."""
    config = uvicorn.Config(gateway.client.app, port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
