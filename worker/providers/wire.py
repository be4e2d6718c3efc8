"""What every wire's adapter does alike: parse a reply, put a stream together, translate, refuse.

Comes in: a reply or a line, and the wire's own tables. Goes out: the parsed document or the failure; the translated
body or answer. Called by the adapters; each keeps to itself what only its wire knows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any

import orjson

from bucketline.catalog import Route
from bucketline.failure import TABLE, Failure, Kind
from bucketline.request import Form, Request
from bucketline.splice import dumps, loads
from bucketline.usage import Usage
from bucketline.value import value
from worker.providers.base import Answer, Reply
from worker.providers.errors import not_json, refusal
from worker.providers.forms import PROMPT_READERS
from worker.providers.forms.answers_read import AnswerReader
from worker.providers.forms.answers_write import ANSWER_WRITERS
from worker.providers.neutral import Prompt
from worker.providers.streams import Event, Whole, events_of

__all__ = [
    "NOTHING_LEFT",
    "OWN_STREAM",
    "Seen",
    "answered",
    "effective",
    "finish_word",
    "id_of",
    "inexpressible",
    "judged",
    "nested",
    "overridden",
    "prompt_of",
    "received",
    "reply_time_s",
    "stops",
    "text_or_none",
]

NOTHING_LEFT = "the request itself"  #: the name for a line of which nothing could be read
OWN_STREAM = ("stream", "stream_options")  #: whether to stream is ours to say, not the line's
_FINISH_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "eos": "stop", "completed": "stop", "end_turn": "stop", "stop_sequence": "stop", "STOP": "stop",
        "max_tokens": "length", "model_context_window_exceeded": "length", "MAX_TOKENS": "length",
        "max_output_tokens": "length", "tool_use": "tool_calls", "function_call": "tool_calls",
    }
)  # fmt: skip
Assembler = Callable[[Iterable[Event]], Whole]
Parsed = tuple[Any, Reply]


@value
class Seen:
    """What the words of a wire in a well-formed 2xx come to. ``kind`` is set where it is no answer all the same."""

    usage: Usage | None
    kind: Kind | None
    finish: str | None
    request_id: str | None
    served_model: str | None = None
    tier: str | None = None
    reported_nanousd: int | None = None


def received(
    reply: Reply, assemble: Assembler, request: Request, route: Route, key: str, id_headers: tuple[str, ...]
) -> Parsed | Failure:
    """The document of a reply that may be an answer, with the reply as its body then is; else the failure that it is."""
    result = _parsed(reply, assemble)
    if isinstance(result, Failure):
        return replace(result, request_id=id_of(reply, id_headers))
    document, reply = result
    if type(document) is list and len(document) == 1 and reply.status < 300:  # Google wraps one now and then
        document = document[0]
        reply = replace(reply, body=dumps(document))
    failure = _error_of(document, reply, request, route, key)
    if failure is None:
        return document, reply
    named = document.get("request_id") if isinstance(document, dict) else None
    return replace(failure, request_id=id_of(reply, id_headers) or text_or_none(named))


def answered(
    document: dict[str, Any],
    reply: Reply,
    request: Request,
    route: Route,
    seen: Seen,
    reader: AnswerReader,
    *,
    own: bool,
) -> Answer | Failure:
    """The answer in the form of the line's url, or the failure that a 200 turned out to be; its tokens are on record.

    ``own``: the reply is in that form already, and its bytes are the answer's.
    """
    if seen.kind is not None:
        return judged(seen, reply)
    body, raw, finish = reply.body, None, seen.finish
    if not own:
        raw = body
        body, finish = _translated(document, reply, request.form, seen.usage, route.model, reader)
    return Answer(
        body=body,
        usage=seen.usage,
        finish_reason=finish_word(finish),
        served_model=seen.served_model,
        request_id=seen.request_id,
        status=reply.status,
        raw=raw,
        tier=seen.tier,
        reported_nanousd=seen.reported_nanousd,
    )


def judged(seen: Seen, reply: Reply) -> Failure:
    """The failure that a well-formed 200 turned out to be."""
    kind = seen.kind or Kind.EMPTY_ANSWER
    return Failure(
        kind=kind,
        message=TABLE[kind].sentence,
        status=reply.status,
        body=reply.body,
        usage=seen.usage,
        request_id=seen.request_id,
        finish_reason=finish_word(seen.finish),
        served_model=seen.served_model,
    )


def text_or_none(value: Any) -> str | None:
    """A text with something in it."""
    return value if type(value) is str and value else None


def _parsed(reply: Reply, assemble: Assembler) -> Parsed | Failure:
    """The document of a reply, with the reply as its body then is: a stream's answer stands in the stream's place."""
    try:
        return orjson.loads(reply.body), reply
    except orjson.JSONDecodeError:
        pass
    streamed = events_of(reply)
    if streamed is not None:
        whole = assemble(streamed)
        document = whole.error if whole.document is None else whole.document
        if document is not None:
            return document, replace(reply, body=dumps(document))
        if reply.status < 400:
            return Failure(Kind.CUT_BODY, TABLE[Kind.CUT_BODY].sentence, status=reply.status)
    try:
        return loads(reply.body.removeprefix(b"\xef\xbb\xbf")), reply
    except ValueError:
        return not_json(reply)


def _error_of(document: Any, reply: Reply, request: Request, route: Route, key: str) -> Failure | None:
    """The failure that a document is; None where it may be an answer."""
    if reply.status < 300 and type(document) is dict and not document.get("error"):
        base = document.get("base_resp")  # MiniMax's way to say an error with a 200
        if not (type(base) is dict and base.get("status_code")):
            return None
    return refusal(reply, document, key=key, line_body=request.body, model=route.model)


def id_of(reply: Reply, names: tuple[str, ...]) -> str | None:
    """The first of the headers by which a provider names a call."""
    for name in names:
        value = reply.headers.get(name)
        if value:
            return value
    return None


def effective(request: Request, route: Route) -> dict[str, Any]:
    """The line's parameters as this route wants them: ``unset`` taken away."""
    if not route.unset:
        return request.params
    return {name: value for name, value in request.params.items() if name not in route.unset}


def prompt_of(request: Request, route: Route) -> Prompt:
    """What the line asks, read from its own form; a form without a reader is lost whole."""
    reader = PROMPT_READERS.get(request.form)
    if reader is None:
        return Prompt(lost=(f"{request.form} requests", NOTHING_LEFT))
    prompt = reader(effective(request, route))
    return prompt if prompt.turns else replace(prompt, lost=(*prompt.lost, NOTHING_LEFT))


def stops(names: Collection[str], route: Route) -> bool:
    """Whether a line may not go out on a route that cannot express ``names``: dropping everything is no request."""
    return bool(names) and (not route.drop or NOTHING_LEFT in names)


def inexpressible(names: Collection[str], route: Route) -> Failure:
    """The failure of a line that asks for what the route has no word for."""
    listed = ", ".join(dict.fromkeys(names))
    return Failure(
        Kind.INEXPRESSIBLE, f"{route.name} cannot express {listed[:240]}; set drop = true on the route to leave it out."
    )


def nested(set_: Mapping[str, Any], params: Mapping[str, Any], places: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """A route's ``set`` as top-level members: what lives in a section of the wire's body goes into that section."""
    made: dict[str, Any] = {}
    for name, wanted in set_.items():
        section, inner = places.get(name, (name, ""))
        given = params.get(section)
        base: dict[str, Any] = made.get(section) or (dict(given) if isinstance(given, dict) else {})
        if inner:
            made[section] = {**base, inner: wanted}
        else:
            made[section] = {**base, **wanted} if isinstance(wanted, dict) and base else wanted
    return made


def overridden(body: dict[str, Any], route: Route, places: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """A body that we wrote, with the route's ``set`` and ``unset`` applied."""
    for name in route.unset:
        section, inner = places.get(name, (name, ""))
        if not inner:
            body.pop(section, None)
        elif isinstance(body.get(section), dict):
            body[section].pop(inner, None)
    body.update(nested(route.set, body, places))
    return body


def reply_time_s(reply: Reply) -> int:
    """The unix time of the reply's Date header, 0 where it has none: adapters read no clock."""
    try:
        return int(parsedate_to_datetime(reply.headers.get("date") or "").timestamp())
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0


def finish_word(native: str | None) -> str | None:
    """The word of the contract for a reason to end, whichever provider's; one that nobody knows stays as it is."""
    return native if native is None else _FINISH_WORDS.get(native, native)


def _translated(
    document: dict[str, Any], reply: Reply, form: Form, usage: Usage | None, model: str, reader: AnswerReader
) -> tuple[bytes, str]:
    """An answer in the form of the line's url, and its reason to end in that form's word."""
    told = reader(document, usage, model, reply_time_s(reply))
    writer = ANSWER_WRITERS.get(form)
    if writer is None or not told.candidates:
        return reply.body, "stop"
    return dumps(writer(told)), told.candidates[0].finish
