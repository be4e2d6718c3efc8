"""What is fuzzed: functions of bytes that read what strangers write, each with what must hold.

Comes in: any bytes. Goes out: nothing, or an exception where a promise is broken. ``split`` is the cutter of records,
against a model of five lines; ``request`` a line and a splice of its body; ``headers`` what a provider says of its limits and
of waiting; ``reply`` any body to every adapter, ``stream`` any stream of events. Run by ``scripts.fuzz``, and with their seeds
by a test.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import orjson
from multidict import CIMultiDict

from bucketline.failure import Failure
from bucketline.jsonl import BOM, Splitter
from bucketline.request import Fault, Form, Request, read_request
from bucketline.splice import splice
from tests.samples import chat_line, route
from worker.limiter.ratelimits import read_limits
from worker.providers import Answer, Reply, adapter_for
from worker.providers.delays import retry_after_s

WIRES = ("openai", "anthropic", "gemini", "vertex", "bedrock")


def split(data: bytes) -> None:
    """Records of a stream in odd blocks are what a plain split of the whole says."""
    if not data:
        return
    size, cap, stream = data[0] % 7 + 1, data[0] % 5 * 8 + 4, data[1:]
    splitter = Splitter(cap_bytes=cap)
    found = [record for at in range(0, len(stream), size) for record in splitter.feed(stream[at : at + size])]
    found += splitter.finish()
    expected, offset = [], 0
    for number, raw in enumerate(stream.split(b"\n"), 1):
        text = raw.removeprefix(BOM) if offset == 0 else raw
        text = text.removesuffix(b"\r")
        unseen = len(raw) > cap + 2  # a very long line is one, whatever stands in it: its end is not kept
        over = len(text) > cap or unseen
        if text.strip(b" \t\r") or unseen:
            expected.append((number, offset, text, over))
        offset += len(raw) + 1
    assert [(r.line, r.offset_bytes, r.raw if not r.oversized else None, r.oversized) for r in found] == [
        (number, at, None if over else text, over) for number, at, text, over in expected
    ], (found, expected)


def request(data: bytes) -> None:
    """A line is understood or refused; a splice of its body changes its member and no other."""
    read = read_request(data, 1, "m")
    if isinstance(read, Fault):
        return
    body = splice(read.body, {"model": "other"}, ["stream"])
    rest = {name: value for name, value in orjson_or_json(read.body).items() if name not in ("model", "stream")}
    changed = orjson_or_json(body)
    assert changed.pop("model") == "other"
    assert changed == rest or repr(changed) == repr(rest)  # NaN is unlike itself


def orjson_or_json(raw: bytes) -> dict[str, Any]:
    from bucketline.splice import loads

    found: dict[str, Any] = loads(raw)
    return found


NAMES = (
    "date", "retry-after", "retry-after-ms", "x-ratelimit-reset", "x-ratelimit-limit", "x-ratelimit-remaining",
    "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens",
    "anthropic-ratelimit-input-tokens-limit", "anthropic-ratelimit-input-tokens-reset", "x-tokenlimit-remaining",
    "x-litellm-key-remaining-tokens-m", "llm_provider-x-ratelimit-reset-tokens",
)  # fmt: skip
_MONTH_S = 31 * 86400.0


def headers(data: bytes) -> None:
    """Whatever the headers say, a wait is a time that ends, and a limit is a count."""
    said = CIMultiDict(
        (NAMES[line[0] % len(NAMES)], line[1:].decode("latin-1")) for line in data.split(b"\n") if len(line) > 1
    )
    wait_s = retry_after_s(said, {}, data.decode("latin-1"))
    assert wait_s is None or 0 <= wait_s <= _MONTH_S, wait_s
    for one in read_limits(said):
        assert one.limit is None or one.limit > 0, one
        assert one.remaining is None or one.remaining >= 0, one
        assert one.reset_s is None or (math.isfinite(one.reset_s) and one.reset_s >= 0), one
        assert one.per_minute in (True, False, None)


def reply(data: bytes) -> None:
    """Any body, with any status, is an answer or a failure, to every adapter."""
    status = (200, 200, 400, 401, 404, 429, 500, 503)[len(data) % 8]
    headers = CIMultiDict({"content-type": "application/json", "retry-after": data[:12].decode("latin-1")})
    for wire in WIRES:
        adapter_for(wire).read(Reply(status, headers, data), chat_line(), ROUTES[wire])
    whole = Request(1, "r", Form.CHAT, "m", data, {})
    assert whole.body is data


def stream(data: bytes) -> None:
    """Any stream, whole or torn, is an answer or a failure, to every adapter."""
    for wire in WIRES:
        kind = "application/vnd.amazon.eventstream" if wire == "bedrock" else "text/event-stream"
        read = adapter_for(wire).read(Reply(200, CIMultiDict({"content-type": kind}), data), chat_line(), ROUTES[wire])
        assert isinstance(read, Answer | Failure)


ROUTES = {wire: route(wire, "m", region="eu-west-1", project="p") for wire in WIRES}
TARGETS: dict[str, Callable[[bytes], None]] = {
    "split": split, "request": request, "headers": headers, "reply": reply, "stream": stream,
}  # fmt: skip
SEEDS = {
    "split": [b"\x03{}\n\n{1}\r\n", b"\x01" + BOM + b"a\n"],
    "request": [
        orjson.dumps({"custom_id": 1, "method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}})
    ],
    "headers": [
        b"\x00Wed, 25 Nov 2026 12:00:00 GMT\n\x0160\n\x06500\n\x07499\n\x086m0s\n\x0c90000\n\x0d2026-11-25T12:00:30Z",
        b"try again in 7m12s\n\x032000000000\n\x001",
    ],
    "reply": [
        b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}',
        b'{"error":{}}',
    ],
    "stream": [
        (
            b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
            b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}\n\ndata: [DONE]\n\n'
        ),
        (
            b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":1}}}\n\n'
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}\n\n'
            b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
        ),
        b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}\r\n\r\n',
    ],
}
