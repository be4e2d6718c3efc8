"""A proxy before an S3 server: as strict as the strictest stores, and with bad weather on demand.

Comes in: path-style S3 requests. Goes out: the server's answers, or refusals. What it refuses: checksums in trailers
and the newer checksum headers (Ceph, older MinIO: NotImplemented), unequal parts (Cloudflare R2: InvalidPart), parts
under 5 MiB before the last (all: EntityTooSmall). ``weather`` holds what happens to the next requests of an operation.
"""

from __future__ import annotations

import http.client
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = 10  #: keys in a listing; the API reference allows a store to give fewer than were asked
LEAST_PART_BYTES = 5 * 1024 * 1024
_HOP = {"connection", "transfer-encoding", "expect", "host", "keep-alive"}


@dataclass
class Weather:
    """What befalls the next ``times`` requests of an operation on keys that hold ``key``."""

    operation: str
    times: int = 1
    key: str = ""
    status: int = 0  #: answer with this instead of asking the server
    code: str = "SlowDown"
    lose: bool = False  #: let the server do it, then hang up without an answer
    cut_after: int = -1  #: hang up after so many bytes of the body
    hold: threading.Event | None = None  #: let the server do it, but answer only when this is set
    held: threading.Event = field(default_factory=threading.Event)  #: set when the server has done it


@dataclass
class Gate:
    """``with`` it; ``address`` takes requests for the server at ``upstream``."""

    upstream: str
    strict: bool = True
    conditions: str = "kept"  #: or "ignored", or "refused": what becomes of If-None-Match
    no_part_copies: bool = False
    weather: list[Weather] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    completed: list[bytes] = field(default_factory=list)  #: bodies of completing calls
    parts: dict[str, dict[int, int]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"gate": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="gate")
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, operation: str, path: str) -> Weather | None:
        key = unquote(urlsplit(path).path)
        with self.lock:
            self.seen[operation] += 1
            for each in self.weather:
                if each.operation == operation and each.key in key and each.times > 0:
                    each.times -= 1
                    return each
        return None


def operation(method: str, path: str, copies: bool) -> str:
    """What a request asks for, by the API reference's names."""
    url = urlsplit(path)
    query = parse_qs(url.query, keep_blank_values=True)
    if "uploadId" in query:
        names = {"PUT": "UploadPartCopy" if copies else "UploadPart", "POST": "CompleteMultipartUpload",
                 "DELETE": "AbortMultipartUpload", "GET": "ListParts"}  # fmt: skip
        return names[method]
    if "uploads" in query:
        return "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    if method == "PUT" and "/" not in url.path.strip("/"):
        return "CreateBucket"
    if method == "GET" and "list-type" in query:
        return "ListObjectsV2"
    return {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "CopyObject" if copies else "PutObject",
            "DELETE": "DeleteObject", "POST": "Post"}[method]  # fmt: skip


def refuses_headers(headers: dict[str, str]) -> str | None:
    """The code of the refusal for what older stores do not know."""
    newer = any(name.startswith(("x-amz-checksum", "x-amz-sdk-checksum", "x-amz-trailer")) for name in headers)
    chunked = "aws-chunked" in headers.get("content-encoding", "")
    streaming = headers.get("x-amz-content-sha256", "").startswith("STREAMING")
    return "NotImplemented" if newer or chunked or streaming else None


def refuses_parts(sizes: list[int]) -> str | None:
    """The code of the refusal for the sizes of an upload's parts, in order."""
    before = sizes[:-1]
    if any(size < LEAST_PART_BYTES for size in before):
        return "EntityTooSmall"
    if before and (len(set(before)) > 1 or sizes[-1] > before[0]):
        return "InvalidPart"
    return None


class _Handler(BaseHTTPRequestHandler):
    gate: Gate
    protocol_version = "HTTP/1.1"

    def do(self) -> None:
        gate = self.gate
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers.get("expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(int(headers.get("content-length", 0)))
        if gate.strict and "list-type=2" in self.path:
            self.path += f"&max-keys={PAGE}"
        name = operation(self.command, self.path, "x-amz-copy-source" in headers)
        weather = gate.take(name, self.path)
        if weather and weather.status:
            return self.refuse(weather.status, weather.code)
        if name == "CompleteMultipartUpload":
            gate.completed.append(body)
        if (gate.conditions == "refused" and "if-none-match" in headers) or (
            gate.no_part_copies and name == "UploadPartCopy"
        ):
            return self.refuse(501, "NotImplemented")
        if gate.conditions == "ignored":
            headers.pop("if-none-match", None)
        if gate.strict and (code := refuses_headers(headers) or self.refuses_upload(name, headers, body)):
            gate.refused[code] += 1
            return self.refuse(501 if code == "NotImplemented" else 400, code)
        return self.forward(headers, body, weather)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do  # noqa: N815 - the names the server calls

    def refuses_upload(self, name: str, headers: dict[str, str], body: bytes) -> str | None:
        query = parse_qs(urlsplit(self.path).query)
        if name in ("UploadPart", "UploadPartCopy"):
            size = len(body)
            if name == "UploadPartCopy":
                first, last = re.fullmatch(r"bytes=(\d+)-(\d+)", headers["x-amz-copy-source-range"]).groups()
                size = int(last) - int(first) + 1
            self.gate.parts.setdefault(query["uploadId"][0], {})[int(query["partNumber"][0])] = size
        if name == "CompleteMultipartUpload":
            sizes = self.gate.parts.get(query["uploadId"][0], {})
            named = [int(number) for number in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)]
            return refuses_parts([sizes[number] for number in named])
        return None

    def forward(self, headers: dict[str, str], body: bytes, weather: Weather | None) -> None:
        url = urlsplit(self.gate.upstream)
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
        try:
            kept = {name: value for name, value in headers.items() if name not in _HOP}
            connection.request(self.command, self.path, body=body or None, headers=kept)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if weather and weather.hold:
            weather.held.set()
            weather.hold.wait(30)
        if weather and weather.lose:
            return self.hang_up()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP | {"content-length", "date", "server"}:
                self.send_header(name, value)
        length = answer.getheader("content-length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        if weather and 0 <= weather.cut_after < len(data):
            self.wfile.write(data[: weather.cut_after])
            return self.hang_up()
        self.wfile.write(data)
        return None

    def refuse(self, status: int, code: str) -> None:
        data = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
