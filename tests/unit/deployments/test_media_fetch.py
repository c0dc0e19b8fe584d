"""The guarded fetcher: who may be asked, how far it follows, how much it reads."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deployments.args import FetchRules
from deployments.errors import ApiError
from deployments.media_fetch import MediaFetcher, is_public

DENIED = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.9.9.9"),
    *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1"),
    *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1"),
    *("64:ff9b:1::a00:1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1", "fc00::1"),
    *("fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1"),
]
ALLOWED = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", DENIED)
def test_an_address_that_is_not_public_is_denied(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ALLOWED)
def test_a_public_address_is_allowed(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_an_exempt_network_is_allowed_and_its_neighbours_are_not() -> None:
    exempt = (ipaddress.ip_network("10.1.0.0/16"),)
    assert is_public(ipaddress.ip_address("10.1.2.3"), exempt)
    assert is_public(ipaddress.ip_address("::ffff:10.1.2.3"), exempt)
    assert not is_public(ipaddress.ip_address("10.2.0.1"), exempt)


class Handler(BaseHTTPRequestHandler):
    """Answers by path."""

    def do_GET(self) -> None:
        kind, _, rest = self.path.strip("/").partition("/")
        if kind == "to":
            self.send_response(302)
            self.send_header("Location", rest.replace("~", "/"))
            self.end_headers()
        elif kind == "loop":
            self.send_response(302)
            self.send_header("Location", "/loop")
            self.end_headers()
        elif kind == "missing":
            self.send_error(404)
        elif kind == "slow":
            threading.Event().wait(1)
        else:
            body = b"x" * 5000 if kind == "large" else f"host={self.headers['Host']}".encode()
            self.send_response(200)
            self.end_headers()  # without a length: the limit must hold while reading
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def fetch(url: str, names: dict[str, list[str]] | None = None, **rules: Any) -> bytes:
    async def lookup(host: str, port: int) -> list[str]:
        return (names or {}).get(host, [host])

    settings = {"allow_http": True, "allowed_networks": ("127.0.0.1/32",), "timeout_s": 3, **rules}
    return asyncio.run(MediaFetcher(FetchRules(**settings), max_bytes=1000, lookup=lookup).fetch(url))


def refusal(url: str, names: dict[str, list[str]] | None = None, **rules: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        fetch(url, names, **rules)
    return caught.value


def test_an_allowed_address_is_fetched_under_its_own_name(port: int) -> None:
    assert fetch(f"http://127.0.0.1:{port}/a") == f"host=127.0.0.1:{port}".encode()
    assert fetch(f"http://img.test:{port}/a", {"img.test": ["127.0.0.1"]}) == f"host=img.test:{port}".encode()


def test_without_the_rule_the_same_address_is_refused(port: int) -> None:
    error = refusal(f"http://127.0.0.1:{port}/a", allowed_networks=())
    assert error.status == 400 and "public" in error.message


def test_a_name_with_one_inner_address_is_refused() -> None:
    assert refusal("https://x.test/a", {"x.test": ["8.8.8.8", "10.0.0.1"]}, allowed_networks=()).status == 400
    assert refusal("https://x.test/a", {"x.test": []}).status == 400


def test_the_address_that_was_judged_is_the_one_connected_to(port: int) -> None:
    asked = []

    async def lookup(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    rules = FetchRules(allow_http=True, allowed_networks=("127.0.0.1/32",))
    fetcher = MediaFetcher(rules, max_bytes=1000, lookup=lookup)
    assert asyncio.run(fetcher.fetch(f"http://rebind.test:{port}/a"))
    assert asked == ["rebind.test"]


def test_redirects_are_followed_and_judged_one_by_one(port: int) -> None:
    assert fetch(f"http://127.0.0.1:{port}/to/~a").startswith(b"host=")
    inner = refusal(f"http://127.0.0.1:{port}/to/http:~~169.254.169.254~latest")
    assert inner.status == 400 and "public" in inner.message
    assert "scheme" in refusal(f"http://127.0.0.1:{port}/to/file:~~~etc~passwd").message
    assert "redirects" in refusal(f"http://127.0.0.1:{port}/loop").message


def test_a_large_answer_is_413_and_a_missing_one_400(port: int) -> None:
    assert refusal(f"http://127.0.0.1:{port}/large").status == 413
    assert refusal(f"http://127.0.0.1:{port}/missing").status == 400


def test_a_slow_or_absent_host_is_408_so_that_clients_retry(port: int) -> None:
    assert refusal(f"http://127.0.0.1:{port}/slow", timeout_s=0.1).status == 408
    assert refusal("http://127.0.0.1:9/a").status == 408


def test_only_listed_hosts_are_asked(port: int) -> None:
    names = {"a.img.test": ["127.0.0.1"], "evil-img.test": ["127.0.0.1"]}
    assert fetch(f"http://a.img.test:{port}/x", names, allowed_hosts=(".img.test",))
    assert "list" in refusal(f"http://evil-img.test:{port}/x", names, allowed_hosts=(".img.test",)).message


def test_fetching_can_be_switched_off() -> None:
    assert "data URL" in refusal("https://example.org/a", enabled=False).message
