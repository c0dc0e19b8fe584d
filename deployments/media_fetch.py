"""Fetching pictures and videos from addresses that strangers name: the one way out of the gateway.

The public internet and nothing else: an address is looked up, judged, and the very address that was judged is
connected to, so a name that changes its mind between the two gains nothing. Every redirect starts over.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import httpcore

from deployments.args import FetchRules
from deployments.errors import ApiError, shown

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[list[str]]]
MAX_URL_CHARS = 4096
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"https": 443, "http": 80}
# Addresses that Python calls global although they lead back inside: each embeds an IPv4 address.
_TUNNELS = tuple(
    ipaddress.ip_network(text)
    for text in ("2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48", "::/96", "fec0::/10")
)


def is_public(address: Address, exempt: Iterable[Network] = ()) -> bool:
    """Tell whether `address` is on the public internet, or in one of the `exempt` networks."""
    plain = getattr(address, "ipv4_mapped", None) or address
    if any(plain.version == network.version and plain in network for network in exempt):
        return True
    if any(plain.version == tunnel.version and plain in tunnel for tunnel in _TUNNELS):
        return False
    return plain.is_global and not (plain.is_multicast or plain.is_reserved)


async def resolve(host: str, port: int) -> list[str]:
    """Look a host up; a name without addresses gives an empty list."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found]


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects only to addresses it has judged itself."""

    def __init__(self, exempt: tuple[Network, ...], lookup: Resolve) -> None:
        self._exempt = exempt
        self._lookup = lookup
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = [ipaddress.ip_address(text) for text in await self._lookup(host, port)]
        if not addresses:
            raise _refused("the host name has no address")
        # One address inside is enough to distrust the name.
        if not all(is_public(address, self._exempt) for address in addresses):
            raise _refused("the host is not on the public internet")
        return await self._inner.connect_tcp(str(addresses[0]), port, timeout, local_address, socket_options)

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise _refused("not a network address")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class MediaFetcher:
    """Fetches bytes by URL under `FetchRules`; keeps no connection and no cookie."""

    def __init__(
        self,
        rules: FetchRules,
        *,
        max_bytes: int,
        field: str = "image_url",
        lookup: Resolve = resolve,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Keep the rules.

        Args:
            rules: what is allowed.
            max_bytes: size of one answer.
            field: the field of a request that is fetched for, in errors.
            lookup: host and port to addresses.
            ssl_context: trusted certificates; None: the usual public ones.
        """
        self._rules = rules
        self._max_bytes = max_bytes
        self._field = field
        self._ssl_context = ssl_context or httpcore.default_ssl_context()
        networks = tuple(ipaddress.ip_network(text) for text in rules.allowed_networks)
        self._backend = _Guarded(networks, lookup)

    async def fetch(self, url: str) -> bytes:
        """Return what is at `url`.

        Raises:
            ApiError: 400 the URL or its answer is not acceptable, 413 the answer is too large, 408 it took too
                long or could not be reached just now.
        """
        try:
            return await self._fetch(url)
        except _Refusal as refusal:
            code = refusal.code.format(self._field)
            raise ApiError(
                refusal.status, f"{self._field}: {refusal.reason}", param=self._field, code=code
            ) from refusal

    async def _fetch(self, url: str) -> bytes:
        if not self._rules.enabled:
            raise _refused("fetching is switched off; send a base64 data URL")
        try:
            async with asyncio.timeout(self._rules.timeout_s):
                return await self._follow(url)
        except TimeoutError as error:
            raise _unreachable(f"no answer within {self._rules.timeout_s:g} s") from error
        except (httpcore.NetworkError, httpcore.TimeoutException, OSError) as error:
            raise _unreachable("the connection failed") from error
        except httpcore.ProtocolError as error:
            raise _refused("the host does not speak HTTP") from error

    async def _follow(self, url: str) -> bytes:
        for _ in range(self._rules.max_redirects + 1):
            target = self._check(url)
            answer = await self._get(target)
            if isinstance(answer, bytes):
                return answer
            url = urljoin(url, answer)
        raise _refused(f"more than {self._rules.max_redirects} redirects")

    def _check(self, url: str) -> httpcore.URL:
        parts = _split(url)
        schemes = ("https", "http") if self._rules.allow_http else ("https",)
        if parts.scheme not in schemes:
            raise _refused(f"got scheme {shown(parts.scheme)}, expected {' or '.join(schemes)}")
        if parts.username is not None or parts.password is not None:
            raise _refused("user names and passwords are not accepted")
        host = (parts.hostname or "").rstrip(".").lower()
        if not host:
            raise _refused("the host is missing")
        if not self._is_listed(host):
            raise _refused("the host is not on this server's list")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return httpcore.URL(
            scheme=parts.scheme,
            host=host,
            port=_port(parts) or _PORTS[parts.scheme],
            target=path.encode("ascii"),
        )

    def _is_listed(self, host: str) -> bool:
        hosts = self._rules.allowed_hosts
        return not hosts or any(host == name or (name.startswith(".") and host.endswith(name)) for name in hosts)

    async def _get(self, url: httpcore.URL) -> bytes | str:
        """Return the body, or the address a redirect points to."""
        limit = self._rules.timeout_s
        timeout = {"connect": limit, "read": limit, "write": limit, "pool": limit}
        host = url.host.decode("ascii")
        shown_host = f"[{host}]" if ":" in host else host
        port = "" if url.port in (None, _PORTS[url.scheme.decode()]) else f":{url.port}"
        headers: dict[bytes | str, bytes | str] = {
            "Host": shown_host + port,
            "Accept": "image/*" if self._field == "image_url" else "video/*, image/gif",
            "User-Agent": "vitron",
        }
        async with (
            httpcore.AsyncConnectionPool(ssl_context=self._ssl_context, network_backend=self._backend) as pool,
            pool.stream("GET", url, headers=headers, extensions={"timeout": timeout}) as answer,
        ):
            if answer.status in _REDIRECTS:
                return _location(answer.headers)
            if answer.status != 200:
                raise _refused(f"the host answered with status {answer.status}")
            return await self._read(answer)

    async def _read(self, answer: httpcore.Response) -> bytes:
        body = bytearray()
        async for chunk in answer.aiter_stream():
            body += chunk
            if len(body) > self._max_bytes:
                raise _Refusal(413, f"expected at most {self._max_bytes} bytes", "request_too_large")
        return bytes(body)


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL_CHARS:
        raise _refused(f"longer than {MAX_URL_CHARS} characters")
    if not url.isascii() or any(char <= " " or char == "\x7f" or char == "\\" for char in url):
        raise _refused("expected printable ASCII; percent-encode the rest")
    try:
        return urlsplit(url)
    except ValueError as error:
        raise _refused("not a valid URL") from error


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError as error:
        raise _refused("the port is not a number from 0 to 65535") from error


def _location(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name.lower() == b"location":
            return value.decode("latin-1")
    raise _refused("a redirect without a target")


class _Refusal(Exception):
    """Nothing is fetched: status, reason, and a code with a place for the field's name."""

    def __init__(self, status: int, reason: str, code: str) -> None:
        super().__init__(reason)
        self.status, self.reason, self.code = status, reason, code


def _refused(reason: str) -> _Refusal:
    return _Refusal(400, reason, "invalid_{}")


def _unreachable(reason: str) -> _Refusal:
    # 408 is what OpenAI's clients retry; the fault may pass.
    return _Refusal(408, reason, "{}_unreachable")
