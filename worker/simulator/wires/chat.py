"""OpenAI's ``/v1/chat/completions``, which most of the world speaks.

In and out: see ``base.Wire``. Several choices, tools, structured answers, streams with or without usage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from worker.simulator.reading import chosen_tool, count, last_text, require_list, weigh
from worker.simulator.talk import Ask, Choice, Draft, Finish, Tool
from worker.simulator.wires.base import CREATED_S, event, pieces_of
from worker.simulator.wires.openai import OpenAIWire, chat_usage, stops

__all__ = ["Chat"]

_FINISH: Final = {Finish.STOP: "stop", Finish.LENGTH: "length", Finish.TOOL: "tool_calls"}


class Chat(OpenAIWire):
    """Messages in, choices out."""

    endpoint = "chat"

    def read(self, body: Mapping[str, Any], model: str | None) -> Ask:
        messages = require_list(body, "messages")
        prompt = last_text(messages, "content")
        form = body.get("response_format") or {}
        kind = form.get("type") if isinstance(form, dict) else None
        wrapped = form.get("json_schema") or {} if kind == "json_schema" else {}
        return Ask(
            model=model or str(body.get("model", "")),
            prompt=prompt,
            input_bytes=weigh(messages) + weigh(body.get("tools")),
            max_tokens=count(body, "max_completion_tokens", "max_tokens"),
            n=count(body, "n") or 1,
            stream=body.get("stream") is True,
            include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            stop=stops(body.get("stop")),
            tool=_tool(body, messages, prompt),
            json=kind in {"json_object", "json_schema"},
            schema=wrapped.get("schema"),
        )

    def write(self, ask: Ask, draft: Draft) -> bytes:
        del ask
        choices = [
            {"index": index, "message": _message(choice), "logprobs": None, "finish_reason": _FINISH[choice.finish]}
            for index, choice in enumerate(draft.choices)
        ]
        head = {
            "id": f"chatcmpl-{draft.serial}", "object": "chat.completion", "created": CREATED_S, "model": draft.model,
        }  # fmt: skip
        return orjson.dumps(head | {"choices": choices, "usage": chat_usage(draft.spent), "service_tier": "default"})

    def pieces(self, ask: Ask, draft: Draft) -> list[bytes]:
        usage: dict[str, Any] = {"usage": None} if ask.include_usage else {}
        pieces = []
        for index, choice in enumerate(draft.choices):
            for delta in _deltas(choice):
                part = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
                pieces.append(event(None, _chunk(draft, [part]) | usage))
            part = {"index": index, "delta": {}, "logprobs": None, "finish_reason": _FINISH[choice.finish]}
            pieces.append(event(None, _chunk(draft, [part]) | usage))
        if ask.include_usage:
            pieces.append(event(None, _chunk(draft, []) | {"usage": chat_usage(draft.spent)}))
        return [*pieces, b"data: [DONE]\n\n"]


def _tool(body: Mapping[str, Any], messages: list[Any], prompt: str) -> Tool | None:
    tools = [
        Tool(str(function.get("name", "")), function.get("parameters") or {})
        for given in body.get("tools") or ()
        if isinstance(given, dict) and isinstance(function := given.get("function"), dict)
    ]
    choice = body.get("tool_choice", "auto")
    if not tools or choice == "none":
        return None
    last = messages[-1]
    answered = isinstance(last, dict) and last.get("role") == "tool"
    forced = (choice.get("function") or {}).get("name") if isinstance(choice, dict) else None
    return chosen_tool(tools, forced=forced, required=choice == "required", prompt="" if answered else prompt)


def _message(choice: Choice) -> dict[str, Any]:
    if choice.tool is None:
        return {"role": "assistant", "content": choice.text, "refusal": None}
    function = {"name": choice.tool.name, "arguments": choice.tool.arguments.decode()}
    calls = [{"id": choice.tool.id, "type": "function", "function": function}]
    return {"role": "assistant", "content": None, "refusal": None, "tool_calls": calls}


def _deltas(choice: Choice) -> list[dict[str, Any]]:
    if choice.tool is None:
        return [{"role": "assistant", "content": ""}, *({"content": text} for text in pieces_of(choice.text))]
    opening = {
        "index": 0, "id": choice.tool.id, "type": "function", "function": {"name": choice.tool.name, "arguments": ""},
    }  # fmt: skip
    rest = [
        {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
        for text in pieces_of(choice.tool.arguments.decode())
    ]
    return [{"role": "assistant", "content": None, "tool_calls": [opening]}, *rest]


def _chunk(draft: Draft, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{draft.serial}", "object": "chat.completion.chunk", "created": CREATED_S,
        "model": draft.model, "choices": choices,
    }  # fmt: skip
