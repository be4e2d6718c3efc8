"""Repeated ids made different, on request: the second ``a`` becomes ``a#2``, the third ``a#3``.

Comes in: an input's blocks. Goes out: the same bytes, but for the ids of the lines that repeat one. Called by ``submit``
for ``--duplicates number``. It must know every id before the next line passes, so it takes some 70 bytes a line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator

from bucketline.jsonl import BOM
from bucketline.request import JsonScalar
from bucketline.splice import dumps, loads, splice
from producer.scan import id_digest

__all__ = ["Renumber", "renumbered"]


class Renumber:
    """Takes an input line by line, as it lies there, and gives each line back."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._next: dict[int, int] = defaultdict(lambda: 2)

    def line(self, raw: bytes) -> bytes:
        """The line, with another id where its own was there before. What is no request passes as it is."""
        text = raw.removeprefix(BOM)
        try:
            envelope = loads(text)
        except ValueError:
            return raw
        key = next((key for key in ("custom_id", "key") if isinstance(envelope, dict) and key in envelope), None)
        if key is None or isinstance(envelope[key], dict | list):
            return raw
        own = envelope[key]
        other = self._free(own)
        if other is own:
            return raw
        body = text.strip(b" \t\r\n")
        start = len(raw) - len(text) + text.find(body)
        return raw[:start] + splice(body, {key: other}) + raw[start + len(body) :]

    def _free(self, custom_id: JsonScalar) -> JsonScalar:
        digest = id_digest(custom_id)
        chosen = custom_id
        while id_digest(chosen) in self._seen:
            name = custom_id if isinstance(custom_id, str) else dumps(custom_id).decode()
            chosen = f"{name}#{self._next[digest]}"
            self._next[digest] += 1
        self._seen.add(id_digest(chosen))
        return chosen


async def renumbered(blocks: AsyncIterator[bytes], cap_bytes: int) -> AsyncIterator[bytes]:
    """A stream without repeated ids. A line over the cap passes as it is and is never held whole."""
    renumber = Renumber()
    held = b""
    passing = False
    async for block in blocks:
        end = block.rfind(b"\n") + 1
        if not end:
            held += block
            if passing or len(held) > cap_bytes:
                passing = True
                yield held
                held = b""
            continue
        lines = (held + block[:end]).split(b"\n")
        first = 1 if passing else 0
        lines[first:-1] = [renumber.line(line) for line in lines[first:-1]]
        yield b"\n".join(lines)
        held, passing = block[end:], False
    if held:
        yield held if passing else renumber.line(held)
