"""Anthropic's ``/v1/messages``.

In and out: see ``base.Wire``. Input tokens are told without the cached and the written ones, as Anthropic does;
``max_tokens`` and the header ``anthropic-version`` are required. Money that is gone is a 400 with a sentence.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from worker.simulator.limits import Gauge, Refused, Scope
from worker.simulator.reading import chosen_tool, count, last_text, require_list, weigh
from worker.simulator.talk import Ask, Draft, Finish, Invalid, Spent, Tool
from worker.simulator.wires.base import Refusal, Trouble, Wire, Written, event, pieces_of, retry_headers

__all__ = ["Messages"]

_STOP: Final = {Finish.STOP: "end_turn", Finish.LENGTH: "max_tokens", Finish.TOOL: "tool_use"}
_GAUGED: Final[Mapping[Scope, str]] = {
    Scope.REQUESTS: "requests", Scope.TOKENS: "tokens", Scope.INPUT_TOKENS: "input-tokens",
    Scope.OUTPUT_TOKENS: "output-tokens",
}  # fmt: skip
_LIMITS: Final[Mapping[Scope, str]] = {
    Scope.REQUESTS: "{} requests per minute", Scope.TOKENS: "{} tokens per minute",
    Scope.INPUT_TOKENS: "{} input tokens per minute", Scope.OUTPUT_TOKENS: "{} output tokens per minute",
    Scope.REQUESTS_DAY: "{} requests per day", Scope.TOKENS_DAY: "{} tokens per day",
    Scope.CONCURRENCY: "{} concurrent connections",
}  # fmt: skip
_ERRORS: Final[Mapping[Trouble, tuple[int, str, str]]] = {
    Trouble.UNAUTHORISED: (401, "authentication_error", "invalid x-api-key"),
    Trouble.NO_PATH: (404, "not_found_error", "Not found"),
    Trouble.MODEL: (404, "not_found_error", "model: {}"),
    Trouble.INVALID: (400, "invalid_request_error", "The request is not valid."),
    Trouble.CONTEXT: (400, "invalid_request_error", "prompt is too long"),
    Trouble.LIMITED: (429, "rate_limit_error", "This request would exceed your organization's rate limit."),
    Trouble.MONEY: (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."),
    Trouble.SERVER: (500, "api_error", "Internal server error"),
    Trouble.UNAVAILABLE: (503, "api_error", "Service unavailable"),
    Trouble.OVERLOADED: (529, "overloaded_error", "Overloaded"),
}  # fmt: skip


class Messages(Wire):
    """Messages in, content blocks out."""

    endpoint = "messages"

    def read(self, body: Mapping[str, Any], model: str | None) -> Ask:
        messages = require_list(body, "messages")
        limit = count(body, "max_tokens")
        if limit is None:
            raise Invalid("max_tokens: Field required", "max_tokens")
        prompt = last_text(messages, "content")
        form = (body.get("output_config") or {}).get("format") or {}
        return Ask(
            model=model or str(body.get("model", "")),
            prompt=prompt,
            input_bytes=weigh(messages) + weigh(body.get("system")) + weigh(body.get("tools")),
            max_tokens=limit,
            stream=body.get("stream") is True,
            stop=tuple(body.get("stop_sequences") or ()),
            tool=_tool(body, messages, prompt),
            json=form.get("type") == "json_schema",
            schema=form.get("schema"),
        )

    def write(self, ask: Ask, draft: Draft) -> bytes:
        del ask
        finish = draft.choices[0].finish if draft.choices else Finish.STOP
        message = _message(draft) | {"content": _blocks(draft), "stop_reason": _STOP[finish]}
        return orjson.dumps(message | {"usage": _usage(draft.spent)})

    def pieces(self, ask: Ask, draft: Draft) -> list[bytes]:
        del ask
        usage = _usage(draft.spent)
        start = _message(draft) | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
        pieces = [event("message_start", {"type": "message_start", "message": start})]
        for index, block in enumerate(_blocks(draft)):
            pieces += _block_events(index, block)
        finish = draft.choices[0].finish if draft.choices else Finish.STOP
        delta = {"stop_reason": _STOP[finish], "stop_sequence": None}
        pieces.append(event("message_delta", {"type": "message_delta", "delta": delta, "usage": usage}))
        return [*pieces, event("message_stop", {"type": "message_stop"})]

    def refuse(self, refusal: Refusal) -> Written:
        status, kind, words = _ERRORS[refusal.trouble]
        message = refusal.message or words.format(refusal.model)
        if refusal.refused is not None:
            message = f"This request would exceed your organization's rate limit of {_limit_words(refusal.refused)}."
        serial = f"req_{refusal.serial}"
        body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": serial}
        return Written(status, orjson.dumps(body), {"request-id": serial} | retry_headers(refusal))

    def stream_error(self, refusal: Refusal) -> bytes:
        return b"event: error\ndata: " + self.refuse(refusal).body + b"\n\n"

    def headers(self, serial: str, gauges: Sequence[Gauge], now_s: float) -> dict[str, str]:
        headers = {"request-id": f"req_{serial}"}
        for gauge in gauges:
            if (name := _GAUGED.get(gauge.scope)) is not None:
                full = dt.datetime.fromtimestamp(now_s + gauge.full_in_ns / 1e9, dt.UTC)
                headers[f"anthropic-ratelimit-{name}-limit"] = str(gauge.limit)
                headers[f"anthropic-ratelimit-{name}-remaining"] = str(gauge.remaining)
                headers[f"anthropic-ratelimit-{name}-reset"] = full.strftime("%Y-%m-%dT%H:%M:%SZ")
        return headers

    def missing_header(self, headers: Mapping[str, str]) -> str | None:
        return None if "anthropic-version" in headers else "anthropic-version: header is required"


def _tool(body: Mapping[str, Any], messages: list[Any], prompt: str) -> Tool | None:
    tools = [
        Tool(str(tool.get("name", "")), tool.get("input_schema") or {})
        for tool in body.get("tools") or ()
        if isinstance(tool, dict)
    ]
    choice = body.get("tool_choice") or {}
    if not tools or choice.get("type") == "none":
        return None
    content = messages[-1].get("content") if isinstance(messages[-1], dict) else None
    answered = isinstance(content, list) and any(
        isinstance(block, dict) and block.get("type") == "tool_result" for block in content
    )
    return chosen_tool(
        tools, forced=choice.get("name"), required=choice.get("type") == "any", prompt="" if answered else prompt
    )


def _message(draft: Draft) -> dict[str, Any]:
    return {
        "id": f"msg_{draft.serial}", "type": "message", "role": "assistant", "model": draft.model,
        "stop_sequence": None, "stop_details": None,
    }  # fmt: skip


def _blocks(draft: Draft) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if draft.spent.reasoning_tokens and draft.choices:
        blocks.append({"type": "thinking", "thinking": "Short.", "signature": "c2ln"})
    for choice in draft.choices[:1]:
        if choice.tool is not None:
            arguments = orjson.loads(choice.tool.arguments)
            call = {"id": f"toolu_{draft.serial}", "name": choice.tool.name, "input": arguments}
            blocks.append({"type": "tool_use"} | call)
        elif choice.text:
            blocks.append({"type": "text", "text": choice.text, "citations": None})
    return blocks


def _usage(spent: Spent) -> dict[str, Any]:
    written = spent.cache_write_tokens
    return {
        "input_tokens": spent.input_tokens - spent.cached_tokens - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": spent.cached_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": spent.output_tokens,
        "output_tokens_details": {"thinking_tokens": spent.reasoning_tokens},
        "server_tool_use": None,
        "service_tier": "standard",
    }


def _block_events(index: int, block: dict[str, Any]) -> list[bytes]:
    """The events in which one content block grows."""
    if block["type"] == "tool_use":
        opening = block | {"input": {}}
        text = orjson.dumps(block["input"]).decode()
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in pieces_of(text)]
    elif block["type"] == "thinking":
        opening = block | {"thinking": "", "signature": ""}
        deltas = [{"type": "thinking_delta", "thinking": block["thinking"]}]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    else:
        opening = block | {"text": ""}
        deltas = [{"type": "text_delta", "text": part} for part in pieces_of(block["text"])]
    return [
        event("content_block_start", {"type": "content_block_start", "index": index, "content_block": opening}),
        event("ping", {"type": "ping"}),
        *(event("content_block_delta", {"type": "content_block_delta", "index": index, "delta": d}) for d in deltas),
        event("content_block_stop", {"type": "content_block_stop", "index": index}),
    ]


def _limit_words(refused: Refused) -> str:
    return _LIMITS[refused.scope].format(f"{refused.limit:,}")
