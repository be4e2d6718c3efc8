"""A policy simulation: a gate before an S3 server that lets each user do what the policy documents say, no more.

Comes in: requests, and by access key the policy of who sends them. Goes out: the server's answers, or AccessDenied.
moto's own enforcement knows neither resources nor conditions (it says so), hence this one. Like S3 it says 403, not 404,
of an object that is not there to those who may not list: without ``s3:prefix`` in the request, so that a condition on it
must be an ``…IfExists``. Actions are those of the service authorisation reference.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.conformance.store.gate import Gate, Weather, _Handler, operation

__all__ = ["Rights", "allowed"]

_ACTIONS = {
    "ListObjectsV2": "s3:ListBucket", "GetObject": "s3:GetObject", "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject", "CopyObject": "s3:PutObject", "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject", "UploadPartCopy": "s3:PutObject", "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload", "DeleteObject": "s3:DeleteObject",
}  # fmt: skip


def allowed(policy: dict[str, Any], action: str, resource: str, context: dict[str, str]) -> bool:
    """Whether one statement allows it and none denies it; conditions may be StringLike and StringEquals."""
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if _any(statement["Action"], action)
        and _any(statement["Resource"], resource)
        and all(_holds(name, wanted, context) for name, wanted in statement.get("Condition", {}).items())
    }
    return effects == {"Allow"}


def _holds(operator: str, wanted: dict[str, Any], context: dict[str, str]) -> bool:
    if_exists = operator.endswith("IfExists")
    assert operator.removesuffix("IfExists") in {"StringLike", "StringEquals"}, operator
    return all(_any(patterns, context[key]) if key in context else if_exists for key, patterns in wanted.items())


def _any(patterns: str | list[str], value: str) -> bool:
    """Policies' wildcards: any text for ``*``, one character for ``?``."""
    listed = [patterns] if isinstance(patterns, str) else patterns
    return any(
        re.fullmatch("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern), value, re.DOTALL)
        for pattern in listed
    )


@dataclass
class Rights(Gate):
    """``with`` it; ``policies`` by access key. ``denied`` are (access key, action, resource)."""

    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    denied: list[tuple[str, str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        handler = type("Handler", (_Guarded,), {"gate": self, "rights": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="rights")
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def may(self, who: str, action: str, resource: str, context: dict[str, str]) -> bool:
        policy = self.policies.get(who)
        return policy is not None and allowed(policy, action, resource, context)


class _Guarded(_Handler):
    rights: Rights

    def do(self) -> None:
        url = urlsplit(self.path)
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        credential = re.search(r"Credential=([^/]+)/", self.headers.get("Authorization", ""))
        self.who = credential.group(1) if credential else ""
        self.bucket = f"arn:aws:s3:::{bucket}"
        copied = self.headers.get("x-amz-copy-source")
        action = _ACTIONS.get(operation(self.command, self.path, copied is not None), "unknown")
        context = {}
        if action == "s3:ListBucket":
            asked = parse_qs(url.query)
            context = {"s3:prefix": asked["prefix"][0]} if "prefix" in asked else {}
        wanted = [(action, self.bucket if action == "s3:ListBucket" else f"{self.bucket}/{key}")]
        if copied is not None:
            wanted.append(("s3:GetObject", f"arn:aws:s3:::{unquote(copied).lstrip('/')}"))
        for one, resource in wanted:
            if not self.rights.may(self.who, one, resource, context):
                self.rights.denied.append((self.who, one, resource))
                self.rfile.read(int(self.headers.get("content-length", 0)))
                return self.refuse(403, "AccessDenied")
        return super().do()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do  # noqa: N815 - the names the server calls

    def send_response(self, code: int, message: str | None = None) -> None:
        hidden = code == 404 and not self.rights.may(self.who, "s3:ListBucket", self.bucket, {})
        super().send_response(403 if hidden else code, message)

    def forward(self, headers: dict[str, str], body: bytes, weather: Weather | None) -> None:
        headers.pop("expect", None)
        super().forward(headers, body, weather)
