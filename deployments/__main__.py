"""`python -m deployments serve`: run a Serve configuration on this machine, for as long as the terminal is open.

Starts a Ray cluster of its own (its own folder, free ports, no dashboard) and stops exactly that one again.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

from deployments.args import local_ray_environment, port_from_environment

ROOT = Path(__file__).parents[1]
DEFAULT_PORT = 8000
_POLL_S = 0.5


class StartError(Exception):
    """The application did not start; the message says why."""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m deployments", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve a configuration on this machine")
    serve.add_argument("--config", type=Path, default=ROOT / "serve_config.yaml")
    serve.add_argument(
        "--weights", type=Path, help="folder of weights, or of a training run (default: the configuration's)"
    )
    serve.add_argument("--port", type=int, help=f"default: $PORT, or {DEFAULT_PORT}")
    serve.add_argument("--dashboard", action="store_true", help="also start Ray's dashboard")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        port = options.port or port_from_environment() or DEFAULT_PORT
        _serve(options.config, options.weights, port, dashboard=options.dashboard)
    except KeyboardInterrupt:
        _say("Stopped.")
    except (StartError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(config_path: Path, weights: Path | None, port: int, *, dashboard: bool) -> None:
    local_ray_environment(ROOT)
    _say("Reading the configuration")
    # Ray and the model library take seconds to import: not for `--help` or a taken port.
    from deployments.config_file import model_ids, read_config, use_weights

    config = read_config(config_path)
    if weights:
        use_weights(config, weights)
    host = config.http_options.host
    _check_free(host, port)
    from ray import serve
    from ray.serve.context import _get_global_client

    from deployments.local_cluster import local_cluster

    _say("Starting Ray")
    with local_cluster(dashboard=dashboard) as folder:
        _say(f"  logs: {folder}")
        # Ray sets handlers of its own, under which a signal would end this process before it has tidied up.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
        http = config.http_options.model_copy(update={"port": port})
        # The calls of `serve run`, which has no way to choose port and folder.
        serve.start(http_options=http.model_dump(), proxy_location=config.proxy_location)
        client = _get_global_client()
        if client is None:
            raise StartError("Ray Serve did not start")
        client.deploy_apps(config)
        _wait_until_running([application.name for application in config.applications])
        _say(_ready_text(host, port, next(iter(model_ids(config)), "MODEL")))
        while True:
            time.sleep(3600)


def _wait_until_running(names: list[str]) -> None:
    """Print every change of every deployment until all applications run."""
    from ray import serve

    start, seen = time.monotonic(), dict[str, str]()
    while True:
        applications = serve.status().applications
        for name in names:
            if name not in applications:
                continue
            for part, status in applications[name].deployments.items():
                text = "ready" if status.status == "HEALTHY" else status.status.lower()
                if seen.get(part) != text:
                    seen[part] = text
                    _say(f"  {time.monotonic() - start:5.1f} s  {part:16} {text}")
            if applications[name].status in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise StartError(_reason(name, applications[name]))
        if all(name in applications and applications[name].status == "RUNNING" for name in names):
            return
        time.sleep(_POLL_S)


def _reason(name: str, application: object) -> str:
    parts = getattr(application, "deployments", {})
    messages = [f"{part}: {status.message}" for part, status in parts.items() if status.message]
    return "\n".join([f"{name} failed: {getattr(application, 'message', '')}", *messages])


def _check_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartError(
                f"port {port} of {host} is not free ({error.strerror}); choose another with --port or PORT"
            ) from error


def _ready_text(host: str, port: int, model: str) -> str:
    address = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}"
    return f"""
Ready on {address}   (Ctrl-C stops it)

  curl {address}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Draw a red circle."}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{address}/v1", api_key="none")
  reply = client.chat.completions.create(
      model="{model}", messages=[{{"role": "user", "content": "Draw a red circle."}}])
  print(reply.choices[0].message.content)
"""


def _say(text: str) -> None:
    print(text, flush=True)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
