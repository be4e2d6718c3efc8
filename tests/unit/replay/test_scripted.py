"""The scripted provider, asked by a real client over a socket: what a case says must be what the product meets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from tests.replay.replies import ModelScript
from tests.replay.scripted import Call, ScriptedProvider

_REFUSED = {"status": 429, "json": {"error": {"message": "slow down"}}}


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Asking:
    """A provider with one model ``m``, and a client that asks it."""

    def __init__(self, provider: ScriptedProvider, calls: list[Call], session: aiohttp.ClientSession) -> None:
        self.provider = provider
        self.calls = calls
        self.session = session

    async def post(self, tag: str = "a1", path: str = "/v1/chat/completions", **body: Any) -> tuple[int, Any, Any]:
        body = {"model": "m", "messages": [{"role": "user", "content": f"tag:{tag} hello"}], **body}
        async with self.session.post(self.provider.address + path, json=body) as reply:
            return reply.status, reply.headers, await reply.json(content_type=None)

    async def statuses(self, *tags: str) -> list[int]:
        return [(await self.post(tag))[0] for tag in tags]


@asynccontextmanager
async def asking(script: dict[str, Any], clock: Clock | None = None) -> AsyncIterator[Asking]:
    """A provider that follows ``script``."""
    calls: list[Call] = []
    scripts = {"m": ModelScript(script, clock or time.monotonic, time.time)}
    async with (
        ScriptedProvider("alpha", scripts, calls, time.monotonic) as provider,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
    ):
        yield Asking(provider, calls, session)


async def test_a_tags_replies_come_in_order_and_the_last_repeats() -> None:
    """Other tags take the else list, each from its beginning."""
    script = {"tags": {"a1": [_REFUSED, {"ok": {"text": "now"}}]}, "else": [{"status": 500, "json": {}}, {"ok": {}}]}
    async with asking(script) as it:
        assert await it.statuses("a1", "a1", "a1", "b1", "c1", "b1", "c1") == [429, 200, 200, 500, 500, 200, 200]


async def test_a_call_is_remembered_as_it_came() -> None:
    """Prompts with line separators, lone surrogates and nested content are what the cases look at."""
    async with asking({"else": [{"ok": {}}]}) as it:
        await it.post(messages=[{"role": "system", "content": "be"}, {"role": "user", "content": "tag:q7 x\u2028y"}])
        await it.post(path="/v1/embeddings", messages=None, input=["tag:q8 one", "two"])
    first, second = (call.item() for call in it.calls)
    assert first["prompt"] == "tag:q7 x\u2028y"
    assert (first["tag"], first["model"], first["endpoint"]) == ("q7", "m", "/v1/chat/completions")
    assert (first["provider"], first["status"]) == ("alpha", 200)
    assert first["headers"]["content-type"] == "application/json"
    assert "application/json" in first["headers_text"]
    assert second["prompt"] == "tag:q8 one\ntwo"
    assert first["t"] <= first["t_end"] <= second["t"]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/v1/chat/completions", ("choices", 0, "message", "content")),
        ("/v1/completions", ("choices", 0, "text")),
        ("/v1/messages", ("content", 0, "text")),
        ("/v1/responses", ("output", 0, "content", 0, "text")),
    ],
)
async def test_a_success_has_the_form_of_its_endpoint(path: str, place: tuple[str | int, ...]) -> None:
    """The text is the echo of the tag unless the script says another."""
    async with asking({"else": [{"ok": {}}]}) as it:
        _, _, body = await it.post("z9", path)
    for step in place:
        body = body[step]
    assert body == "echo z9"


async def test_a_requirement_that_fails_uses_up_no_reply() -> None:
    """The check's own reply is sent; the script goes on where it was."""
    script = {
        "require": [
            {"body_has": "cap", "else": {"status": 422, "json": {}}},
            {"body_lacks": "seed", "else": {"status": 400, "json": {}}},
            {"header": "X-Key", "equals": "right", "else": {"status": 401, "json": {}}},
        ],
        "tags": {"a1": [_REFUSED, {"ok": {}}]},
    }
    async with asking(script) as it:
        assert (await it.post())[0] == 422
        assert (await it.post(cap=1, seed=2))[0] == 400
        assert (await it.post(cap=1))[0] == 401
        it.session.headers["X-Key"] = "right"
        assert [(await it.post(cap=1))[0] for _ in range(2)] == [429, 200]


async def test_a_window_refuses_until_it_has_room_and_says_when() -> None:
    """A refused call takes no room; the wait is in whole seconds, rounded up."""
    reply = {**_REFUSED, "headers": {"Retry-After": "{{window_wait}}"}}
    clock = Clock()
    script = {"enforce": {"kind": "window", "per_s": 60, "max": 2, "reply": reply}, "else": [{"ok": {}}]}
    async with asking(script, clock) as it:
        assert await it.statuses("a", "b") == [200, 200]
        clock.now += 0.5
        status, headers, _ = await it.post("c")
        assert (status, headers["Retry-After"]) == (429, "60")
        clock.now += 59.5
        assert await it.statuses("c", "d", "e") == [200, 200, 429]


async def test_a_block_comes_once() -> None:
    """After so many calls all are refused for a time, then never again."""
    clock = Clock()
    script = {"enforce": {"kind": "block", "after_calls": 1, "for_s": 30, "reply": _REFUSED}, "else": [{"ok": {}}]}
    async with asking(script, clock) as it:
        assert await it.statuses("a", "b", "c") == [200, 429, 429]
        clock.now += 30
        assert await it.statuses("d", "e", "f") == [200, 200, 200]


async def test_a_date_in_a_header_is_counted_from_now() -> None:
    """In whole seconds, as HTTP has it."""
    script = {"else": [{"status": 429, "text": "later", "headers": {"Retry-After": "{{http_date:+4}}"}}]}
    async with asking(script) as it, it.session.post(it.provider.address, json={"model": "m"}) as reply:
        told = parsedate_to_datetime(reply.headers["Retry-After"]).timestamp()
        assert 2.5 < told - time.time() <= 4
        assert await reply.text() == "later"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"fault": "close_before_reply"}, aiohttp.ServerDisconnectedError),
        ({"fault": "close_mid_body", "after_bytes": 20}, aiohttp.ClientPayloadError),
        ({"fault": "close_mid_body", "after_bytes": 10_000}, aiohttp.ClientPayloadError),
        ({"fault": "truncate_chunked"}, aiohttp.ClientPayloadError),
    ],
)
async def test_a_cut_is_a_cut_for_a_real_client(fault: dict[str, Any], error: type[Exception]) -> None:
    """No whole reply went out, so the call has no status."""
    async with asking({"tags": {"a1": [fault]}}) as it:
        with pytest.raises(error):
            await it.post()
    assert it.calls[0].status is None
    assert it.calls[0].t_end is not None


async def test_a_hang_ends_when_the_client_gives_up() -> None:
    """It must hold no connection beyond that, and the call's end is known."""
    async with asking({"else": [{"fault": "hang"}]}) as it:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await it.post()
        async with asyncio.timeout(2):
            while it.calls[0].t_end is None:
                await asyncio.sleep(0.01)
    assert it.calls[0].status is None


async def test_a_delayed_answer_that_nobody_waits_for_is_none() -> None:
    """A killed worker's calls must not count as answered."""
    async with asking({"else": [{"ok": {"delay_s": 30}}]}) as it:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await it.post()
        async with asyncio.timeout(2):
            while it.calls[0].t_end is None:
                await asyncio.sleep(0.01)
    assert it.calls[0].status is None


async def test_a_silent_close_promises_to_stay_and_goes() -> None:
    """The next call on that connection meets a closed door, without a word before."""
    async with asking({"else": [{"ok": {"close_after": "silent"}}]}) as it:
        port = int(it.provider.address.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b'{"model":"m","input":"tag:a1"}'
        writer.write(b"POST /v1/responses HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        async with asyncio.timeout(2):
            said = await reader.read()
        writer.close()
    assert b"200 OK" in said
    assert b"keep-alive" in said
    assert b"echo a1" in said
    assert it.calls[0].status == 200


async def test_down_means_nobody_listens_and_then_somebody_does() -> None:
    """On the same port, and with the script where it was."""
    async with asking({"down": {"after_calls": 1, "for_s": 0.2}, "else": [{"ok": {}}]}) as it:
        assert await it.statuses("a") == [200]
        refused = False
        async with asyncio.timeout(3):
            while not refused:
                try:
                    await it.post("b")
                except aiohttp.ClientConnectionError:
                    refused = True
            while True:
                try:
                    assert await it.statuses("c") == [200]
                    break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.01)


async def test_a_call_without_a_script_is_noted() -> None:
    """It fails the case, whatever the product makes of the 404."""
    async with asking({"tags": {"a1": [{"ok": {}}]}}) as it:
        assert await it.statuses("zz") == [404]
        assert (await it.post(model="another"))[0] == 404
    assert len(it.provider.unscripted) == 2
    assert "tag 'zz'" in it.provider.unscripted[0]
    assert "'another'" in it.provider.unscripted[1]
