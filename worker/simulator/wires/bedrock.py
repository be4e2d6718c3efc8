"""Bedrock's ``/model/ID/converse`` and ``/converse-stream``.

In and out: see ``base.Wire``. Before a stream begins, and on the other, errors are a ``message`` and the header ``x-amzn-errortype``; no 429 says when to come
back. Input tokens are told without the cached and the written ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from worker.simulator.limits import Gauge
from worker.simulator.reading import chosen_tool, count, last_text, require_list, weigh
from worker.simulator.talk import Ask, Draft, Finish, Spent, Tool
from worker.simulator.wires.base import Refusal, Trouble, Wire, Written, pieces_of
from worker.simulator.wires.frames import EVENT_STREAM, exception_frame, frame

__all__ = ["Converse", "ConverseStream"]

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
        message = {"role": "assistant", "content": _blocks(draft)}
        return orjson.dumps({"output": {"message": message}, "stopReason": _stop(draft), **_counts(draft.spent)})

    def refuse(self, refusal: Refusal) -> Written:
        status, name, words = _ERRORS[refusal.trouble]
        body = orjson.dumps({"message": refusal.message or words.format(refusal.model)})
        kind = f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"
        return Written(status, body, {"x-amzn-requestid": refusal.serial, "x-amzn-errortype": kind})

    def stream_error(self, refusal: Refusal) -> bytes:
        _, name, words = _ERRORS[refusal.trouble]
        return exception_frame(name[0].lower() + name[1:], refusal.message or words.format(refusal.model))

    def headers(self, serial: str, gauges: Sequence[Gauge], now_s: float) -> dict[str, str]:
        del gauges, now_s
        return {"x-amzn-requestid": serial}


class ConverseStream(Converse):
    """The same, answered in binary frames."""

    stream_type = EVENT_STREAM

    def read(self, body: Mapping[str, Any], model: str | None) -> Ask:
        return replace(super().read(body, model), stream=True)

    def pieces(self, ask: Ask, draft: Draft) -> list[bytes]:
        del ask
        pieces = [frame("messageStart", {"role": "assistant"})]
        for index, block in enumerate(_blocks(draft)):
            pieces += _block_frames(index, block)
        return [*pieces, frame("messageStop", {"stopReason": _stop(draft)}), frame("metadata", _counts(draft.spent))]


def _stop(draft: Draft) -> str:
    return _STOP[draft.choices[0].finish if draft.choices else Finish.STOP]


def _counts(spent: Spent) -> dict[str, Any]:
    usage = {
        "inputTokens": spent.input_tokens - spent.cached_tokens - spent.cache_write_tokens,
        "outputTokens": spent.output_tokens,
        "totalTokens": spent.input_tokens + spent.output_tokens,
        "cacheReadInputTokens": spent.cached_tokens,
        "cacheWriteInputTokens": spent.cache_write_tokens,
    }
    return {"usage": usage, "metrics": {"latencyMs": 1}}


def _block_frames(index: int, block: Mapping[str, Any]) -> list[bytes]:
    """The frames in which one content block grows; only a tool's call has one that starts it."""
    frames: list[bytes] = []
    deltas: list[dict[str, Any]]
    if "toolUse" in block:
        use = block["toolUse"]
        start = {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}
        frames.append(frame("contentBlockStart", {"start": start, "contentBlockIndex": index}))
        deltas = [{"toolUse": {"input": piece}} for piece in pieces_of(orjson.dumps(use["input"]).decode())]
    elif "reasoningContent" in block:
        shown = block["reasoningContent"]["reasoningText"]
        deltas = [{"reasoningContent": {name: shown[name]}} for name in ("text", "signature")]
    else:
        deltas = [{"text": piece} for piece in pieces_of(block["text"])]
    frames += [frame("contentBlockDelta", {"delta": delta, "contentBlockIndex": index}) for delta in deltas]
    return [*frames, frame("contentBlockStop", {"contentBlockIndex": index})]


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
