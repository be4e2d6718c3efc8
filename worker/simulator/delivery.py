"""Sends what a provider decided, faults included.

In: a request, its provider and its visit. Out: the HTTP answer, or a connection that ends where the weather says.
``server`` calls ``deliver`` for each call. The books are closed before the last byte leaves, so that a client that has
its answer finds it there, and its place among the calls in flight is free. A client that leaves is booked as it goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from aiohttp import web

from worker.simulator.faults import Fault
from worker.simulator.provider import Provider, Visit
from worker.simulator.talk import Ask, Draft, Spent
from worker.simulator.wires.base import Trouble, Written

__all__ = ["Pause", "deliver"]

Pause = Callable[[float], Awaitable[None]]

_PAGE: Final = (
    b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head>"
    b"<body><h1>502 Bad Gateway</h1><hr><center>proxy</center></body></html>\n"
)
_ERRORS: Final = {
    Fault.ERROR_500: Trouble.SERVER, Fault.ERROR_503: Trouble.UNAVAILABLE, Fault.OVERLOADED: Trouble.OVERLOADED,
}  # fmt: skip
_ERROR_SHARE: Final = 0.3  #: of the latency: an error comes sooner than an answer would
_FIRST_SHARE: Final = 0.4  #: of the latency: until a stream's first byte
_SHORTEST_GAP_S: Final = 0.001  #: between two pieces of a stream; below it they leave together


async def deliver(request: web.BaseRequest, provider: Provider, visit: Visit, pause: Pause) -> web.StreamResponse:
    """The life of one call after it was looked at."""
    if visit.refusal is not None:
        provider.close(visit, visit.refusal.status, visit.trouble)
        return _response(visit.refusal)
    ask, draft = visit.ask, visit.draft
    assert ask is not None
    assert draft is not None
    try:
        if visit.forecast.fault is not None:
            ended = await _before_the_answer(request, provider, visit, pause)
            if ended is not None:
                return ended
        if ask.stream:
            return await _stream(request, provider, visit, pause, (ask, draft))
        if visit.forecast.latency_s:
            await pause(visit.forecast.latency_s)
        return await _whole(request, provider, visit, (ask, draft))
    except asyncio.CancelledError:
        provider.close(visit, 0, "", left=True)
        raise
    except ConnectionError:  # raised to the server it would be logged as an error of ours
        provider.close(visit, 0, "", left=True)
        return _hung_up(request)


async def _before_the_answer(
    request: web.BaseRequest, provider: Provider, visit: Visit, pause: Pause
) -> web.StreamResponse | None:
    """The faults that leave no trace of an answer; None if there will be one."""
    fault, latency_s = visit.forecast.fault, visit.forecast.latency_s
    if fault in {Fault.DROPPED, Fault.LOST, Fault.HANG}:
        await pause(0.0 if fault is Fault.DROPPED else latency_s)
        provider.close(visit, 0, fault.value)
        return _hung_up(request)
    if fault is Fault.HTML:
        await pause(latency_s * _ERROR_SHARE)
        provider.close(visit, 502, fault.value)
        return web.Response(status=502, body=_PAGE, content_type="text/html")
    if fault in _ERRORS:
        await pause(latency_s * _ERROR_SHARE)
        written = visit.wire.refuse(provider.refusal(visit, _ERRORS[fault]))
        provider.close(visit, written.status, fault.value)
        return _response(written)
    return None


async def _whole(
    request: web.BaseRequest, provider: Provider, visit: Visit, answer: tuple[Ask, Draft]
) -> web.StreamResponse:
    """An answer in one piece, and what can be wrong with it."""
    ask, draft = answer
    fault = visit.forecast.fault
    if fault is Fault.EMPTY:
        draft = _emptied(draft)
    body = visit.wire.write(ask, draft)
    if fault is Fault.ERROR_200:
        body = visit.wire.refuse(provider.refusal(visit, Trouble.SERVER)).body
    good = fault in {None, Fault.SLOW, Fault.STALE}
    headers = visit.wire.headers(f"{visit.serial}{visit.nth}", provider.gauges(visit), provider.wall_s())
    provider.close(visit, 0 if fault is Fault.CUT else 200, fault.value if fault else "", delivered=good)
    end = max(1, int(len(body) * visit.forecast.cut_at))
    if fault is Fault.CUT:
        response = web.StreamResponse(headers=headers | {"content-type": "application/json"})
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[:end])
        request.protocol.force_close()
        return response
    if fault is Fault.STALE:
        request.protocol.close()  # ends the connection after this answer without having said so
    return _response(Written(200, body[:end] if fault is Fault.BROKEN else body, headers))


async def _stream(
    request: web.BaseRequest, provider: Provider, visit: Visit, pause: Pause, answer: tuple[Ask, Draft]
) -> web.StreamResponse:
    """An answer in pieces: the first after a part of the latency, the rest spread over what is left."""
    ask, draft = answer
    fault, latency_s = visit.forecast.fault, visit.forecast.latency_s
    pieces = visit.wire.pieces(ask, _emptied(draft) if fault is Fault.EMPTY else draft)
    if fault in {Fault.CUT, Fault.BROKEN, Fault.ERROR_200}:
        pieces = pieces[: max(1, int(len(pieces) * visit.forecast.cut_at))]
    if fault is Fault.BROKEN:
        pieces[-1] = pieces[-1].rstrip()[:-8] + b"\n\n"
    if fault is Fault.ERROR_200:
        pieces.append(visit.wire.stream_error(provider.refusal(visit, Trouble.SERVER)))
    headers = visit.wire.headers(f"{visit.serial}{visit.nth}", provider.gauges(visit), provider.wall_s())
    response = web.StreamResponse(headers=headers | {"content-type": visit.wire.stream_type})
    gap_s = latency_s * (1 - _FIRST_SHARE) / len(pieces)
    if latency_s:
        await pause(latency_s * _FIRST_SHARE)
    await response.prepare(request)
    if gap_s < _SHORTEST_GAP_S:
        pieces, gap_s = [b"".join(pieces)], 0.0
    for piece in pieces[:-1]:
        await response.write(piece)
        await pause(gap_s)
    good = fault in {None, Fault.SLOW, Fault.STALE}
    provider.close(visit, 0 if fault is Fault.CUT else 200, fault.value if fault else "", delivered=good)
    await response.write(pieces[-1])
    if fault is Fault.CUT:
        request.protocol.force_close()
    elif fault is Fault.STALE:
        request.protocol.close()
    return response


def _emptied(draft: Draft) -> Draft:
    """The same answer with nothing in it, its input billed."""
    spent = draft.spent
    billed = Spent(spent.input_tokens, spent.cached_tokens, spent.cache_write_tokens)
    return replace(draft, choices=(), vectors=(), spent=billed)


def _response(written: Written) -> web.Response:
    return web.Response(
        status=written.status, body=written.body, headers={"content-type": "application/json", **written.headers}
    )


def _hung_up(request: web.BaseRequest) -> web.Response:
    """Closes the connection without a byte; the answer returned is for the server's loop alone."""
    request.protocol.force_close()
    return web.Response()
