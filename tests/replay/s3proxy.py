"""Bad weather before a real store: refuses headers, fails operations, caps pages, as a case says.

Comes in: a case's ``s3`` section and the store's address. Goes out: an address that passes every other request on,
byte for byte. Used for S3 requests in path style (``/bucket/key``); keeps a count of what it refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlencode
from xml.sax.saxutils import escape

import aiohttp
from aiohttp import web
from yarl import URL

__all__ = ["S3Proxy", "operation"]

_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "expect", "host", "te", "upgrade", "content-length"})
_PAGED = {"ListObjectsV2": "max-keys", "ListObjects": "max-keys", "ListObjectVersions": "max-keys",
          "ListMultipartUploads": "max-uploads", "ListParts": "max-parts"}  # fmt: skip
_BODY_BYTES = 1 << 30


class S3Proxy:
    """One listener before ``upstream``; ``async with`` it. ``refused`` counts refusals by code.

    ``keep_host``: the store hears the host that the client signed, for stores that check signatures.
    """

    def __init__(self, weather: Mapping[str, Any], upstream: str, *, keep_host: bool = False) -> None:
        self._dropped = _HOP - {"host"} if keep_host else _HOP
        self._weather = weather
        self._upstream = upstream
        self._matched: dict[int, int] = {}
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self.address = ""
        self.refused: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=_BODY_BYTES)
        app.router.add_route("*", "/{rest:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._session = aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=60))
        host, port = self._runner.addresses[0][:2]
        self.address = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        query = dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
        _, _, key = unquote(request.rel_url.raw_path.lstrip("/")).partition("/")
        done = operation(request.method, key, query, request.headers)
        reply = self._refusal(request.headers) or self._fault(done, key)
        if reply is not None:
            self.refused[reply["code"]] = self.refused.get(reply["code"], 0) + 1
            return _error(reply)
        return await self._pass_on(request, body, self._capped(done, request.rel_url.raw_query_string))

    def _refusal(self, headers: Mapping[str, str]) -> dict[str, Any] | None:
        weather = self._weather
        names = [name.lower() for name in headers]
        unknown = any(fnmatchcase(name, glob.lower()) for glob in weather.get("refuse_headers", ()) for name in names)
        digest = headers.get("x-amz-content-sha256", "")
        streamed = any(fnmatchcase(digest, glob) for glob in weather.get("refuse_content_sha256", ()))
        reply: dict[str, Any] = weather.get("refuse_reply") or {"status": 501, "code": "NotImplemented", "message": ""}
        return reply if unknown or streamed else None

    def _fault(self, done: str, key: str) -> dict[str, Any] | None:
        for place, fault in enumerate(self._weather.get("faults", ())):
            if fault.get("op", done) not in (done, "*") or not fnmatchcase(key, fault.get("key", "*")):
                continue
            if "except_key" in fault and fnmatchcase(key, fault["except_key"]):
                continue
            seen = self._matched[place] = self._matched.get(place, 0) + 1
            if seen <= fault.get("first_n", seen):
                reply: dict[str, Any] = fault["reply"]
                return reply
        return None

    def _capped(self, done: str, query: str) -> str:
        most = self._weather.get("max_list_keys")
        if most is None or done not in _PAGED:
            return query
        pairs = dict(parse_qsl(query, keep_blank_values=True))
        name = _PAGED[done]
        pairs[name] = str(min(int(pairs.get(name) or most), most))
        return urlencode(pairs)

    async def _pass_on(self, request: web.Request, body: bytes, query: str) -> web.Response:
        assert self._session is not None
        target = self._upstream + request.rel_url.raw_path + (f"?{query}" if query else "")
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in self._dropped]
        url = URL(target, encoded=True)
        skipped = ("Accept-Encoding", "User-Agent", "Content-Type", "Accept")
        async with self._session.request(
            request.method, url, data=body or None, headers=headers, skip_auto_headers=skipped, allow_redirects=False
        ) as answer:
            passed = [(name, value) for name, value in answer.headers.items() if self._returns(name, request.method)]
            return web.Response(status=answer.status, headers=passed, body=await answer.read())

    def _returns(self, name: str, method: str) -> bool:
        low = name.lower()
        if low == "content-length":
            return method == "HEAD"  # there it tells the object's size; elsewhere it follows from the body
        if low.startswith("x-amz-checksum-") and self._weather.get("omit_response_checksums"):
            return False
        return low not in _HOP


def operation(method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """The S3 operation that a request in path style means."""
    if not key:
        return _bucket_operation(method, query)
    if method == "PUT":
        copied = "x-amz-copy-source" in headers
        if "partNumber" in query:
            return "UploadPartCopy" if copied else "UploadPart"
        return "CopyObject" if copied else "PutObject"
    if method == "POST":
        return "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload"
    if method == "DELETE":
        return "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
    if method == "GET" and "uploadId" in query:
        return "ListParts"
    return {"GET": "GetObject", "HEAD": "HeadObject"}.get(method, method)


def _bucket_operation(method: str, query: Mapping[str, str]) -> str:
    if method == "POST":
        return "DeleteObjects" if "delete" in query else "PostObject"
    if method != "GET":
        return {"PUT": "CreateBucket", "DELETE": "DeleteBucket", "HEAD": "HeadBucket"}.get(method, method)
    for name, done in (
        ("uploads", "ListMultipartUploads"), ("versions", "ListObjectVersions"), ("location", "GetBucketLocation"),
        ("versioning", "GetBucketVersioning"), ("lifecycle", "GetBucketLifecycleConfiguration"),
    ):  # fmt: skip
        if name in query:
            return done
    return "ListObjectsV2" if query.get("list-type") == "2" else "ListObjects"


def _error(reply: Mapping[str, Any]) -> web.Response:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{escape(reply['code'])}</Code><Message>{escape(reply.get('message', ''))}</Message>"
        "<RequestId>replay</RequestId></Error>"
    )
    headers = {str(name): str(value) for name, value in (reply.get("headers") or {}).items()}
    return web.Response(status=reply["status"], text=body, content_type="application/xml", headers=headers)
