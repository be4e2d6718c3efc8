"""OpenAI's ``/v1/responses``.

In and out: see ``base.Wire``. Output items (reasoning, message, function call) instead of choices; an answer cut by
``max_output_tokens`` is ``incomplete``. A stream tells every event that the official SDK puts together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from worker.simulator.reading import chosen_tool, count, last_text, text_of, weigh
from worker.simulator.talk import Ask, Draft, Finish, Invalid, Spent, Tool
from worker.simulator.wires.base import CREATED_S, Refusal, event, pieces_of
from worker.simulator.wires.openai import OpenAIWire

__all__ = ["Responses"]


class Responses(OpenAIWire):
    """Input in, output items out."""

    endpoint = "responses"

    def read(self, body: Mapping[str, Any], model: str | None) -> Ask:
        given = body.get("input")
        if given is None:
            raise Invalid("Missing required parameter: 'input'.", "input")
        prompt = last_text(given, "content") if isinstance(given, list) else text_of(given)
        form = (body.get("text") or {}).get("format") or {}
        return Ask(
            model=model or str(body.get("model", "")),
            prompt=prompt,
            input_bytes=weigh(given) + weigh(body.get("instructions")) + weigh(body.get("tools")),
            max_tokens=count(body, "max_output_tokens"),
            stream=body.get("stream") is True,
            tool=_tool(body, given, prompt),
            json=form.get("type") in {"json_object", "json_schema"},
            schema=form.get("schema"),
        )

    def write(self, ask: Ask, draft: Draft) -> bytes:
        del ask
        return orjson.dumps(_response(draft))

    def pieces(self, ask: Ask, draft: Draft) -> list[bytes]:
        del ask
        whole = _response(draft)
        begun = whole | {"status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
        events = [("response.created", {"response": begun}), ("response.in_progress", {"response": begun})]
        for index, item in enumerate(whole["output"]):
            events += _item_events(index, item)
        events.append((f"response.{whole['status']}", {"response": whole}))
        return [
            event(name, {"type": name, "sequence_number": number} | value)
            for number, (name, value) in enumerate(events)
        ]

    def stream_error(self, refusal: Refusal) -> bytes:
        error = orjson.loads(self.refuse(refusal).body)["error"]
        value = {"code": error["code"] or error["type"], "message": error["message"], "param": error["param"]}
        return event("error", {"type": "error", "sequence_number": 0} | value)


def _tool(body: Mapping[str, Any], given: Any, prompt: str) -> Tool | None:
    tools = [
        Tool(str(tool.get("name", "")), tool.get("parameters") or {})
        for tool in body.get("tools") or ()
        if isinstance(tool, dict) and tool.get("type") == "function"
    ]
    choice = body.get("tool_choice", "auto")
    if not tools or choice == "none":
        return None
    last = given[-1] if isinstance(given, list) and given else None
    answered = isinstance(last, dict) and last.get("type") == "function_call_output"
    forced = choice.get("name") if isinstance(choice, dict) else None
    return chosen_tool(tools, forced=forced, required=choice == "required", prompt="" if answered else prompt)


def _response(draft: Draft) -> dict[str, Any]:
    cut = any(choice.finish is Finish.LENGTH for choice in draft.choices)
    return {
        "id": f"resp_{draft.serial}",
        "object": "response",
        "created_at": CREATED_S,
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": None,
        "metadata": {},
        "model": draft.model,
        "output": list(_items(draft)),
        "parallel_tool_calls": False,
        "temperature": 1.0,
        "top_p": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "usage": _usage(draft.spent),
    }


def _items(draft: Draft) -> Iterator[dict[str, Any]]:
    if draft.spent.reasoning_tokens and draft.choices:
        yield {"type": "reasoning", "id": f"rs_{draft.serial}", "summary": []}
    for choice in draft.choices[:1]:
        status = "incomplete" if choice.finish is Finish.LENGTH else "completed"
        if choice.tool is not None:
            call = {"call_id": choice.tool.id, "name": choice.tool.name, "arguments": choice.tool.arguments.decode()}
            yield {"type": "function_call", "id": f"fc_{draft.serial}", "status": status} | call
        elif choice.text:
            content = [{"type": "output_text", "text": choice.text, "annotations": []}]
            head = {"type": "message", "id": f"msg_{draft.serial}", "role": "assistant", "status": status}
            yield head | {"content": content}


def _usage(spent: Spent) -> dict[str, Any]:
    written = spent.cache_write_tokens
    return {
        "input_tokens": spent.input_tokens,
        "input_tokens_details": {"cached_tokens": spent.cached_tokens, "cache_write_tokens": written},
        "output_tokens": spent.output_tokens,
        "output_tokens_details": {"reasoning_tokens": spent.reasoning_tokens},
        "total_tokens": spent.input_tokens + spent.output_tokens,
    }


def _item_events(index: int, item: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The events in which one output item grows."""
    begun = item | {"status": "in_progress"} if "status" in item else item
    at = {"item_id": item["id"], "output_index": index}
    events: list[tuple[str, dict[str, Any]]] = []
    if item["type"] == "message":
        begun = begun | {"content": []}
        part = item["content"][0]
        at = at | {"content_index": 0}
        events.append(("response.content_part.added", at | {"part": part | {"text": ""}}))
        events += [
            ("response.output_text.delta", at | {"delta": text, "logprobs": []}) for text in pieces_of(part["text"])
        ]
        events.append(("response.output_text.done", at | {"text": part["text"], "logprobs": []}))
        events.append(("response.content_part.done", at | {"part": part}))
    elif item["type"] == "function_call":
        begun = begun | {"arguments": ""}
        done = at | {"arguments": item["arguments"], "name": item["name"]}
        events += [
            ("response.function_call_arguments.delta", at | {"delta": text}) for text in pieces_of(item["arguments"])
        ]
        events.append(("response.function_call_arguments.done", done))
    opening = ("response.output_item.added", {"output_index": index, "item": begun})
    return [opening, *events, ("response.output_item.done", {"output_index": index, "item": item})]
