"""Providers' wires: one adapter a wire, no I/O in any."""

from __future__ import annotations

from bucketline.errors import ConfigError
from worker.providers.anthropic import AnthropicAdapter
from worker.providers.base import Adapter, Answer, Call, Reply
from worker.providers.bedrock import BedrockAdapter
from worker.providers.gemini import GeminiAdapter
from worker.providers.openai import OpenAIAdapter

__all__ = ["Adapter", "Answer", "Call", "Reply", "adapter_for"]

_ADAPTERS: dict[str, Adapter] = {
    "openai": OpenAIAdapter(),
    "anthropic": AnthropicAdapter(),
    "gemini": GeminiAdapter(),
    "vertex": GeminiAdapter(vertex=True),
    "bedrock": BedrockAdapter(),
}


def adapter_for(wire: str) -> Adapter:
    """The adapter of a wire. Raises ConfigError when there is none of that name."""
    adapter = _ADAPTERS.get(wire)
    if adapter is None:
        raise ConfigError(f"There is no wire {wire!r}; use one of {', '.join(sorted(_ADAPTERS))}.")
    return adapter
