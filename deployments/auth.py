"""API keys: stored as SHA-256, compared in constant time; without keys only this machine is served."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployments.errors import ApiError

_LINE = re.compile(r"(?:([A-Za-z0-9._-]+):)?([0-9a-f]{64})")


class Authenticator:
    """Decides who is served."""

    def __init__(self, hashes: Mapping[str, bytes] | None, *, allow_anonymous: bool) -> None:
        """Serve the holders of keys.

        Args:
            hashes: SHA-256 of each key by the key's name; None: there are no keys.
            allow_anonymous: without keys, serve clients of other machines too.
        """
        self._hashes = hashes
        self._allow_anonymous = allow_anonymous

    def check(self, scope: Any) -> str:
        """Return the name of the client's key ("anonymous" without keys), or raise 401."""
        if self._hashes is None:
            return self._anonymous(scope)
        digest = hashlib.sha256(_bearer(scope)).digest()
        # Every key is compared, so that the time tells nothing about which one was close.
        matches = [name for name, known in self._hashes.items() if hmac.compare_digest(digest, known)]
        if not matches:
            raise _unauthorised("the API key is missing or wrong: send Authorization: Bearer <key>")
        return matches[0]

    def _anonymous(self, scope: Any) -> str:
        if self._allow_anonymous or _is_loopback(scope.get("client")):
            return "anonymous"
        raise _unauthorised("no API keys are configured, so only clients on this machine are served")


def read_keys(path: str) -> dict[str, bytes]:
    """Read a key file: one `name:sha256-hex` (or the hash alone) a line, `#` begins a comment.

    Raises:
        ValueError: a line of another form, a repeated name, or no key at all.
    """
    keys: dict[str, bytes] = {}
    for number, text in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        line = text.partition("#")[0].strip()
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"api_key_file: line {number} of {path} is not `name:sha256` in lower-case hex")
        name = match[1] or f"key-{number}"
        if name in keys:
            raise ValueError(f"api_key_file: line {number} of {path} repeats the name {name!r}")
        keys[name] = bytes.fromhex(match[2])
    if not keys:
        raise ValueError(f"api_key_file: {path} holds no key")
    return keys


def _bearer(scope: Any) -> bytes:
    for key, value in scope["headers"]:
        if key.lower() == b"authorization":
            scheme, _, token = bytes(value).partition(b" ")
            if scheme.lower() == b"bearer":
                return token.strip()
    return b""


def _is_loopback(client: Any) -> bool:
    try:
        address = ipaddress.ip_address(client[0])
    except (TypeError, ValueError, IndexError):
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _unauthorised(message: str) -> ApiError:
    return ApiError(401, message, headers={"WWW-Authenticate": "Bearer"})
