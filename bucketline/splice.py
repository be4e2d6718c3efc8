"""Exact edits of a JSON object's top-level members, leaving every other byte alone.

Comes in: the bytes of one JSON object. Goes out: the same bytes with members set, replaced or taken away. A request
body passes through the line this way: re-encoding would change number spellings, escapes and key order, and costs
more than the edit. Called by the reader of input lines and by the provider adapters; parses nothing it need not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

import orjson

__all__ = ["Member", "dumps", "loads", "member_value", "members", "splice"]

_DECODER = json.JSONDecoder()
_TOO_DEEP = "nested too deeply"
_SPACE = re.compile(r"[ \t\n\r]*")

Member = tuple[str, int, int, int]  #: key, where the key starts, where the value starts, where it ends (characters)


def loads(raw: bytes | str) -> Any:
    """Parse JSON: orjson first, the standard library for what orjson refuses (lone surrogates, huge integers).

    Raises ValueError with a position when neither can read it. NaN and Infinity are refused, as they are not JSON.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
        try:
            return json.loads(text, parse_constant=_refuse_constant)
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None


def dumps(value: Any) -> bytes:
    """Encode JSON compactly as UTF-8; lone surrogates come out escaped, as they came in."""
    try:
        return orjson.dumps(value)
    except (orjson.JSONEncodeError, TypeError):
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def members(text: str) -> list[Member]:
    """The top-level members of a JSON object with their places in the text.

    Raises ValueError when it is none, or is nested too deeply.
    """
    found: list[Member] = []
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise ValueError("not a JSON object")
    at = _skip(text, at + 1)
    while text[at : at + 1] == '"':
        key_at = at
        key, at = _decode(text, at)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise ValueError(f"expected ':' at character {at}")
        value_at = _skip(text, at + 1)
        _, end = _decode(text, value_at)
        found.append((key, key_at, value_at, end))
        at = _skip(text, end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
    return found


def member_value(raw: bytes, key: str) -> bytes | None:
    """The exact bytes of a top-level member's value; the last one where the key is repeated, None where it is absent.

    The usual place is tried first: the value that runs up to the object's closing brace, proved by parsing the
    short text before it with a zero in its place.
    """
    end = raw.rfind(b"}")
    for match in re.finditer(b'"' + re.escape(key.encode()) + rb'"[ \t\r\n]*:[ \t\r\n]*', raw):
        if _is_top_level(raw, match.end()):
            candidate = raw[match.end() : end].rstrip()
            try:
                orjson.loads(candidate)
            except orjson.JSONDecodeError:
                break
            return candidate
        if match.end() > 4096:
            break
    text = raw.decode("utf-8")
    value = None
    for name, _, value_at, value_end in members(text):
        if name == key:
            value = text[value_at:value_end].encode()
    return value


def splice(body: bytes, set_: Mapping[str, Any], unset: Collection[str] = ()) -> bytes:
    """The body with the members of ``set_`` set and those of ``unset`` taken away; all other bytes as they were.

    Setting keeps the member's place where it exists and appends it otherwise. Raises ValueError when the body is
    not a JSON object.
    """
    if not set_ and not unset:
        return body
    if len(set_) == 1 and not unset:
        ((key, value),) = set_.items()
        quick = _replace_string(body, key, value)
        if quick is not None:
            return quick
    return _rewrite(body.decode("utf-8"), set_, unset).encode()


def _rewrite(text: str, set_: Mapping[str, Any], unset: Collection[str]) -> str:
    pending = dict(set_)
    kept: list[str] = []
    for key, key_at, value_at, end in members(text):
        if key in set_:
            if key in pending:
                kept.append(text[key_at:value_at] + dumps(pending.pop(key)).decode())
        elif key not in unset:
            kept.append(text[key_at:end])
    kept.extend(f"{dumps(key).decode()}:{dumps(value).decode()}" for key, value in pending.items())
    return "{" + ",".join(kept) + "}"


def _replace_string(body: bytes, key: str, value: Any) -> bytes | None:
    """Replace one string member in place when its key occurs once in the body; None when that cannot be proved."""
    token = b'"' + key.encode() + b'"'
    at = body.find(token)
    if at < 0 or body[at - 1 : at] == b"\\" or body.find(token, at + 1) >= 0:
        return None
    match = _STRING_VALUE.match(body, at + len(token))
    if match is None or not _is_top_level(body, match.start(1)):
        return None
    return body[: match.start(1)] + dumps(value) + body[match.end(1) :]


_STRING_VALUE = re.compile(rb'[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*")')


def _is_top_level(raw: bytes, value_at: int) -> bool:
    """Whether the text before ``value_at`` is an object that lacks only this value and its closing brace."""
    try:
        orjson.loads(raw[:value_at] + b"0}")
    except orjson.JSONDecodeError:
        return False
    return True


def _decode(text: str, at: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
