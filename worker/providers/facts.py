"""What an error body says, whatever its shape.

Comes in: the status, the headers and the parsed body of a refusal. Goes out: ``Facts``: type, code, sentence and the
few further words that decide. Shapes known: OpenAI's and Anthropic's ``{"error": {…}}``, Google's with ``status`` and
``details`` (also inside a list), Azure's ``innererror`` and gateway form, flat ones (SGLang, Bedrock), ``{"error":
true}`` and ``{"error": "text"}`` (LLM API, Ollama), ``{"detail": …}`` (FastAPI), ``base_resp`` (MiniMax). What they
mean is the business of ``errors``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Facts", "facts_of"]


@dataclass(frozen=True, slots=True)
class Facts:
    """One refusal. ``words`` are its type, code and their finer companions: the words that rules are written for."""

    status: int
    message: str = ""
    words: tuple[str, ...] = ()
    grpc_status: str = ""  #: Google's ``error.status``
    quota_ids: tuple[str, ...] = ()  #: Google's ``QuotaFailure.violations[].quotaId``
    metadata: Mapping[str, Any] = field(default_factory=dict)  #: OpenRouter's
    error: Mapping[str, Any] = field(default_factory=dict)  #: the error object itself, for the delay
    has_type: bool = False
    has_param: bool = False


def facts_of(status: int, headers: Mapping[str, str], document: Any) -> Facts:
    """Read a parsed error body; anything odd is simply absent from the facts."""
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return Facts(status, words=_exception(headers))
    error = _error_object(document)
    details, inner, metadata = error.get("details"), error.get("innererror"), error.get("metadata")
    sub = details.get("error_code") if isinstance(details, dict) else None
    inner_code = inner.get("code") if isinstance(inner, dict) else None
    listed = [d for d in details if isinstance(d, dict)] if isinstance(details, list) else []
    metadata = metadata if isinstance(metadata, dict) else {}
    message = _message(error)
    words = [sub, inner_code, error.get("code"), error.get("type"), metadata.get("error_type")]
    words += [d.get("reason") for d in listed]
    if message and " " not in message and not error.get("code") and not error.get("type"):
        words.append(message)
    return Facts(
        status=status,
        message=message,
        words=tuple(str(word) for word in words if isinstance(word, str | int) and word) + _exception(headers),
        grpc_status=error["status"] if isinstance(error.get("status"), str) else "",
        quota_ids=_quota_ids(listed),
        metadata=metadata,
        error=error,
        has_type=bool(error.get("type")),
        has_param=bool(error.get("param")),
    )


def _error_object(document: dict[str, Any]) -> dict[str, Any]:
    error = document.get("error")
    if isinstance(error, dict):
        nested = error.get("error")
        return nested if isinstance(nested, dict) else error
    base = document.get("base_resp")
    if isinstance(base, dict):
        return {"code": base.get("status_code"), "message": base.get("status_msg")}
    if isinstance(error, str) and error:
        return {**document, "message": error}
    return document


def _message(error: Mapping[str, Any]) -> str:
    for name in ("message", "Message", "detail", "msg"):
        value = error.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list) and value and isinstance(value[0], dict):
            loc = value[0].get("loc")
            place = ".".join(str(step) for step in loc if isinstance(step, str | int)) if isinstance(loc, list) else ""
            return f"{place}: {value[0].get('msg')}".lstrip(": ")
    return ""


def _quota_ids(details: list[dict[str, Any]]) -> tuple[str, ...]:
    violations = [v for detail in details if isinstance(detail.get("violations"), list) for v in detail["violations"]]
    return tuple(str(v["quotaId"]) for v in violations if isinstance(v, dict) and v.get("quotaId"))


def _exception(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Amazon's exception name: ``x-amzn-errortype: Name:http://…``."""
    name = (headers.get("x-amzn-errortype") or "").partition(":")[0]
    return (name,) if name else ()
