"""The simulator's weather as a client meets it: each fault is what its name says, and falls by seed."""

from __future__ import annotations

import asyncio
import random

import aiohttp
import orjson
import pytest

from tests.integration.simulated import KEY, alpha, ask, config_of, simulated
from worker.simulator import Fault, Limits, Weather


async def test_the_weather_depends_on_the_seed_and_not_on_the_order_of_arrival() -> None:
    rates = dict.fromkeys(
        (Fault.LIMITED, Fault.ERROR_500, Fault.OVERLOADED, Fault.DROPPED, Fault.CUT, Fault.BROKEN), 0.1
    )

    async def outcomes(seed: int, order: int) -> dict[str, str]:
        texts = [f"question {number}" for number in range(120)]
        random.Random(order).shuffle(texts)
        async with simulated(config_of(seed, weather=Weather(rates))) as (_, caller):
            return dict(zip(texts, await asyncio.gather(*(caller.outcome(ask(text)) for text in texts)), strict=True))

    first = await outcomes(1, order=1)
    assert await outcomes(1, order=2) == first
    assert await outcomes(2, order=1) != first
    assert len({outcome.split()[0] for outcome in first.values()}) >= 5


_SEEN = [
    (Fault.DROPPED, aiohttp.ServerDisconnectedError),
    (Fault.LOST, aiohttp.ServerDisconnectedError),
    (Fault.CUT, aiohttp.ClientPayloadError),
    (Fault.ERROR_500, 500),
    (Fault.ERROR_503, 503),
    (Fault.OVERLOADED, 503),
    (Fault.LIMITED, 429),
    (Fault.HTML, 502),
    (Fault.SLOW, 200),
    (Fault.STALE, 200),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fault", "seen"), _SEEN)
async def test_each_fault_is_what_its_name_says(
    fault: Fault, seen: type[Exception] | int, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with simulated(config_of(weather=Weather({fault: 1.0}, slow_s=0.01))) as (simulator, caller):
        if isinstance(seen, int):
            status, body = await caller.post(ask("x", stream=stream))
            assert status == seen
            assert body.startswith(b"<!DOCTYPE") is (fault is Fault.HTML)
        else:
            with pytest.raises(seen):
                await caller.post(ask("x", stream=stream))
        assert alpha(simulator)["by_fault"] == {fault.value: 1}
        assert not simulator.providers["alpha"].accounts.gates("main", "", None)[0].in_flight
        assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


async def test_rubbish_under_200_is_rubbish() -> None:
    for fault in (Fault.BROKEN, Fault.ERROR_200, Fault.EMPTY):
        async with simulated(config_of(weather=Weather({fault: 1.0}))) as (_, caller):
            status, body = await caller.post(ask("x"))
            assert status == 200
            if fault is Fault.BROKEN:
                with pytest.raises(orjson.JSONDecodeError):
                    orjson.loads(body)
            else:
                assert orjson.loads(body).get("choices", []) == []


async def test_a_client_that_leaves_is_billed_and_frees_its_place() -> None:
    config = config_of(weather=Weather({Fault.HANG: 1.0}), limits=Limits(concurrency=1))
    async with simulated(config) as (simulator, caller):
        with pytest.raises(TimeoutError):
            await caller.post(ask("x"), timeout_s=0.2)
        async with asyncio.timeout(5):
            while not alpha(simulator)["calls"]:
                await asyncio.sleep(0)
        books = alpha(simulator)
        assert books["by_fault"] == {"left": 1}
        assert books["lost"]["nanousd"] == books["nanousd"] > 0
        assert simulator.providers["alpha"].accounts.gates("main", "", None)[0].in_flight == 0


async def test_a_client_that_leaves_in_the_middle_of_a_stream_is_billed(caplog: pytest.LogCaptureFixture) -> None:
    body = orjson.dumps(ask("x", stream=True))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n"
    async with simulated(config_of(weather=Weather(latency_s=5.0))) as (simulator, _):
        host, port = simulator.root_url("alpha").removeprefix("http://").split(":")
        simulator._pause = _never_long
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head % (KEY.encode(), len(body)) + body)
        assert b"data: " in await reader.readuntil(b"data: ")
        writer.transport.abort()
        async with asyncio.timeout(5):
            while not alpha(simulator)["calls"]:
                await asyncio.sleep(0)
        assert alpha(simulator)["by_fault"] == {"left": 1}
        assert alpha(simulator)["lost"]["calls"] == 1
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


async def _never_long(seconds: float) -> None:
    """The pause before the first byte is skipped, those between the pieces are not."""
    await asyncio.sleep(0 if seconds > 1 else seconds)


async def test_a_stale_connection_was_promised_and_is_closed() -> None:
    body = orjson.dumps(ask("x"))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n"
    async with simulated(config_of(weather=Weather({Fault.STALE: 1.0}))) as (simulator, _):
        host, port = simulator.root_url("alpha").removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head % (KEY.encode(), len(body)) + body)
        answer = await asyncio.wait_for(reader.read(), 5)  # read to the end: the server closes
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" not in answer.lower()
        writer.close()
