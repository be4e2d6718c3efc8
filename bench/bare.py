"""The yardstick: the fastest plain loop that aiohttp allows, which only posts and parses.

    python -m bench.bare URL REQUESTS CONNECTIONS

One body, encoded before; as many coroutines as connections; uvloop; nothing read, counted, recorded or written. Prints
one JSON document: requests, seconds, and CPU seconds of the loop alone (no interpreter start, no imports).
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time

import aiohttp
import orjson
import uvloop

HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer sk-bench"}


def used_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def one_body() -> bytes:
    prompt = "Ticket 4711. Summarise it in two sentences. " + "customer invoice refund delay " * 32
    messages = [{"role": "system", "content": "You are terse."}, {"role": "user", "content": prompt[:1000]}]
    return orjson.dumps({"model": "gpt-4o-mini", "messages": messages, "max_tokens": 64, "temperature": 0.0})


async def post_all(url: str, requests: int, connections: int) -> None:
    body, tokens, turns = one_body(), 0, iter(range(requests))
    connector = aiohttp.TCPConnector(limit=connections, ttl_dns_cache=None)
    async with aiohttp.ClientSession(
        connector=connector,
        headers=HEADERS,
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    ) as session:

        async def one_connection() -> None:
            nonlocal tokens
            for _ in turns:
                async with session.post(url, data=body) as response:
                    raw = await response.read()
                    assert response.status == 200
                tokens += orjson.loads(raw)["usage"]["total_tokens"]

        await asyncio.gather(*(one_connection() for _ in range(connections)))
    assert tokens


def main() -> None:
    url, requests, connections = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    before_s, began_s = used_s(), time.monotonic()
    uvloop.run(post_all(url + "/chat/completions", requests, connections))
    seconds, cpu = time.monotonic() - began_s, used_s() - before_s
    print(json.dumps({"requests": requests, "seconds": seconds, "cpu_s": cpu}))


if __name__ == "__main__":
    main()
