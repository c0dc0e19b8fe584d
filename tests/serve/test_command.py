"""`python -m deployments serve` from start to Ctrl-C, with fake parts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
import yaml

from tests.serve.conftest import CONFIG, ROOT, free_port


def command(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "deployments", "serve", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_of(session: int) -> list[int]:
    """Processes that still live in a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.cluster
def test_the_command_serves_until_ctrl_c_and_leaves_nothing_behind(tmp_path: Path) -> None:
    document = yaml.safe_load(CONFIG.read_text())
    document["applications"][0]["import_path"] = "tests.serve.fake_app:build"
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(document))
    port = free_port()
    process = command("--config", str(config), PORT=str(port))
    watchdog = threading.Timer(480, process.kill)
    watchdog.start()
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ready on" in line:
            break
    assert f"Ready on http://127.0.0.1:{port}" in lines[-1], "".join(lines)
    assert any("LanguageModel" in line and "ready" in line for line in lines)
    assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=60).status_code == 200
    process.send_signal(signal.SIGINT)
    process.communicate()
    watchdog.cancel()
    assert process.returncode == 0
    assert processes_of(process.pid) == []


def test_a_taken_port_is_named_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = command("--port", str(port))
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 1
    assert f"port {port} of 127.0.0.1 is not free" in output and "PORT" in output


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--config", "/none.yaml"], "/none.yaml"), (["--port", "0x"], "--port")]
)
def test_a_wrong_argument_is_named(arguments: list[str], words: str) -> None:
    process = command(*arguments)
    output, _ = process.communicate(timeout=240)
    assert process.returncode != 0 and words in output
    assert "Traceback" not in output
