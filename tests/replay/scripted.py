"""A provider on a port of its own, that answers as the case says and remembers every call.

Comes in: the scripts of all models. Goes out: a base address, and ``Call`` records with their times on the case's
clock. Only POST counts as a call. A call that no script foresees gets 404 and is noted in ``unscripted``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from tests.replay.replies import ENDPOINTS, ModelScript, success, tag_of
from tests.replay.wire import ClientGone, Fate, Received, plain_body, read_request, send_fault, send_reply, wait_or_gone

__all__ = ["Call", "ScriptedProvider"]

_HEAD_BYTES = 1 << 20


@dataclass(slots=True)
class Call:
    """One request as the provider saw it. ``status`` stays None when no whole reply went out."""

    t: float
    provider: str
    model: str | None
    endpoint: str
    tag: str | None
    prompt: str | None
    body: Any
    headers: Mapping[str, str]
    t_end: float | None = None
    status: int | None = None

    def item(self) -> dict[str, Any]:
        """As the asserts see it."""
        return {
            "t": self.t,
            "t_end": self.t_end,
            "provider": self.provider,
            "model": self.model,
            "endpoint": self.endpoint,
            "tag": self.tag,
            "prompt": self.prompt,
            "body": self.body,
            "headers": dict(self.headers),
            "headers_text": "\n".join(self.headers.values()),
            "status": self.status,
        }


class ScriptedProvider:
    """One listener; ``async with`` it. ``calls`` is shared by the case's providers, in order of arrival."""

    def __init__(
        self, name: str, scripts: Mapping[str, ModelScript], calls: list[Call], clock: Callable[[], float]
    ) -> None:
        self.name = name
        self.unscripted: list[str] = []
        self._scripts = scripts
        self._calls = calls
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._port = 0
        self._open: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._outage: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """``http://host:port``, the same before and after an outage."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._outage is not None:
            self._outage.cancel()
            with suppress(asyncio.CancelledError):
                await self._outage
        await self._shut(spare=None)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self._port, limit=_HEAD_BYTES, reuse_address=True
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def _shut(self, spare: asyncio.Task[Any] | None) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = [task for task in self._open if task is not spare]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _outage_of(self, for_s: float) -> None:
        await self._shut(spare=None)
        await asyncio.sleep(for_s)
        await self._listen()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            fate = Fate.KEEP
            while fate is Fate.KEEP:
                received = await read_request(reader)
                if received is None:
                    break
                fate = await self._answer(received, reader, writer)
        except (ClientGone, ConnectionError, ValueError):
            pass
        except asyncio.CancelledError:  # an outage, or the end: the connection goes, the loop's own task stays quiet
            pass
        finally:
            del self._open[task]
            writer.close()

    async def _answer(self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Fate:
        if received.method != "POST":
            await send_reply(writer, 404, {}, b'{"error":{"message":"there is nothing to read here"}}')
            return Fate.KEEP
        call = self._note(received)
        script = self._scripts.get(call.model or "")
        reply = None if script is None else script.reply(call.tag, call.headers, call.body)
        try:
            fate, call.status = await self._send(reply, call, reader, writer)
        finally:
            call.t_end = self._clock()
        down_s = None if script is None else script.answered()
        if down_s is not None:
            self._outage = asyncio.create_task(self._outage_of(down_s))
        return fate

    def _note(self, received: Received) -> Call:
        text = received.body.decode("utf-8", "replace")
        try:
            body = json.loads(text)
        except ValueError:
            body = None
        model = body.get("model") if isinstance(body, dict) else None
        call = Call(
            t=self._clock(),
            provider=self.name,
            model=model if isinstance(model, str) else None,
            endpoint=received.path,
            tag=tag_of(text),
            prompt=_prompt(body),
            body=body,
            headers=received.headers,
        )
        self._calls.append(call)
        return call

    async def _send(
        self, reply: dict[str, Any] | None, call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[Fate, int | None]:
        """Send one reply. Returns the connection's fate and the status that went out whole, None for a fault."""
        if reply is None:
            self.unscripted.append(f"{self.name}: model {call.model!r}, tag {call.tag!r} at {call.endpoint}")
            await send_reply(writer, 404, {}, b'{"error":{"message":"no script for this call"}}')
            return Fate.KEEP, 404
        ok = reply.get("ok") or {}
        await wait_or_gone(reader, reply.get("delay_s", ok.get("delay_s", 0)))
        if "fault" in reply:
            fault = reply["fault"]
            detail = fault if isinstance(fault, dict) else {**reply, "kind": fault}
            body = plain_body(reply)[0] if "json" in reply or "text" in reply else self._success(call, ok)
            await send_fault(reader, writer, detail["kind"], detail, body)
            return Fate.CLOSE, None
        if "ok" not in reply:
            body, headers = plain_body(reply)
            await send_reply(writer, reply["status"], headers, body)
            return Fate.KEEP, reply["status"]
        if call.endpoint not in ENDPOINTS:
            await send_reply(writer, 404, {}, b'{"error":{"message":"there is no such endpoint"}}')
            return Fate.KEEP, 404
        fate = Fate.SILENT if ok.get("close_after") == "silent" else Fate.KEEP
        await send_reply(writer, 200, {}, self._success(call, ok), fate)
        return fate, 200

    @staticmethod
    def _success(call: Call, ok: dict[str, Any]) -> bytes:
        return success(call.endpoint, call.model or "", call.tag, ok)


def _prompt(body: Any) -> str | None:
    """The last user text of a chat, or the input of the other endpoints."""
    if not isinstance(body, dict):
        return None
    said = body.get("input", body.get("prompt"))
    for message in body.get("messages") or ():
        if isinstance(message, dict) and message.get("role") == "user":
            said = message.get("content")
    return _text(said)


def _text(said: Any) -> str | None:
    if isinstance(said, list):
        parts = [_text(part.get("text", part.get("content")) if isinstance(part, dict) else part) for part in said]
        return "\n".join(part for part in parts if part is not None)
    return said if isinstance(said, str) else None
