"""Cloud credentials against servers on this machine: Google's token exchange by google-auth itself, and AWS's signature
worked out again from what arrived on the socket.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as AwsKeys
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bucketline.errors import ConfigError
from tests.samples import chat_line, provider, route
from worker.credentials import Credentials
from worker.providers import Call, Reply, adapter_for
from worker.transport import Transport


class Server:
    """An HTTP server that keeps what it got and answers what it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: tuple[int, Any] = (200, {})
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                status, document = outer.answer
                raw = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def service_account(folder: Path, token_url: str) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    document = {
        "type": "service_account", "project_id": "p", "private_key_id": "1", "private_key": pem,
        "client_email": "worker@p.iam.gserviceaccount.com", "token_uri": token_url,
    }  # fmt: skip
    file = folder / "account.json"
    file.write_text(json.dumps(document))
    return str(file)


@pytest.mark.parametrize("by", ["file", "variable"])
async def test_a_service_account_gets_its_token_once_for_many_calls(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    server.answer = (200, {"access_token": "ya29.real", "expires_in": 3600, "token_type": "Bearer"})
    account = service_account(tmp_path, server.url + "/token")
    vertex = provider("vertex", project="p", name="vertex", api_key_file=account if by == "file" else None)
    if by == "variable":
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", account)
    credentials = Credentials({})
    tokens = await asyncio.gather(*(credentials.key(vertex) for _ in range(20)))
    assert set(tokens) == {"ya29.real"}
    assert len(server.got) == 1
    form = parse_qs(server.got[0][2].decode())
    claims = json.loads(base64.urlsafe_b64decode(form["assertion"][0].split(".")[1] + "=="))
    assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]


async def test_an_account_that_google_refuses_is_one_sentence_without_its_key(tmp_path: Path, server: Server) -> None:
    server.answer = (400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
    vertex = provider("vertex", name="vertex", api_key_file=service_account(tmp_path, server.url + "/token"))
    with pytest.raises(ConfigError, match="'vertex' got no Google access token") as caught:
        await Credentials({}).key(vertex)
    assert "PRIVATE" not in str(caught.value)


async def test_a_signed_call_arrives_as_it_was_signed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that spells the path anew (a colon for its escape) would break the signature."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTTESTTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    model = "anthropic.claude-sonnet-4-6-v1:0"
    way = route("bedrock", model, region="eu-west-1", base_url=server.url)
    call = adapter_for("bedrock").call(chat_line(), way, "")
    assert isinstance(call, Call)
    signed = await Credentials({}).sign(call, way.provider)
    transport = Transport()
    reply = await transport.send(signed, way.provider, 10)
    await transport.close()
    assert isinstance(reply, Reply)
    path, headers, body = server.got[0]
    assert path == "/model/anthropic.claude-sonnet-4-6-v1%3A0/converse"
    again = AWSRequest("POST", server.url + path, data=body, headers={"content-type": headers["content-type"]})
    again.context["timestamp"] = headers["x-amz-date"]
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: _when(headers["x-amz-date"]))
    SigV4Auth(AwsKeys("AKIATESTTESTTEST", "secret"), "bedrock", "eu-west-1").add_auth(again)
    assert again.headers["Authorization"] == headers["authorization"]


def _when(stamp: str) -> Any:
    from datetime import UTC, datetime

    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
