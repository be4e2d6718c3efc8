"""Some lines of a finished batch once more, with other parameters: the input of a new batch.

Comes in: a batch, which of its lines (truncated, failed, or an error code), and what is to be set in their bodies. Goes
out: the lines as they were, byte for byte but for the change, in input order. A bare body's id is its line number, so it is
wrapped to keep it. Called by the client; results of both batches are joined by ``merged``.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bucketline.batch import BatchDocument
from bucketline.declared import CAP_FIELDS
from bucketline.documents import read_document
from bucketline.errors import InputError, UsageError
from bucketline.failure import Code
from bucketline.jsonl import records
from bucketline.layout import errors_object, input_object, output_object
from bucketline.request import Form, Request, read_request
from bucketline.settings import Settings
from bucketline.splice import dumps, loads, splice
from bucketline.store import Store
from bucketline.tally import CUT
from producer.download import finished_manifest
from producer.intake import submit
from producer.options import batch_options
from producer.source import BLOCK_BYTES, InputStream

if TYPE_CHECKING:
    from arq.connections import ArqRedis

__all__ = ["Change", "changed_line", "parse_set", "rerun", "rerun_input", "wanted_kinds"]

TRUNCATED, FAILED = "truncated", "failed"
_URLS = {
    Form.CHAT: "/v1/chat/completions",
    Form.RESPONSES: "/v1/responses",
    Form.COMPLETIONS: "/v1/completions",
    Form.EMBEDDINGS: "/v1/embeddings",
    Form.MESSAGES: "/v1/messages",
}
_MEMBERS = ("body", "params", "request")


@dataclass(frozen=True, slots=True)
class Change:
    """What is different this time. A name may be a path, ``generationConfig.maxOutputTokens``."""

    set_: Mapping[str, Any] = field(default_factory=dict)
    unset: tuple[str, ...] = ()


def wanted_kinds(text: str) -> frozenset[str]:
    """``truncated,failed`` → the kinds of lines. Raises UsageError that names an unknown one."""
    known = {TRUNCATED, FAILED, *(code.value for code in Code)}
    kinds = frozenset(word.strip() for word in text.split(",") if word.strip())
    unknown = sorted(kinds - known)
    if unknown or not kinds:
        named = f"There are no {unknown[0]!r} lines" if unknown else "No lines were named"
        raise UsageError(f"{named}; say truncated, failed, or an error code: {', '.join(sorted(known))}.")
    return kinds


def parse_set(pairs: Collection[str]) -> dict[str, Any]:
    """``NAME=VALUE`` …; a value that is JSON is that, anything else is text. Raises UsageError."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"{pair!r} sets nothing; write NAME=VALUE, such as max_tokens=8000.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


async def rerun(
    batch_id: str,
    store: Store,
    redis: ArqRedis,
    settings: Settings,
    *,
    only: str,
    set_: Mapping[str, Any],
    unset: Sequence[str],
    asked: Mapping[str, Any],
    check_keys: bool = True,
    warn: Callable[[str], None] = lambda _: None,
) -> BatchDocument:
    """Make the new batch. Raises as ``submit``, and NotFinished, BatchNotFound, UsageError."""
    kinds = wanted_kinds(only)
    await finished_manifest(batch_id, store)
    document = await read_document(store, batch_id)
    options = batch_options(document.options, asked)
    source = await rerun_input(store, document, kinds, Change(set_, tuple(unset)))
    return await submit(source, store, redis, settings, options, rerun_of=batch_id, check_keys=check_keys, warn=warn)


async def rerun_input(store: Store, document: BatchDocument, kinds: Collection[str], change: Change) -> InputStream:
    """The chosen lines as an input. Raises InputError when no line is of those kinds, and the store's errors."""
    lines = await _chosen(store, document.id, kinds)
    if not lines:
        refused = (
            f" Lines refused at submit ({document.rejected}) are mended in their file." if document.rejected else ""
        )
        raise InputError(
            f"No line of {document.id} is {' or '.join(sorted(kinds))}; there is nothing to run again.{refused}"
        )
    return InputStream(document.source, _blocks(store, document, lines, change))


async def _chosen(store: Store, batch_id: str, kinds: Collection[str]) -> set[int]:
    """The numbers of the lines that are of one of the kinds."""
    lines: set[int] = set()
    if TRUNCATED in kinds:
        async for record in records(store.read(output_object(batch_id))):
            block = loads(record.raw)["bucketline"]
            if block.get("finish_reason") in CUT:
                lines.add(block["line"])
    async for record in records(store.read(errors_object(batch_id))):
        row = loads(record.raw)
        code = row["error"]["code"]
        failed = FAILED in kinds and code not in (Code.CANCELLED, Code.INVALID_INPUT)
        if failed or code in kinds:
            lines.add(row["bucketline"]["line"])
    return lines


async def _blocks(store: Store, document: BatchDocument, lines: set[int], change: Change) -> AsyncIterator[bytes]:
    held: list[bytes] = []
    size = 0
    async for record in records(store.read(input_object(document.id))):
        if record.line not in lines:
            continue
        raw = changed_line(record.raw, record.line, document.options.model, change)
        held.append(raw + b"\n")
        size += len(raw)
        if size >= BLOCK_BYTES:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


def changed_line(raw: bytes, line: int, model: str | None, change: Change) -> bytes:
    """One line with its body changed and all else as it was; a line that cannot be read stays as it is."""
    request = read_request(raw, line, model)
    if not isinstance(request, Request):
        return raw
    body = _changed_body(request, change)
    envelope = loads(raw)
    member = next((name for name in _MEMBERS if name in envelope), None)
    if member is None:
        return _wrapped(request, body)
    if body == request.body:
        return raw
    for at in _places(raw, request.body):
        edited = raw[:at] + body + raw[at + len(request.body) :]
        again = read_request(edited, line, model)
        if isinstance(again, Request) and again.body == body:
            return edited
    return splice(raw, {member: loads(body)})


def _changed_body(request: Request, change: Change) -> bytes:
    params = request.params
    set_: dict[str, Any] = {}
    for path, value in change.set_.items():
        name, *rest = _spelled(path, params).split(".")
        set_[name] = _nested(set_.get(name, params.get(name)), rest, value)
    unset = tuple(name for name in change.unset if name in params)
    return splice(request.body, set_, unset)


def _spelled(path: str, params: Mapping[str, Any]) -> str:
    """A cap under the name that this line gives it, so that no line ends with two."""
    if path not in CAP_FIELDS or path in params:
        return path
    named = [name for name in CAP_FIELDS if name in params]
    if named:
        return named[0]
    return "generationConfig.maxOutputTokens" if "contents" in params else path


def _nested(before: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    inner = before if isinstance(before, dict) else {}
    return {**inner, path[0]: _nested(inner.get(path[0]), path[1:], value)}


def _wrapped(request: Request, body: bytes) -> bytes:
    """A bare body in an envelope that holds its id."""
    url = _URLS.get(request.form, f"/v1beta/models/{request.model}:generateContent")
    head = dumps({"custom_id": request.custom_id, "method": "POST", "url": url})
    return head[:-1] + b',"body":' + body + b"}"


def _places(raw: bytes, part: bytes) -> list[int]:
    """Where a part stands, from the right: an envelope's body is its last large member as a rule."""
    found, at = [], raw.rfind(part)
    while at >= 0:
        found.append(at)
        at = raw.rfind(part, 0, at)
    return found
