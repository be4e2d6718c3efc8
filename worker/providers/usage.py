"""Token counts as the providers report them, in the one meaning of ``bucketline.usage``.

Comes in: the ``usage`` member of a parsed answer. Goes out: a ``Usage``, or None where counts are missing, are no
integers, or contradict themselves (a part larger than its whole), so that a wrong figure is never billed as if it
were right. One reader a wire; who counts what inside what is written at each. Called by the adapters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bucketline.usage import Usage

__all__ = ["bedrock_usage", "chat_usage", "gemini_usage", "messages_usage", "responses_usage"]

_NOTHING: dict[str, Any] = {}
_MOST_TOKENS = 10**12  #: no call has so many; a larger figure is a misreading


def chat_usage(usage: Any, *, output_is_rest: bool = False) -> Usage | None:
    """OpenAI's chat, completions and embeddings, and all who speak like them.

    Cached, cache writes and reasoning stand inside the counts. The cached figure is read from the details, else from
    Moonshot's ``cached_tokens`` or DeepSeek's ``prompt_cache_hit_tokens`` at the top (the same tokens, never added).
    ``output_is_rest``: Gemini's OpenAI surface leaves thinking out of completion_tokens but not out of the total.
    """
    if not isinstance(usage, dict):
        return None
    prompt = usage.get("prompt_tokens")
    if type(prompt) is not int:
        return responses_usage(usage) if "input_tokens" in usage else _camel_usage(usage)
    completion = usage.get("completion_tokens", 0)
    if type(completion) is not int:
        return None
    inside = usage.get("prompt_tokens_details") or _NOTHING
    outside = usage.get("completion_tokens_details") or _NOTHING
    if not isinstance(inside, dict) or not isinstance(outside, dict):
        return None
    cached = inside.get("cached_tokens") or usage.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0
    reasoning = outside.get("reasoning_tokens") or usage.get("reasoning_tokens") or 0
    total = usage.get("total_tokens")
    if type(total) is int and total > prompt + completion:
        rest = total - prompt - completion
        if output_is_rest or rest == reasoning:
            completion, reasoning = completion + rest, reasoning or rest
    return _checked(
        prompt, cached, inside.get("cache_write_tokens") or 0, completion, reasoning, **_media(inside, outside)
    )


def responses_usage(usage: Any) -> Usage | None:
    """OpenAI's Responses: parts inside their wholes. LiteLLM and others use these names for embeddings too."""
    if not isinstance(usage, dict):
        return None
    inside = usage.get("input_tokens_details") or _NOTHING
    outside = usage.get("output_tokens_details") or _NOTHING
    if not isinstance(inside, dict) or not isinstance(outside, dict):
        return None
    return _checked(
        usage.get("input_tokens"),
        inside.get("cached_tokens") or 0,
        inside.get("cache_write_tokens") or 0,
        usage.get("output_tokens", 0),
        outside.get("reasoning_tokens") or 0,
        **_media(inside, outside),
    )


def _media(inside: Mapping[str, Any], outside: Mapping[str, Any]) -> dict[str, Any]:
    """The tokens of sounds and images in OpenAI's details, which both of its forms name alike."""
    return {
        "audio_in": inside.get("audio_tokens") or 0,
        "audio_out": outside.get("audio_tokens") or 0,
        "image_in": inside.get("image_tokens") or 0,
        "image_out": outside.get("image_tokens") or 0,
    }


def messages_usage(usage: Any) -> Usage | None:
    """Anthropic's Messages: ``input_tokens`` is only what no cache served; reads and writes stand beside it."""
    if not isinstance(usage, dict):
        return None
    plain, read = usage.get("input_tokens"), usage.get("cache_read_input_tokens") or 0
    write = usage.get("cache_creation_input_tokens") or 0
    split = usage.get("cache_creation") or _NOTHING
    outside = usage.get("output_tokens_details") or _NOTHING
    if not (type(plain) is type(read) is type(write) is int and isinstance(split, dict) and isinstance(outside, dict)):
        return None
    return _checked(
        plain + read + write,
        read,
        write,
        usage.get("output_tokens"),
        outside.get("thinking_tokens") or 0,
        write_1h=split.get("ephemeral_1h_input_tokens") or 0,
    )


def gemini_usage(usage: Any) -> Usage | None:
    """Google's ``usageMetadata``: cached inside the prompt, tool-use prompt and thoughts beside their counts.

    Some hosts count thoughts inside candidates; there prompt and candidates alone make the total.
    """
    if not isinstance(usage, dict):
        return None
    prompt, tools = usage.get("promptTokenCount"), usage.get("toolUsePromptTokenCount") or 0
    candidates, thoughts = usage.get("candidatesTokenCount") or 0, usage.get("thoughtsTokenCount") or 0
    if not type(prompt) is type(tools) is type(candidates) is type(thoughts) is int:
        return None
    inside = bool(thoughts) and prompt + tools + candidates == usage.get("totalTokenCount")
    asked, told = _modalities(usage.get("promptTokensDetails")), _modalities(usage.get("candidatesTokensDetails"))
    return _checked(
        prompt + tools,
        usage.get("cachedContentTokenCount") or 0,
        0,
        candidates if inside else candidates + thoughts,
        thoughts,
        audio_in=asked.get("AUDIO", 0),
        audio_out=told.get("AUDIO", 0),
        image_in=asked.get("IMAGE", 0),
        image_out=told.get("IMAGE", 0),
    )


def bedrock_usage(usage: Any) -> Usage | None:
    """Bedrock's Converse: as Anthropic, ``inputTokens`` without what a cache served or stored."""
    if not isinstance(usage, dict):
        return None
    plain, read = usage.get("inputTokens"), usage.get("cacheReadInputTokens") or 0
    write = usage.get("cacheWriteInputTokens") or 0
    if not type(plain) is type(read) is type(write) is int:
        return None
    details = usage.get("cacheDetails")
    hours = (
        [d.get("inputTokens") for d in details if isinstance(d, dict) and d.get("ttl") == "1h"]
        if isinstance(details, list)
        else []
    )
    write_1h = sum(count for count in hours if type(count) is int)
    return _checked(plain + read + write, read, write, usage.get("outputTokens"), 0, write_1h=write_1h)


def _camel_usage(usage: dict[str, Any]) -> Usage | None:
    """Google's batch rows in OpenAI's shape: ``promptTokens``, thinking only in the total."""
    prompt, completion, total = usage.get("promptTokens"), usage.get("completionTokens", 0), usage.get("totalTokens")
    if not type(prompt) is type(completion) is int:
        return None
    output = total - prompt if type(total) is int and total > prompt + completion else completion
    return _checked(prompt, 0, 0, output, output - completion)


def _modalities(details: Any) -> dict[str, int]:
    """``[{"modality": "AUDIO", "tokenCount": 5}]`` → counts by modality."""
    counts: dict[str, int] = {}
    for entry in details if isinstance(details, list) else ():
        if isinstance(entry, dict) and type(entry.get("tokenCount")) is int:
            name = str(entry.get("modality"))
            counts[name] = counts.get(name, 0) + entry["tokenCount"]
    return counts


def _checked(
    input_: Any,
    cached: Any,
    write: Any,
    output: Any,
    reasoning: Any,
    *,
    write_1h: Any = 0,
    audio_in: Any = 0,
    audio_out: Any = 0,
    image_in: Any = 0,
    image_out: Any = 0,
) -> Usage | None:
    """A ``Usage`` when every count is a whole number and no part exceeds its whole; None otherwise."""
    if not type(input_) is type(cached) is type(write) is type(output) is type(reasoning) is int:
        return None
    if min(input_, cached, write, output, reasoning) < 0 or cached + write > input_ or reasoning > output:
        return None
    if input_ + output > _MOST_TOKENS:
        return None
    if not (write_1h or audio_in or audio_out or image_in or image_out):
        return Usage(input_, cached, write, 0, output, reasoning)
    rest = (write_1h, audio_in, audio_out, image_in, image_out)
    if any(type(count) is not int or count < 0 for count in rest) or write_1h > write:
        return None
    if audio_in + image_in > input_ or audio_out + image_out > output:
        return None
    return Usage(input_, cached, write, write_1h, output, reasoning, audio_in, audio_out, image_in, image_out)
