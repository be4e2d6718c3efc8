"""A provider that takes its time: a fixed latency, and for a share of the calls a long one.

    python -m bench.slow PORT LATENCY_S TAIL TAIL_S

Plain asyncio streams would be the bottleneck, so it is one protocol that understands just enough HTTP. ``GET /stats``
answers what it has seen: calls, the most in flight at once, and the time since the first call in seconds.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time

import orjson
import uvloop

from bench.stand import ANSWER

_BODY = orjson.dumps(ANSWER)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Books:
    def __init__(self) -> None:
        self.calls = self.in_flight = self.most = 0
        self.first_unix_s = self.last_unix_s = self.started_unix_s = 0.0
        self._area = self._at_start = self._changed_s = 0.0

    @property
    def mean(self) -> float:
        """Calls in flight on the average, from the first call to the start of the last one."""
        return self._at_start / max(1e-6, self.started_unix_s - self.first_unix_s)

    def move(self, calls: int) -> None:
        now_s = time.time()
        self._area += self.in_flight * (now_s - self._changed_s if self._changed_s else 0.0)
        self._changed_s = now_s
        self.in_flight += calls
        if calls > 0:
            self.calls += 1
            self.first_unix_s = self.first_unix_s or now_s
            self.started_unix_s, self._at_start = now_s, self._area
            self.most = max(self.most, self.in_flight)
        else:
            self.last_unix_s = now_s

    def encode(self) -> bytes:
        said = json.dumps(
            {
                name: getattr(self, name)
                for name in ("calls", "in_flight", "most", "mean", "first_unix_s", "last_unix_s")
            }
        )
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said.encode())


class Provider(asyncio.Protocol):
    def __init__(self, books: Books, latency_s: float, tail: float, tail_s: float, dice: random.Random) -> None:
        self._books, self._dice = books, dice
        self._latency_s, self._tail, self._tail_s = latency_s, tail, tail_s
        self._held = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._held += data
        end = self._held.find(b"\r\n\r\n")
        while end >= 0:
            found = _LENGTH.search(self._held, 0, end)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(self._held) < whole:
                return
            is_post, self._held = self._held.startswith(b"POST"), self._held[whole:]
            if is_post:
                self._take()
            elif self._transport is not None:
                self._transport.write(self._books.encode())
            end = self._held.find(b"\r\n\r\n")

    def _take(self) -> None:
        self._books.move(1)
        late = self._tail > 0 and self._dice.random() < self._tail
        asyncio.get_running_loop().call_later(self._tail_s if late else self._latency_s, self._answer)

    def _answer(self) -> None:
        self._books.move(-1)
        if self._transport is not None:
            self._transport.write(_ANSWER)


async def serve(port: int, latency_s: float, tail: float, tail_s: float) -> None:
    books, dice = Books(), random.Random(20)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Provider(books, latency_s, tail, tail_s, dice), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), *map(float, sys.argv[2:5])))
