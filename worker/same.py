"""Equal requests: how they are told, and how one's outcome becomes another's.

Comes in: a request, or the recorded line of its equal. Goes out: the key that equal requests share, or the outcome for a
line that was not sent. Equal means the same form, model and body, whatever the order of its members or its spaces. A copy
has no attempts, so it costs nothing and its tokens are counted once, where they were used; it says whose it is. Pure;
called by ``dedupe``.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

import orjson

from bucketline.failure import Code
from bucketline.outcome import Outcome
from bucketline.request import Request
from bucketline.splice import loads, member_value

__all__ = ["Told", "content_key", "copy_of", "told_of", "told_of_line"]

#: what an outcome tells its equals: its line, the fields of an ``Outcome`` that they share, and who answered
Told = tuple[int, dict[str, Any], dict[str, Any]]

_WHO = ("provider", "model")


def content_key(request: Request) -> bytes:
    """12 bytes that equal requests share; among a million others a chance match has odds of one in 10¹⁷."""
    params = {name: value for name, value in request.params.items() if name != "model"}
    try:
        body = orjson.dumps(params, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONEncodeError, TypeError):
        body = json.dumps(params, sort_keys=True, separators=(",", ":")).encode()
    return blake2b(b"%b\0%b\0%b" % (request.form.encode(), request.model.encode(), body), digest_size=12).digest()


def told_of(outcome: Outcome) -> Told:
    """What an outcome of this process tells."""
    last = outcome.attempts[-1] if outcome.attempts else None
    who = {name: getattr(last, name) for name in _WHO} if last else {}
    shared = {
        "code": outcome.code,
        "message": outcome.message,
        "status": outcome.status,
        "request_id": outcome.request_id,
        "body": outcome.body,
        "finish_reason": outcome.finish_reason,
        "served_model": outcome.served_model,
        "raw": outcome.raw,
    }
    return outcome.line, shared, who


def told_of_line(raw: bytes) -> Told:
    """What a recorded line tells; its body stays as its bytes are."""
    parsed = loads(raw)
    block, error, response = parsed["bucketline"], parsed["error"], parsed["response"]
    written = member_value(raw, "response") or b"{}" if response is not None else b"{}"
    shared = {
        "code": None if error is None else Code(error["code"]),
        "message": None if error is None else error["message"],
        "status": None if response is None else response["status_code"],
        "request_id": None if response is None else response["request_id"] or None,
        "body": member_value(written, "body"),
        "finish_reason": block["finish_reason"],
        "served_model": block["served_model"],
        "raw": member_value(written, "raw"),
    }
    who = {name: block[name] for name in _WHO if block[name] is not None}
    return block["line"], shared, who


def copy_of(told: Told, request: Request) -> Outcome:
    """The outcome for an equal request that was not sent."""
    line, shared, who = told
    return Outcome(
        line=request.line,
        custom_id=request.custom_id,
        requested_model=request.model,
        attempts=(),
        extra={**who, "copied_from": line},
        **shared,
    )
