"""Object metadata as S3 carries it: HTTP headers, so ASCII and without blanks at the ends.

Comes in: any text under lower-case ASCII names. Goes out: headers, other text in the encoded words of RFC 2047, which is
also how S3 itself returns what it cannot show. One name is ours: the mark by which a writer knows its own object again
when an answer was lost on the way.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Mapping

__all__ = ["MARK", "from_headers", "new_mark", "to_headers"]

MARK = "bucketline-write"
_PLAIN = re.compile(r"[!-~]([ -~]*[!-~])?")
_ENCODED = re.compile(r"=\?utf-8\?b\?([A-Za-z0-9+/=]*)\?=", re.IGNORECASE)


def new_mark() -> str:
    return uuid.uuid4().hex


def to_headers(metadata: Mapping[str, str] | None, mark: str | None = None) -> dict[str, str]:
    """What goes into ``Metadata``."""
    headers = {name: _encode(value) for name, value in (metadata or {}).items()}
    return headers | {MARK: mark} if mark else headers


def from_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What was given, without our mark; names as HTTP has them, without case."""
    return {name.lower(): _decode(value) for name, value in headers.items() if name.lower() != MARK}


def _encode(value: str) -> str:
    if _PLAIN.fullmatch(value) and not value.startswith("=?"):
        return value
    return f"=?UTF-8?B?{base64.b64encode(value.encode()).decode()}?="


def _decode(value: str) -> str:
    found = _ENCODED.fullmatch(value)
    if not found:
        return value
    try:
        return base64.b64decode(found[1], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return value
