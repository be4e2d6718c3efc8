"""A stream's events put together to the one answer that the call would have given unstreamed.

Comes in: the events of one reply. Goes out: ``Whole``: the answer, or the error that came in its middle, or word that
it broke off. One file a wire. Called by the adapters, which judge the answer as any other.
"""

from __future__ import annotations

from worker.providers.streams.anthropic import assemble_messages
from worker.providers.streams.base import Whole
from worker.providers.streams.bedrock import assemble_converse
from worker.providers.streams.gemini import assemble_generate
from worker.providers.streams.openai import assemble_chat, assemble_responses

__all__ = [
    "Whole",
    "assemble_chat",
    "assemble_converse",
    "assemble_generate",
    "assemble_messages",
    "assemble_responses",
]
