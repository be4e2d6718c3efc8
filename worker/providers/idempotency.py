"""A key by which a host knows a call that it has been sent before.

Comes in: a call as an adapter wrote it, the header's name and how far the line has come. Goes out: the call with its
key. None of the presets has such a header for inference (OpenAI, Anthropic, Google, Amazon, Moonshot and LLM.API give
nothing back twice); gateways and hosts of one's own may, and then ``idempotency_header`` names it. As with the hosts
that have one, a key stands for one request and its answer: what got no answer is asked again under the same key, also by
the next worker after a death; what was answered, well or badly, or differs in a byte gets another.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from worker.providers.base import Call

__all__ = ["known_again"]


def known_again(call: Call, header: str, place: str) -> Call:
    """The call with its key. ``place`` is the line's id and how many of its calls have been answered."""
    written = hashlib.sha256(f"{place}\n{call.url}\n".encode() + call.body)
    return replace(call, headers={**call.headers, header: written.hexdigest()[:32]})
