"""Which models the presets had when this was written, and which are gone.

Comes in: a preset's name and a model's. Goes out: whether it is known to have been retired, and the nearest living
name. Data for messages alone: no call is made or refused by it, since model ids age faster than releases; a provider's
own list (``worker.providers.model_lists``) is newer. Sources: the official SDKs' lists of names and the providers'
deprecation pages, of 25 November 2026.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from types import MappingProxyType

__all__ = ["MODEL_IDS", "RETIRED", "nearest"]

_KIMI = (
    "kimi-k3", "kimi-k3.1-pro", "kimi-k3.1-pro-highspeed", "kimi-k2.7-code", "kimi-k2.7-code-highspeed", "kimi-k2.6",
)  # fmt: skip
_GEMINI = (
    "gemini-3.8-flash", "gemini-3.7-flash", "gemini-3.6-flash", "gemini-3.5-flash", "gemini-3.5-flash-lite",
    "gemini-3.1-pro-preview", "gemini-3.1-flash-lite", "gemini-3-flash-preview", "gemini-2.5-flash",
    "gemini-embedding-2", "gemini-embedding-001",
)  # fmt: skip
#: preset → models that it serves
MODEL_IDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "openai": (
            "gpt-6.2-astra", "gpt-6.2-sol", "gpt-6.1-sol", "gpt-6.1-terra", "gpt-6-luna", "gpt-5.6-sol",
            "gpt-5.6-terra", "gpt-5.6-luna", "gpt-5.5", "gpt-5.4", "gpt-5.4-mini", "gpt-5.4-nano", "gpt-5.2", "gpt-5.1",
            "gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini",
            "text-embedding-3-large", "text-embedding-3-small",
        ),
        "anthropic": (
            "claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-5", "claude-sonnet-5",
            "claude-opus-4-8", "claude-opus-4-7", "claude-opus-4-6", "claude-sonnet-4-6", "claude-haiku-4-5",
        ),
        "google": (*_GEMINI, "gemini-2.5-pro"),
        "vertex": _GEMINI,
        "moonshot": _KIMI,
        "moonshot-cn": _KIMI,
        "llmapi": ("moonshot/kimi-k2-thinking", "gpt-4o"),
        "bedrock": (
            "anthropic.claude-sonnet-4-6-v1:0", "us.anthropic.claude-sonnet-5-5", "moonshot.kimi-k2-thinking",
        ),
        "deepseek": ("deepseek-v4-pro", "deepseek-v4-flash", "deepseek-chat", "deepseek-reasoner"),
    }
)  # fmt: skip
#: preset → a retired model's beginning → when, and what its maker names in its place
RETIRED: Mapping[str, Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "openai": {
            "gpt-3.5": ("2026-10-23", "gpt-5.4-nano"),
            "gpt-4-": ("2026-10-23", "gpt-5.4"),
            "o1": ("2026-10-23", "gpt-5.4"),
            "o3-mini": ("2026-10-23", "gpt-5.4-mini"),
            "o4-mini": ("2026-10-23", "gpt-5.4-mini"),
        },
        "vertex": {"gemini-2.5-pro": ("2026-10-20", "gemini-3.1-pro-preview")},
        "moonshot": {
            "kimi-k2-": ("2026", "kimi-k2.6"),  # the thinking model and the previews; other hosts still serve them
            "kimi-k2.5": ("2026-08-31", "kimi-k2.6"),
            "moonshot-v1": ("2026-08-31", "kimi-k2.6"),
        },
        "moonshot-cn": {
            "kimi-k2-": ("2026", "kimi-k2.6"),
            "kimi-k2.5": ("2026-08-31", "kimi-k2.6"),
            "moonshot-v1": ("2026-08-31", "kimi-k2.6"),
        },
    }
)


def nearest(model: str, preset: str | None, living: Collection[str] = ()) -> str | None:
    """The name to use in a missing model's place: its maker's successor where it lives, else the most alike.

    ``living`` is the provider's own list; without one the preset's names stand in.
    """
    known = living or MODEL_IDS.get(preset or "", ())
    for beginning, (_, successor) in RETIRED.get(preset or "", {}).items():
        if model.startswith(beginning) and successor in known:
            return successor
    alike = difflib.get_close_matches(model, known, n=1, cutoff=0.5)
    return alike[0] if alike else None
