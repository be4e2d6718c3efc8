"""Google's streams: each event is a piece of the whole answer.

Comes in: the events of one reply. Goes out: the GenerateContentResponse that an unstreamed call would have given.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from worker.providers.streams.base import Whole, append, index_of, join, objects, present
from worker.providers.streams.sse import Event

__all__ = ["assemble_generate"]


def assemble_generate(events: Iterable[Event]) -> Whole:
    """Google's: parts add up, the counts are running totals. Whole when each candidate has its reason to end."""
    document: dict[str, Any] = {}
    candidates: dict[int, dict[str, Any]] = {}
    for event in events:
        chunk = event.data
        if not isinstance(chunk, dict):
            continue
        if chunk.get("error"):
            return Whole(error=chunk, begun=bool(candidates))
        for piece in objects(chunk.get("candidates")):
            candidate = candidates.setdefault(index_of(piece), {"index": index_of(piece)})
            content = piece.get("content")
            candidate.update({name: one for name, one in present(piece).items() if name != "content"})
            kept = candidate.setdefault("content", {"role": "model", "parts": []})
            if isinstance(content, dict):
                for part in objects(content.get("parts")):
                    _add_part(kept["parts"], part)
        document.update({name: one for name, one in present(chunk).items() if name != "candidates"})
    blocked = isinstance(document.get("promptFeedback"), dict) and document["promptFeedback"].get("blockReason")
    finished = bool(candidates) and all(candidate.get("finishReason") for candidate in candidates.values())
    if not blocked and not finished:
        return Whole(begun=bool(candidates))
    if candidates:
        document["candidates"] = [candidates[index] for index in sorted(candidates)]
        for candidate in candidates.values():
            for part in candidate["content"]["parts"]:
                join(part)
    return Whole(document, begun=True)


def _add_part(parts: list[dict[str, Any]], part: dict[str, Any]) -> None:
    """Text goes on in the last part where both are text of one kind and neither is signed."""
    last = parts[-1] if parts else None
    plain = set(part) <= {"text", "thought"} and isinstance(part.get("text"), str)
    if last is not None and plain and set(last) <= {"text", "thought"} and last.get("thought") == part.get("thought"):
        append(last, "text", part["text"])
    else:
        parts.append(dict(part))
