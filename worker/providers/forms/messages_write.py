"""Anthropic's Messages body, written.

Comes in: a ``Prompt`` and what the model accepts. Goes out: the body, and the names of what it cannot say. Called
where a line of another form goes to Anthropic's wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.providers.claude import Claude
from worker.providers.forms.shapes import (
    arguments_given,
    fetchable,
    merged,
    plain_text,
    safe_ids,
    schema_asked,
    with_system_first,
)
from worker.providers.neutral import Media, Part, Prompt, Text, ToolResult, ToolUse, Turn

__all__ = ["NOT_ANTHROPIC", "claude_thinking", "write_messages"]

#: neutral fields that Anthropic, and Bedrock with it, has no word for
NOT_ANTHROPIC = ("n", "seed", "presence_penalty", "frequency_penalty", "logprobs", "verbosity")
_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 32768}
_LEAST_BUDGET_TOKENS = 1024
_LEAST_TOP_P = 0.95  #: beside thinking


def write_messages(prompt: Prompt, model: str, claude: Claude) -> tuple[dict[str, Any], list[str]]:
    """The messages body and what it cannot say."""
    lost = [name for name in NOT_ANTHROPIC if getattr(prompt, name) is not None]
    system, turns = with_system_first(prompt, lost)
    thinking, effort, budget = claude_thinking(prompt, claude)
    thinks = thinking is not None and thinking["type"] != "disabled"
    body: dict[str, Any] = {"model": model, "max_tokens": _cap(prompt, claude, budget)}
    if system:
        body["system"] = system[0] if len(system) == 1 else [{"type": "text", "text": text} for text in system]
    ids = safe_ids(prompt)
    body["messages"] = _messages(turns, ids, lost)
    if turns and turns[-1].role == "assistant" and not claude.prefill:
        lost.append("a last message from the assistant")
    if prompt.stop:
        body["stop_sequences"] = list(prompt.stop)
    _sampling(body, prompt, claude, lost, thinks=thinks)
    _tools(body, prompt, claude, lost, thinks=thinks)
    if thinking is not None:
        body["thinking"] = thinking
    _output(body, prompt, effort, lost)
    _labels(body, prompt, lost)
    return body, lost


def _cap(prompt: Prompt, claude: Claude, budget: int) -> int:
    """The cap is required, and a thinking budget must lie below it."""
    cap = prompt.max_tokens if prompt.max_tokens is not None else claude.cap_tokens
    return cap if cap > budget else budget + cap


def claude_thinking(prompt: Prompt, claude: Claude) -> tuple[dict[str, Any] | None, str | None, int]:
    """The ``thinking`` member, the effort word, and the budget that ``thinking`` reserves (0 for none).

    Newer models take an effort and think adaptively; older ones take a budget, which an effort is turned into.
    """
    effort, budget = prompt.effort, prompt.thinking_tokens
    if not claude.thinks or (effort is None and budget is None):
        return None, None, 0  # an older model thinks as little without being told
    if effort == "none" or budget == 0:
        return {"type": "disabled"}, None, 0
    if claude.effort:
        word = "low" if effort == "minimal" else effort
        if budget is not None and budget > 0:
            return {"type": "enabled", "budget_tokens": max(budget, _LEAST_BUDGET_TOKENS)}, word, budget
        wanted = budget is not None or not _excludes_thinking(prompt)
        return {"type": "adaptive"} if wanted else None, word, 0
    if budget is None or budget < 0:
        budget = _BUDGETS.get(effort or "medium", _BUDGETS["medium"])
    budget = max(budget, _LEAST_BUDGET_TOKENS)
    return {"type": "enabled", "budget_tokens": budget}, None, budget


def _excludes_thinking(prompt: Prompt) -> bool:
    """What Anthropic refuses beside thinking; an effort alone, without thinking, goes with all of it."""
    forced = prompt.tool_choice is not None and prompt.tool_choice.mode == "required"
    return (
        forced or prompt.top_k is not None or prompt.temperature not in (None, 1) or (prompt.top_p or 1) < _LEAST_TOP_P
    )


def _sampling(body: dict[str, Any], prompt: Prompt, claude: Claude, lost: list[str], *, thinks: bool) -> None:
    for name, default in (("temperature", 1), ("top_p", 1), ("top_k", None)):
        value = getattr(prompt, name)
        if value is None or (value == default and (thinks or not claude.sampling)):
            continue
        too_low = thinks and (name != "top_p" or value < _LEAST_TOP_P)
        if not claude.sampling or too_low or (name == "temperature" and value > 1):
            lost.append(name)
        else:
            body[name] = value


def _tools(body: dict[str, Any], prompt: Prompt, claude: Claude, lost: list[str], *, thinks: bool) -> None:
    if prompt.tools:
        body["tools"] = [
            {
                "name": tool.name,
                **({} if tool.description is None else {"description": tool.description}),
                "input_schema": dict(tool.parameters or {"type": "object", "properties": {}}),
                **({"strict": True} if tool.strict else {}),
            }
            for tool in prompt.tools
        ]
    choice = prompt.tool_choice
    written: dict[str, Any] | None = None
    if choice is None:
        written = {"type": "auto"} if prompt.one_tool_at_a_time and prompt.tools else None
    elif choice.mode == "none":
        written = {"type": "none"}
    elif not claude.forced_tool or thinks or len(choice.names) > 1:
        lost.append("tool_choice")
        written = {"type": "any"} if claude.forced_tool and not thinks else None
    else:
        written = {"type": "tool", "name": choice.names[0]} if choice.names else {"type": "any"}
    if written is not None:
        if prompt.one_tool_at_a_time and written["type"] != "none":
            written["disable_parallel_tool_use"] = True
        body["tool_choice"] = written


def _output(body: dict[str, Any], prompt: Prompt, effort: str | None, lost: list[str]) -> None:
    config: dict[str, Any] = {}
    if effort is not None:
        config["effort"] = effort
    output = schema_asked(prompt, lost)
    if output is not None:
        config["format"] = {"type": "json_schema", "schema": dict(output.schema or {})}
    if config:
        body["output_config"] = config


def _labels(body: dict[str, Any], prompt: Prompt, lost: list[str]) -> None:
    if prompt.user is not None:
        body["metadata"] = {"user_id": prompt.user}
    if prompt.metadata:
        lost.append("metadata")
    if prompt.tier == "standard_only":
        body["service_tier"] = prompt.tier
    elif prompt.tier is not None:
        lost.append("service_tier")


def _messages(turns: list[Turn], ids: Mapping[str, str], lost: list[str]) -> list[dict[str, Any]]:
    messages = []
    for turn in merged(turns):
        text = plain_text(turn.parts)
        blocks = [block for part in turn.parts if (block := _block(part, ids, lost)) is not None]
        if text or blocks:
            messages.append({"role": turn.role, "content": text or blocks})
    return messages


def _block(part: Part, ids: Mapping[str, str], lost: list[str]) -> dict[str, Any] | None:
    match part:
        case Text(text):
            return {"type": "text", "text": text} if text else None
        case Media():
            return _media(part, lost)
        case ToolUse(call_id, name, arguments):
            return {"type": "tool_use", "id": ids[call_id], "name": name, "input": arguments_given(arguments, lost)}
        case ToolResult():
            return _result(part, ids, lost)
        case _:
            return None


def _result(result: ToolResult, ids: Mapping[str, str], lost: list[str]) -> dict[str, Any]:
    text = plain_text(result.parts)
    blocks = [block for part in result.parts if (block := _block(part, ids, lost)) is not None]
    written: dict[str, Any] = {"type": "tool_result", "tool_use_id": ids[result.id], "content": text or blocks}
    if result.is_error:
        written["is_error"] = True
    return written


def _media(media: Media, lost: list[str]) -> dict[str, Any] | None:
    if not fetchable(media):
        lost.append(f"{media.kind} by address")
        return None
    if media.kind == "image" and (media.url is not None or media.media_type in _IMAGES):
        if media.detail:
            lost.append("image detail")
        return {"type": "image", "source": _source(media)}
    if media.kind == "file" and (media.url is not None or media.media_type == "application/pdf"):
        title = {} if media.name is None else {"title": media.name}
        return {"type": "document", "source": _source(media), **title}
    lost.append(f"{media.kind} {media.media_type}".rstrip())
    return None


def _source(media: Media) -> dict[str, Any]:
    if media.url is not None:
        return {"type": "url", "url": media.url}
    return {"type": "base64", "media_type": media.media_type, "data": media.data or ""}
