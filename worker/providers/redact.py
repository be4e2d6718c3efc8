"""Providers' own words, made fit for our messages and files: no key, no prompt, no length.

Comes in: an error sentence or an error body, the key of the call and the line's body. Goes out: the same without
anything that looks like a key, without long stretches that the line itself contains, and short. Called on failures
only, so it may take its time.
"""

from __future__ import annotations

import re

from bucketline.splice import dumps, loads

__all__ = ["clean_body", "clean_message"]

_MOST_CHARS = 300
_MOST_BODY_BYTES = 64 * 1024
_GONE = "…"
_KEYS = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|pk|rk|gsk|xai|hf|llmgtwy|tgp|nvapi|sess|ak)[-_][\w*.\-]{6,}"  # OpenAI and those who write keys likewise
    r"|AIza[\w*\-]{10,}|ya29\.[\w.\-]+|(?:AKIA|ASIA)[A-Z0-9]{12,}|eyJ[\w\-]{10,}\.[\w\-.]+"
    r"|(?<=[Bb]earer )[^\s\"']{8,}"
    r"|(?<=[Kk]ey provided: )[^\s\"',]{4,}|(?<=[Kk]ey = )[^\s\"',]{4,}|(?<=[Kk]ey: )[^\s\"',]{8,}|(?<=[Tt]oken: )[^\s\"',]{8,}"
)
_SPACE = re.compile(r"\s+")
_SPACES = re.compile(rb"\s+")
_ESCAPE = re.compile(rb"\\(.)")  #: those that an encoder must write
_READ_AS = {b"n": b" ", b"r": b" ", b"t": b" "}
_QUOTED = re.compile(r"(['\"`])([^'\"`]{48,})\1")
_WORD = re.compile(r"\S+")
_TRIM = "'\"`.,:;()[]{}<>"
_SHINGLE = 3  #: so many words in a row that also stand in the line are the prompt


def clean_message(text: str, *, key: str = "", line_body: bytes = b"", model: str = "") -> str:
    """One short sentence of the provider's. What the line's own body contains is taken out, its field names stay."""
    text = _SPACE.sub(" ", without_key(text[:4000], key)).strip()
    text = _QUOTED.sub(_GONE, text)
    if line_body:
        text = _without_echo(text, line_body, model)
    return text if len(text) <= _MOST_CHARS else text[: _MOST_CHARS - 1].rstrip() + _GONE


def clean_body(body: bytes, key: str) -> bytes | None:
    """An error body for the error line: JSON bytes as they came, but without keys; None when it is far too long."""
    if len(body) > _MOST_BODY_BYTES:
        return None
    text = body.decode("utf-8", "surrogateescape")
    cleaned = without_key(text, key)
    return body if cleaned == text else cleaned.encode("utf-8", "surrogateescape")


def without_key(text: str, key: str) -> str:
    """The text with the call's key, and whatever else looks like one, taken out."""
    if len(key) >= 4:
        text = text.replace(key, _GONE)
    return _KEYS.sub(_GONE, text)


def _without_echo(text: str, body: bytes, model: str) -> str:
    """Words of the message that stand in the line too, three in a row or one long one, are taken for the prompt."""
    words, read = list(_WORD.finditer(text)), _read(body)
    echoed = [_is_echo(match[0].strip(_TRIM), body, read, model) for match in words]
    for at in range(len(words) - _SHINGLE + 1):
        stretch = text[words[at].start() : words[at + _SHINGLE - 1].end()].strip(_TRIM)
        if len(stretch) >= 12 and _stands_in(stretch, body, read):
            echoed[at : at + _SHINGLE] = [True] * _SHINGLE
    kept = [_GONE if gone else match[0] for match, gone in zip(words, echoed, strict=True)]
    return " ".join(word for at, word in enumerate(kept) if word != _GONE or at == 0 or kept[at - 1] != _GONE)


def _is_echo(word: str, body: bytes, read: bytes, model: str) -> bool:
    if len(word) < 10 or word == model or word in model or not _stands_in(word, body, read):
        return False
    return not re.search(rb'"' + re.escape(word.encode("utf-8", "replace")) + rb'"\s*:', body)


def _stands_in(text: str, body: bytes, read: bytes) -> bool:
    raw = text.encode("utf-8", "replace")
    return raw in body or raw in read


def _read(body: bytes) -> bytes:
    """The body as a reader of its texts sees it, in one line: without it a prompt that is spelled in escapes, as
    Python's own encoder does beyond ASCII, would not be known again.
    """
    if b"\\" not in body:
        return body
    try:
        text = dumps(loads(body))
    except ValueError:
        return body
    return _SPACES.sub(b" ", _ESCAPE.sub(lambda found: _READ_AS.get(found[1], found[1]), text))
