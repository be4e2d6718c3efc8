"""Bedrock's Converse body, written.

Comes in: a ``Prompt``, the model's id and, for a Claude, what it accepts. Goes out: the body, and the names of what it
cannot say. The model itself stands in the path. Called where a line of any form goes to Bedrock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bucketline.splice import dumps, loads
from worker.providers.claude import Claude
from worker.providers.forms.messages_write import NOT_ANTHROPIC, claude_thinking
from worker.providers.forms.shapes import arguments_given, merged, safe_ids, schema_asked, with_system_first
from worker.providers.neutral import Media, Part, Prompt, Text, ToolResult, ToolUse, Turn

__all__ = ["write_converse"]

_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf", "text/csv": "csv", "text/html": "html", "text/plain": "txt", "text/markdown": "md",
    "application/msword": "doc", "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}  # fmt: skip


def write_converse(prompt: Prompt, model: str, claude: Claude) -> tuple[dict[str, Any], list[str]]:
    """The converse body and what it cannot say."""
    lost = [name for name in NOT_ANTHROPIC if getattr(prompt, name) is not None]
    system, turns = with_system_first(prompt, lost)
    body: dict[str, Any] = {"messages": _messages(turns, safe_ids(prompt), lost)}
    if system:
        body["system"] = [{"text": text} for text in system]
    is_claude = "claude" in model
    thinking, effort, budget = claude_thinking(prompt, claude) if is_claude else (None, prompt.effort, 0)
    thinks = thinking is not None and thinking["type"] != "disabled"
    config = _inference(prompt, claude, budget, lost, thinks=thinks)
    if config:
        body["inferenceConfig"] = config
    _tools(body, prompt, claude if is_claude else Claude(), lost)
    fields: dict[str, Any] = {} if thinking is None else {"thinking": thinking}
    if prompt.top_k is not None:
        if is_claude and claude.sampling and not thinks:
            fields["top_k"] = prompt.top_k
        else:
            lost.append("top_k")
    if fields:
        body["additionalModelRequestFields"] = fields
    _output(body, prompt, effort, lost)
    _labels(body, prompt, lost)
    return body, lost


def _inference(prompt: Prompt, claude: Claude, budget: int, lost: list[str], *, thinks: bool) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if prompt.max_tokens is not None or budget:
        cap = prompt.max_tokens if prompt.max_tokens is not None else claude.cap_tokens
        config["maxTokens"] = cap if cap > budget else cap + budget
    if prompt.stop:
        config["stopSequences"] = list(prompt.stop)
    for ours, theirs in (("temperature", "temperature"), ("top_p", "topP")):
        value = getattr(prompt, ours)
        fixed = not claude.sampling or (thinks and ours == "temperature")
        if value is None or (fixed and value == 1):
            continue
        if fixed or value > 1:
            lost.append(ours)
        else:
            config[theirs] = value
    return config


def _tools(body: dict[str, Any], prompt: Prompt, claude: Claude, lost: list[str]) -> None:
    """``none`` has no word: then the tools are left out, unless the turns so far need them."""
    choice = prompt.tool_choice
    if prompt.one_tool_at_a_time and prompt.tools:
        lost.append("parallel_tool_calls")
    used = any(isinstance(part, ToolUse | ToolResult) for turn in prompt.turns for part in turn.parts)
    if choice is not None and choice.mode == "none":
        if not used:
            return
        lost.append("tool_choice")
    if not prompt.tools:
        return
    config: dict[str, Any] = {
        "tools": [
            {
                "toolSpec": {
                    "name": tool.name,
                    **({} if tool.description is None else {"description": tool.description}),
                    "inputSchema": {"json": dict(tool.parameters or {"type": "object", "properties": {}})},
                    **({"strict": True} if tool.strict else {}),
                }
            }
            for tool in prompt.tools
        ]
    }
    if choice is not None and choice.mode == "required":
        if len(choice.names) > 1 or not claude.forced_tool:
            lost.append("tool_choice")
        else:
            config["toolChoice"] = {"tool": {"name": choice.names[0]}} if choice.names else {"any": {}}
    body["toolConfig"] = config


def _output(body: dict[str, Any], prompt: Prompt, effort: str | None, lost: list[str]) -> None:
    config: dict[str, Any] = {}
    if effort is not None:
        config["effort"] = effort
    output = schema_asked(prompt, lost)
    if output is not None:
        schema = {"schema": dumps(dict(output.schema or {})).decode(), "name": output.name}
        config["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": schema}}
    if config:
        body["outputConfig"] = config


def _labels(body: dict[str, Any], prompt: Prompt, lost: list[str]) -> None:
    if prompt.metadata:
        body["requestMetadata"] = dict(prompt.metadata)
    if prompt.user is not None:
        lost.append("user")
    if prompt.tier in ("flex", "priority", "reserved"):
        body["serviceTier"] = {"type": prompt.tier}
    elif prompt.tier is not None:
        lost.append("service_tier")


def _messages(turns: list[Turn], ids: Mapping[str, str], lost: list[str]) -> list[dict[str, Any]]:
    messages = []
    for turn in merged(turns):
        blocks = [block for part in turn.parts if (block := _block(part, ids, lost)) is not None]
        if blocks:
            messages.append({"role": turn.role, "content": blocks})
    return messages


def _block(part: Part, ids: Mapping[str, str], lost: list[str]) -> dict[str, Any] | None:
    match part:
        case Text(text):
            return {"text": text} if text else None
        case Media():
            return _media(part, lost)
        case ToolUse(call_id, name, arguments):
            return {"toolUse": {"toolUseId": ids[call_id], "name": name, "input": arguments_given(arguments, lost)}}
        case ToolResult():
            content = [_result_part(one, lost) for one in part.parts]
            status = {"status": "error"} if part.is_error else {}
            blocks = [block for block in content if block is not None]
            return {"toolResult": {"toolUseId": ids[part.id], "content": blocks or [{"text": ""}], **status}}
        case _:
            return None


def _result_part(part: Text | Media, lost: list[str]) -> dict[str, Any] | None:
    if isinstance(part, Media):
        return _media(part, lost)
    try:
        value = loads(part.text)
    except ValueError:
        value = None
    return {"json": value} if isinstance(value, dict) else {"text": part.text}


def _media(media: Media, lost: list[str]) -> dict[str, Any] | None:
    """Bytes alone: Bedrock fetches nothing from the web. (An S3 address is one of its own.)"""
    source: dict[str, Any] | None = None
    if media.data is not None:
        source = {"bytes": media.data}
    elif media.url is not None and media.url.startswith("s3://"):
        source = {"s3Location": {"uri": media.url}}
    if source is not None and media.kind == "image" and media.media_type in _IMAGES:
        if media.detail:
            lost.append("image detail")
        return {"image": {"format": _IMAGES[media.media_type], "source": source}}
    if source is not None and media.kind == "file" and media.media_type in _DOCUMENTS:
        name = "".join(c if c.isalnum() and c.isascii() else "-" for c in (media.name or "document").rpartition(".")[0])
        return {"document": {"format": _DOCUMENTS[media.media_type], "name": name or "document", "source": source}}
    lost.append(f"{media.kind} by address" if source is None else f"{media.kind} {media.media_type}".rstrip())
    return None
