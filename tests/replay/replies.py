"""Which reply a call gets: the scripts of a case, by model and tag.

Comes in: the parsed call. Goes out: one reply of the script with its header placeholders filled in, or None where
there is no script. Counts what it has to count (replies used, calls accepted); sends nothing. The clock is given.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import deque
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any

__all__ = ["ENDPOINTS", "ModelScript", "success", "tag_of"]

Json = dict[str, Any]

_TAG = re.compile(r"tag:([A-Za-z0-9]+)")
_DATE = re.compile(r"\{\{http_date:([+-]?\d+)\}\}")
_WAIT = "{{window_wait}}"
ENDPOINTS = frozenset({"/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/embeddings", "/v1/completions"})

_ids = itertools.count(1)


def tag_of(text: str) -> str | None:
    """The first ``tag:…`` of a request."""
    found = _TAG.search(text)
    return found[1] if found else None


class ModelScript:
    """The replies of one model, with what has been used of them. ``wall`` is unix time, ``clock`` any steady one."""

    def __init__(self, spec: Mapping[str, Any], clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._spec = spec
        self._clock = clock
        self._wall = wall
        self._used: dict[str, int] = {}
        self._accepted: deque[float] = deque()
        self._seen = 0
        self._answered = 0
        self._blocked_until: float | None = None
        self._went_down = False

    def reply(self, tag: str | None, headers: Mapping[str, str], body: Any) -> Json | None:
        """The reply for one call: a failed requirement's, a refusal's, or the next of the script."""
        self._seen += 1
        for check in self._spec.get("require", ()):
            if not _holds(check, headers, body):
                return self._filled(check["else"], 0)
        refusal = self._refusal()
        if refusal is not None:
            return refusal
        chosen = self._next(tag)
        return None if chosen is None else self._filled(chosen, 0)

    def answered(self) -> float | None:
        """Note that a call is over. Seconds for which the provider now goes down, or None."""
        self._answered += 1
        down = self._spec.get("down")
        if down is None or self._went_down or self._answered < down["after_calls"]:
            return None
        self._went_down = True
        return float(down["for_s"])

    def _next(self, tag: str | None) -> Json | None:
        tags = self._spec.get("tags", {})
        name = tag if tag is not None and tag in tags else None
        replies = tags[name] if name is not None else self._spec.get("else")
        if not replies:
            return None
        # The "else" list is used in order by each tag of its own: a retry of one row must not use up another's reply.
        slot = name if name is not None else f"else:{tag}"
        used = self._used.get(slot, 0)
        self._used[slot] = used + 1
        chosen: Json = replies[min(used, len(replies) - 1)]
        return chosen

    def _refusal(self) -> Json | None:
        rule = self._spec.get("enforce")
        now = self._clock()
        if rule is None:
            return None
        if rule["kind"] == "block":
            if self._blocked_until is None and self._seen > rule["after_calls"]:
                self._blocked_until = now + rule["for_s"]
            blocked = self._blocked_until is not None and now < self._blocked_until
            wait_s = (self._blocked_until or now) - now
            return self._filled(rule["reply"], wait_s) if blocked else None
        if rule["kind"] != "window":
            raise ValueError(f"enforce: unknown kind {rule['kind']!r}")
        while self._accepted and self._accepted[0] <= now - rule["per_s"]:
            self._accepted.popleft()
        if len(self._accepted) >= rule["max"]:
            return self._filled(rule["reply"], self._accepted[0] + rule["per_s"] - now)
        self._accepted.append(now)
        return None

    def _filled(self, reply: Json, wait_s: float) -> Json:
        headers = reply.get("headers")
        if not headers:
            return reply
        return {**reply, "headers": {name: self._fill(str(value), wait_s) for name, value in headers.items()}}

    def _fill(self, value: str, wait_s: float) -> str:
        dated = _DATE.sub(lambda found: formatdate(self._wall() + int(found[1]), usegmt=True), value)
        return dated.replace(_WAIT, str(math.ceil(wait_s)))


def _holds(check: Json, headers: Mapping[str, str], body: Any) -> bool:
    if "header" in check:
        return headers.get(check["header"].lower()) == str(check["equals"])
    members = body if isinstance(body, dict) else {}
    if "body_has" in check:
        return check["body_has"] in members
    if "body_lacks" in check:
        return check["body_lacks"] not in members
    raise ValueError(f"require: unknown check {sorted(check)}")


def success(endpoint: str, model: str, tag: str | None, ok: Json) -> bytes:
    """The body of a full success of the endpoint called."""
    text = ok.get("text", f"echo {tag}")
    served = ok.get("model", model)
    shape = _SHAPES.get(endpoint, _chat)
    return json.dumps(shape(text, served, ok)).encode()


def _chat(text: str, model: str, ok: Json) -> Json:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": ok.get("finish_reason", "stop"),
    }
    return {
        "id": f"chatcmpl-{next(_ids)}",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [choice],
        "usage": ok.get("usage", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}),
    }


def _completion(text: str, model: str, ok: Json) -> Json:
    body = _chat(text, model, ok)
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": ok.get("finish_reason", "stop")}
    return {**body, "id": f"cmpl-{next(_ids)}", "object": "text_completion", "choices": [choice]}


def _message(text: str, model: str, ok: Json) -> Json:
    return {
        "id": f"msg_{next(_ids)}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": ok.get("finish_reason", "end_turn"),
        "stop_sequence": None,
        "usage": ok.get("usage", {"input_tokens": 10, "output_tokens": 5}),
    }


def _response(text: str, model: str, ok: Json) -> Json:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "id": f"resp_{next(_ids)}",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": model,
        "output": [{"type": "message", "id": f"msg_{next(_ids)}", "role": "assistant", "content": content}],
        "usage": ok.get("usage", {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}),
    }


def _embedding(text: str, model: str, ok: Json) -> Json:
    return {
        "object": "list",
        "model": model,
        "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, len(text) / 1024]}],
        "usage": ok.get("usage", {"prompt_tokens": 10, "total_tokens": 10}),
    }


_SHAPES: dict[str, Callable[[str, str, Json], Json]] = {
    "/v1/chat/completions": _chat,
    "/v1/completions": _completion,
    "/v1/messages": _message,
    "/v1/responses": _response,
    "/v1/embeddings": _embedding,
}
