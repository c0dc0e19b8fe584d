"""What an operator may set, and the only place of this package that reads the environment.

`AppArgs` is the `args:` block of an application in `serve_config.yaml`; an unknown key is an error.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vitron.presets import PRESETS

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class StrictModel(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(StrictModel):
    """Bounds on one request and on one gateway replica."""

    max_body_bytes: Positive = 32 * 2**20
    """Size of a request body, counted while it is read."""
    body_timeout_s: Seconds = 30
    """Time a client has to send its body."""
    max_json_depth: Positive = 24
    """Brackets open at once in a JSON body."""
    max_messages: Positive = 256
    max_text_chars: Positive = 100_000
    """Characters of all text in one request."""
    max_images: Positive = 8
    max_regions: Positive = 64
    max_image_bytes: Positive = 20 * 2**20
    max_image_pixels: Positive = 40_000_000
    max_videos: Positive = 2
    max_video_bytes: Positive = 64 * 2**20
    max_video_pixels: Positive = 4096 * 2304
    """Width times height of a frame."""
    max_video_frames: Positive = 3600
    """Frames of a file."""
    max_video_seconds: Seconds = 120
    max_clip_frames: Positive = 96
    """Frames of one video that are kept, spread evenly over it: what specialists work on."""
    max_clip_bytes: Positive = 128 * 2**20
    """Size of the frames kept, as RGB; of large videos fewer frames are kept for it."""
    max_tokens: Positive = 1024
    """Largest `max_tokens` a client may ask for."""
    default_tokens: Positive = 256
    """`max_tokens` of a request that names none."""
    max_outputs: Positive = 4
    """Largest `n` of the image generation endpoint."""
    max_active: Positive = 96
    """Requests in one gateway replica; the next gets 429. Keep it below the deployment's own limit."""
    request_timeout_s: Seconds = 120
    """Time of one request, replica failures and their retries included."""
    heartbeat_s: Seconds = 10
    """Silence in an event stream after which a comment is sent, so that no proxy closes it."""
    retry_after_s: Positive = 1
    """`Retry-After` of 429 and 503."""
    max_retries: Annotated[int, Field(ge=0, le=10)] = 3
    """Attempts after the first, when a replica died before any text was sent."""


class FetchRules(StrictModel):
    """Where pictures may be fetched from. Everything that is not public internet is denied."""

    enabled: bool = True
    """False: only data URLs are accepted."""
    allow_http: bool = False
    """Also fetch without TLS."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names that may be asked; `.example.org` takes its subdomains too. Empty: any public host."""
    allowed_networks: tuple[str, ...] = ()
    """Networks that are exempt from the denial of non-public addresses, such as `10.1.0.0/16`."""
    max_redirects: Annotated[int, Field(ge=0, le=10)] = 3
    timeout_s: Seconds = 10
    """Of the whole fetch, redirects included."""

    @field_validator("allowed_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ipaddress.ip_network(network)  # its ValueError names the network
        return value


class StorageArgs(StrictModel):
    """Where jobs, files and media are kept, outside every replica, and for how long (docs/jobs.md)."""

    folder: str = Field(default_factory=lambda: storage_folder())
    """Folder of the two below, where they are not set. All replicas must see the same one."""
    database: str | None = None
    """`sqlite:////folder/file.db` or `postgresql+psycopg://...`; None: SQLite in `folder`."""
    artifacts: str | None = None
    """A folder or an fsspec URL such as `s3://bucket/prefix`; None: in `folder`."""
    artifacts_options: dict[str, Any] = Field(default_factory=dict)
    """Of the fsspec file system, such as `endpoint_url` for S3. Credentials belong in the environment."""
    timeout_s: Seconds = 5
    """How long to wait for the database before a request is answered with 503."""
    ttl_s: Seconds = 7 * 86400
    """How long the media of a finished job, and those that a chat made, stay."""
    file_ttl_s: Seconds = 30 * 86400
    """How long an uploaded file stays that does not say so itself."""
    max_unfinished_jobs: Positive = 32
    """Jobs that one key may have queued or running; the next gets 429."""
    max_files: Positive = 1000
    """Files that one key may have."""
    max_failures: Annotated[int, Field(ge=0, le=1000)] = 5
    """Attempts that may be lost to dying processes before a job has failed."""

    @property
    def database_url(self) -> str:
        """The database, with the default filled in."""
        return self.database or f"sqlite:///{self.folder}/vitron.db"

    @property
    def artifacts_url(self) -> str:
        """The artifacts' place, with the default filled in."""
        return self.artifacts or f"{self.folder}/artifacts"


class RunnerArgs(StrictModel):
    """How jobs are worked on."""

    concurrency: Positive = 2
    """Jobs that one replica of the runner has under way."""
    poll_s: Seconds = 0.5
    """How often a runner looks for jobs, renews its leases, tells progress, and learns of a cancelled job."""
    lease_s: Seconds = 15
    """Silence after which a job is taken from its runner; above several `poll_s`, or hiccups cost work."""
    retry_s: Seconds = 1
    """Pause before a lost attempt is repeated; doubled each time, up to a minute."""
    timeout_s: Seconds = 3600
    """Time of one attempt."""
    sweep_s: Seconds = 60
    """How often expired media are removed."""


class AppArgs(StrictModel):
    """Arguments of `deployments.app:build`."""

    preset: str = "tiny"
    weights: str | None = None
    """Folder with the weights of every part; None: those shipped with the preset."""
    model_name: str | None = None
    """Id on the API; None: `vitron-<preset>`, or the preset's own name if it begins so."""
    specialists: tuple[str, ...] | None = None
    """Names of the specialists to serve (`vitron.routing.NAMES`); None: every one that the weights hold."""
    placement: Literal["split", "colocated"] = "split"
    """One deployment for each part, or all parts inside the gateway's replicas."""
    message: Literal["hybrid", "text", "signal"] = "hybrid"
    """What reaches a specialist unless a request says otherwise."""
    api_key_file: str | None = None
    """File with one `name:sha256-hex` a line. None: only clients on the same machine are served."""
    allow_anonymous: bool = False
    """Without keys, serve every client: for networks that keep strangers out by other means."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where a replica's part runs; auto: the GPU that Ray gave the replica, else the CPU."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of a part's weights and activations; float32 is what equals the in-process assistant exactly."""
    torch_threads: Positive = 1
    """Threads of one replica's tensor operations."""
    encoder_batch: Positive = 8
    """Pictures encoded in one forward."""
    encoder_cache: Annotated[int, Field(ge=0)] = 64
    """Pictures whose features a replica of the image encoder keeps; 0: none."""
    video_cache: Annotated[int, Field(ge=0)] = 16
    """Clips whose features a replica of the video encoder keeps; 0: none."""
    specialist_batch: Positive = 4
    """Requests a specialist runs together."""
    batch_wait_s: Annotated[float, Field(ge=0, le=1)] = 0.005
    """How long a batch waits for company."""
    limits: Limits = Limits()
    fetch: FetchRules = FetchRules()
    storage: StorageArgs = Field(default_factory=StorageArgs)
    jobs: RunnerArgs = RunnerArgs()

    @field_validator("preset")
    @classmethod
    def _is_a_preset(cls, value: str) -> str:
        if value not in PRESETS:
            raise ValueError(f"got {value!r}, expected one of {sorted(PRESETS)}")
        return value

    @field_validator("weights", "api_key_file")
    @classmethod
    def _exists(cls, value: str | None) -> str | None:
        if value is not None and not Path(value).exists():
            raise ValueError(f"got {value!r}, expected a path that exists")
        return value

    @property
    def model_id(self) -> str:
        """The model's id on the API."""
        prefixed = self.preset if self.preset.startswith("vitron") else f"vitron-{self.preset}"
        return self.model_name or prefixed


def port_from_environment(environment: Mapping[str, str] | None = None) -> int | None:
    """Return the port named by `PORT`, or None if it is unset.

    Args:
        environment: where to look; None: the process environment.

    Raises:
        ValueError: `PORT` is no port number.
    """
    text = (os.environ if environment is None else environment).get("PORT")
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ValueError(f"PORT: got {text!r}, expected a number from 1 to 65535")
    return int(text)


def storage_folder(environment: Mapping[str, str] | None = None) -> str:
    """Return the folder for what is kept: `VITRON_HOME`, or `vitron` among the user's data.

    Args:
        environment: where to look; None: the process environment.
    """
    found = os.environ if environment is None else environment
    default = Path(found.get("XDG_DATA_HOME") or "~/.local/share") / "vitron"
    return str(Path(found.get("VITRON_HOME") or default).expanduser().absolute())


def local_ray_environment(root: Path) -> None:
    """Set what a Ray cluster on this machine alone needs, before Ray starts.

    Ray would otherwise switch token authentication on and write a token file into the home folder; a loopback
    cluster of one user needs neither. Replicas are the unit of parallelism: one thread each.

    Args:
        root: folder of the packages, where the replicas must find them.
    """
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{root}{os.pathsep}{path}" if path else str(root)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # Serve kills a proxy that is not ready after 5 s; on a busy machine its imports alone take longer.
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")
