"""A stream's events, and what they add up to: the one answer that the call would have given unstreamed.

Comes in: one reply whose stream has ended, well or badly. Goes out: its events, by whichever framing (``sse``,
``frames``); and of those a ``Whole``: the answer, or the error that came in its middle, or word that it broke off, by one
file a wire. Called by the adapters, which judge the answer as any other; whether to stream at all is ``streaming``'s.
"""

from __future__ import annotations

from collections.abc import Iterable

from worker.providers.base import Reply
from worker.providers.streams.anthropic import assemble_messages
from worker.providers.streams.base import Whole
from worker.providers.streams.bedrock import assemble_converse
from worker.providers.streams.frames import frames, is_framed
from worker.providers.streams.gemini import assemble_generate
from worker.providers.streams.openai import assemble_chat, assemble_responses
from worker.providers.streams.sse import Event, events, is_stream

__all__ = [
    "Event",
    "Whole",
    "assemble_chat",
    "assemble_converse",
    "assemble_generate",
    "assemble_messages",
    "assemble_responses",
    "events_of",
]


def events_of(reply: Reply) -> Iterable[Event] | None:
    """The events of a reply, whichever their framing; None where it is no stream."""
    if is_framed(reply):
        return frames(reply.body)
    return events(reply.body) if is_stream(reply) else None
