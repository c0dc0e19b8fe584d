"""Who is served."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from deployments.auth import read_keys
from tests.unit.deployments.conftest import chat_body, local_gateway

PATHS = ["/v1/models", "/metrics", "/v1/none", "/"]


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "keys"
    digest = hashlib.sha256(b"secret").hexdigest()
    path.write_text(f"# keys\nalice:{digest}\n{hashlib.sha256(b'other').hexdigest()}  # unnamed\n")
    return str(path)


def test_a_key_opens_every_path_and_its_lack_none_but_health(key_file: str) -> None:
    gateway = local_gateway(api_key_file=key_file)
    with gateway.client as client:
        for path in PATHS:
            for header in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic secret"}):
                answer = client.get(path, headers=header)
                assert answer.status_code == 401, path
                assert answer.json()["error"]["code"] == "invalid_api_key"
                assert answer.headers["www-authenticate"] == "Bearer"
            assert client.get(path, headers={"authorization": "Bearer secret"}).status_code != 401
        assert client.get("/health").status_code == 200
        assert client.post("/v1/chat/completions", json=chat_body("hi")).status_code == 401
        ok = client.post("/v1/chat/completions", json=chat_body("hi"), headers={"authorization": "bearer other"})
        assert ok.status_code == 200


@pytest.mark.parametrize(("address", "status"), [("127.0.0.1", 200), ("::1", 200), ("10.0.0.5", 401), ("proxy", 401)])
def test_without_keys_only_this_machine_is_served(address: str, status: int) -> None:
    gateway = local_gateway(address)
    with gateway.client as client:
        assert client.get("/v1/models").status_code == status
        assert client.get("/health").status_code == 200


def test_anonymous_clients_are_served_where_that_is_allowed() -> None:
    gateway = local_gateway("10.0.0.5", allow_anonymous=True)
    with gateway.client as client:
        assert client.get("/v1/models").status_code == 200


@pytest.mark.parametrize(
    "text", ["", "# none\n", "alice:short\n", "a b:" + "0" * 64, "A" * 64, "x:" + "0" * 64 + "\nx:" + "1" * 64]
)
def test_a_wrong_key_file_is_refused_at_the_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ValueError, match="api_key_file"):
        read_keys(str(path))
