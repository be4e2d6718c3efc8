"""Bedrock's ``/model/ID/converse``, without its binary stream.

In and out: see ``base.Wire``. Errors are a ``message`` and the header ``x-amzn-errortype``; no 429 says when to come
back. Input tokens are told without the cached and the written ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from worker.simulator.limits import Gauge
from worker.simulator.reading import chosen_tool, count, last_text, require_list, weigh
from worker.simulator.talk import Ask, Draft, Finish, Tool
from worker.simulator.wires.base import Refusal, Trouble, Wire, Written

__all__ = ["Converse"]

_STOP: Final = {Finish.STOP: "end_turn", Finish.LENGTH: "max_tokens", Finish.TOOL: "tool_use"}
_ERRORS: Final[Mapping[Trouble, tuple[int, str, str]]] = {
    Trouble.UNAUTHORISED: (403, "UnrecognizedClientException", "The security token included in the request is invalid."),
    Trouble.NO_PATH: (404, "UnknownOperationException", "Unknown operation."),
    Trouble.MODEL: (404, "ResourceNotFoundException", "The model '{}' does not exist."),
    Trouble.INVALID: (400, "ValidationException", "The request is not valid."),
    Trouble.CONTEXT: (400, "ValidationException", "Input is too long for requested model."),
    Trouble.LIMITED: (429, "ThrottlingException", "Too many requests, please wait before trying again."),
    Trouble.MONEY: (403, "AccessDeniedException", "Your account has no valid payment method."),
    Trouble.SERVER: (500, "InternalServerException", "The system encountered an unexpected error."),
    Trouble.UNAVAILABLE: (503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
    Trouble.OVERLOADED: (503, "ServiceUnavailableException", "The model is overloaded."),
}  # fmt: skip


class Converse(Wire):
    """Messages in, one message out."""

    endpoint = "converse"

    def read(self, body: Mapping[str, Any], model: str | None) -> Ask:
        messages = require_list(body, "messages")
        prompt = last_text(messages, "content")
        config = body.get("inferenceConfig") or {}
        tools = body.get("toolConfig") or {}
        output = (body.get("outputConfig") or {}).get("textFormat") or {}
        wrapped = (output.get("structure") or {}).get("jsonSchema") or {}
        return Ask(
            model=model or "",
            prompt=prompt,
            input_bytes=weigh(messages) + weigh(body.get("system")) + weigh(tools.get("tools")),
            max_tokens=count(config, "maxTokens"),
            stop=tuple(config.get("stopSequences") or ()),
            tool=_tool(tools, messages, prompt),
            json=bool(output),
            schema=orjson.loads(wrapped["schema"]) if "schema" in wrapped else None,
        )

    def write(self, ask: Ask, draft: Draft) -> bytes:
        del ask
        finish = draft.choices[0].finish if draft.choices else Finish.STOP
        spent = draft.spent
        usage = {
            "inputTokens": spent.input_tokens - spent.cached_tokens - spent.cache_write_tokens,
            "outputTokens": spent.output_tokens,
            "totalTokens": spent.input_tokens + spent.output_tokens,
            "cacheReadInputTokens": spent.cached_tokens,
            "cacheWriteInputTokens": spent.cache_write_tokens,
        }
        message = {"role": "assistant", "content": _blocks(draft)}
        answer = {"output": {"message": message}, "stopReason": _STOP[finish], "usage": usage}
        return orjson.dumps(answer | {"metrics": {"latencyMs": 1}})

    def refuse(self, refusal: Refusal) -> Written:
        status, name, words = _ERRORS[refusal.trouble]
        body = orjson.dumps({"message": refusal.message or words.format(refusal.model)})
        kind = f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"
        return Written(status, body, {"x-amzn-requestid": refusal.serial, "x-amzn-errortype": kind})

    def stream_error(self, refusal: Refusal) -> bytes:
        return self.refuse(refusal).body

    def headers(self, serial: str, gauges: Sequence[Gauge], now_s: float) -> dict[str, str]:
        del gauges, now_s
        return {"x-amzn-requestid": serial}


def _tool(config: Mapping[str, Any], messages: list[Any], prompt: str) -> Tool | None:
    tools = [
        Tool(str(spec.get("name", "")), (spec.get("inputSchema") or {}).get("json") or {})
        for given in config.get("tools") or ()
        if isinstance(given, dict) and isinstance(spec := given.get("toolSpec"), dict)
    ]
    if not tools:
        return None
    choice = config.get("toolChoice") or {}
    content = messages[-1].get("content") if isinstance(messages[-1], dict) else None
    answered = any(isinstance(block, dict) and "toolResult" in block for block in content or ())
    forced = (choice.get("tool") or {}).get("name")
    return chosen_tool(tools, forced=forced, required="any" in choice, prompt="" if answered else prompt)


def _blocks(draft: Draft) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for choice in draft.choices[:1]:
        if draft.spent.reasoning_tokens:
            blocks.append({"reasoningContent": {"reasoningText": {"text": "Short.", "signature": "c2ln"}}})
        if choice.tool is not None:
            call = {"toolUseId": choice.tool.id, "name": choice.tool.name, "input": orjson.loads(choice.tool.arguments)}
            blocks.append({"toolUse": call})
        elif choice.text:
            blocks.append({"text": choice.text})
    return blocks
