"""OpenAI's errors and headers, and its embeddings and old completions.

In and out: see ``base.Wire``. ``chat`` and ``responses`` build on ``OpenAIWire``. Shapes from the official SDK's
types; ``x-ratelimit-reset-…`` are Go durations until nothing of the limit is used.
"""

from __future__ import annotations

import array
import base64
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from worker.simulator.config import RetryAfter
from worker.simulator.limits import Gauge, Refused, Scope
from worker.simulator.reading import count, text_of, weigh
from worker.simulator.talk import Ask, Draft, Finish, Invalid, Spent
from worker.simulator.wires.base import CREATED_S, Refusal, Trouble, Wire, Written, event, pieces_of, retry_headers

__all__ = ["Completions", "Embeddings", "OpenAIWire", "chat_usage", "stops"]

_NS: Final = 1_000_000_000
_LIMIT_WORDS: Final[Mapping[Scope, tuple[str, str]]] = {
    Scope.REQUESTS: ("requests", "requests per min (RPM)"),
    Scope.TOKENS: ("tokens", "tokens per min (TPM)"),
    Scope.INPUT_TOKENS: ("tokens", "input tokens per min (TPM)"),
    Scope.OUTPUT_TOKENS: ("tokens", "output tokens per min (TPM)"),
    Scope.REQUESTS_DAY: ("requests", "requests per day (RPD)"),
    Scope.TOKENS_DAY: ("tokens", "tokens per day (TPD)"),
    Scope.CONCURRENCY: ("requests", "concurrent requests (max concurrency)"),
}  # fmt: skip
#: status, type, code and sentence of each refusal that needs no numbers
_ERRORS: Final[Mapping[Trouble, tuple[int, str, str | None, str]]] = {
    Trouble.UNAUTHORISED: (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    Trouble.NO_PATH: (404, "invalid_request_error", None, "Invalid URL."),
    Trouble.MODEL: (404, "invalid_request_error", "model_not_found", "The model '{}' does not exist or you do not have access to it."),
    Trouble.INVALID: (400, "invalid_request_error", None, "The request is not valid."),
    Trouble.CONTEXT: (400, "invalid_request_error", "context_length_exceeded", "This model's maximum context length is exceeded."),
    Trouble.LIMITED: (429, "requests", "rate_limit_exceeded", "Rate limit reached for {}."),
    Trouble.MONEY: (429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota, please check your plan and billing details."),
    Trouble.SERVER: (500, "server_error", None, "The server had an error while processing your request. Sorry about that!"),
    Trouble.UNAVAILABLE: (503, "server_error", None, "The service is unavailable, please try again later."),
    Trouble.OVERLOADED: (503, "server_error", None, "The engine is currently overloaded, please try again later."),
}  # fmt: skip


class OpenAIWire(Wire):
    """What all of OpenAI's endpoints share."""

    def refuse(self, refusal: Refusal) -> Written:
        status, kind, code, words = _ERRORS[refusal.trouble]
        message = refusal.message or words.format(refusal.model)
        headers = {"x-request-id": f"req_{refusal.serial}"}
        if refusal.trouble is Trouble.LIMITED:
            headers |= retry_headers(refusal)
            if refusal.retry_after_s is not None and refusal.style is RetryAfter.SECONDS:
                headers["retry-after-ms"] = str(max(1, math.ceil(refusal.retry_after_s * 1000)))
            if refusal.refused is not None:
                kind, message = _limit_words(refusal.model, refusal.refused)
        error = {"message": message, "type": kind, "param": refusal.param, "code": code}
        return Written(status, orjson.dumps({"error": error}), headers)

    def stream_error(self, refusal: Refusal) -> bytes:
        return b"data: " + self.refuse(refusal).body + b"\n\n"

    def headers(self, serial: str, gauges: Sequence[Gauge], now_s: float) -> dict[str, str]:
        del now_s
        headers = {"x-request-id": f"req_{serial}"}
        for gauge in gauges:
            if gauge.scope in {Scope.REQUESTS, Scope.TOKENS}:
                name = gauge.scope.value
                headers[f"x-ratelimit-limit-{name}"] = str(gauge.limit)
                headers[f"x-ratelimit-remaining-{name}"] = str(gauge.remaining)
                headers[f"x-ratelimit-reset-{name}"] = _go_duration(gauge.full_in_ns)
        return headers


class Completions(OpenAIWire):
    """``/v1/completions``: a prompt, or several, each answered ``n`` times."""

    endpoint = "completions"

    def read(self, body: Mapping[str, Any], model: str | None) -> Ask:
        prompt = body.get("prompt")
        if prompt is None:
            raise Invalid("Missing required parameter: 'prompt'.", "prompt")
        prompts = len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
        return Ask(
            model=model or str(body.get("model", "")),
            prompt=text_of(prompt),
            input_bytes=weigh(prompt),
            max_tokens=count(body, "max_tokens") or 16,
            n=(count(body, "n") or 1) * max(prompts, 1),
            stream=body.get("stream") is True,
            include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            stop=stops(body.get("stop")),
        )

    def write(self, ask: Ask, draft: Draft) -> bytes:
        del ask
        choices = [
            {"index": index, "text": choice.text, "logprobs": None, "finish_reason": _finish(choice.finish)}
            for index, choice in enumerate(draft.choices)
        ]
        return orjson.dumps(_completion(draft, choices) | {"usage": chat_usage(draft.spent)})

    def pieces(self, ask: Ask, draft: Draft) -> list[bytes]:
        pieces = []
        for index, choice in enumerate(draft.choices):
            texts = pieces_of(choice.text) or [""]
            for number, text in enumerate(texts, 1):
                finish = _finish(choice.finish) if number == len(texts) else None
                part = {"index": index, "text": text, "logprobs": None, "finish_reason": finish}
                pieces.append(event(None, _completion(draft, [part])))
        if ask.include_usage:
            pieces.append(event(None, _completion(draft, []) | {"usage": chat_usage(draft.spent)}))
        return [*pieces, b"data: [DONE]\n\n"]


class Embeddings(OpenAIWire):
    """``/v1/embeddings``: texts, or lists of token numbers, as numbers or as base64."""

    endpoint = "embeddings"

    def read(self, body: Mapping[str, Any], model: str | None) -> Ask:
        given = body.get("input")
        if given is None or given in ("", []):
            raise Invalid("Missing required parameter: 'input'.", "input")
        items = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
        texts = tuple(item if isinstance(item, str) else _of_numbers(item) for item in items)
        return Ask(
            model=model or str(body.get("model", "")),
            prompt="",
            input_bytes=weigh(list(texts)),
            texts=texts,
            dimensions=count(body, "dimensions"),
            base64=body.get("encoding_format") == "base64",
        )

    def write(self, ask: Ask, draft: Draft) -> bytes:
        data = [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if ask.base64 else vector}
            for index, vector in enumerate(draft.vectors)
        ]
        tokens = draft.spent.input_tokens
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return orjson.dumps({"object": "list", "model": draft.model, "data": data, "usage": usage})


def chat_usage(spent: Spent) -> dict[str, Any]:
    """Usage as chat and completions tell it: details are parts of the two sums."""
    return {
        "prompt_tokens": spent.input_tokens,
        "completion_tokens": spent.output_tokens,
        "total_tokens": spent.input_tokens + spent.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": spent.cached_tokens, "cache_write_tokens": spent.cache_write_tokens, "audio_tokens": 0,
        },
        "completion_tokens_details": {"reasoning_tokens": spent.reasoning_tokens, "audio_tokens": 0},
    }  # fmt: skip


def stops(value: Any) -> tuple[str, ...]:
    """``stop`` as one text or a list of them."""
    if isinstance(value, str):
        return (value,)
    return tuple(word for word in value if isinstance(word, str)) if isinstance(value, list) else ()


def _completion(draft: Draft, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"cmpl-{draft.serial}", "object": "text_completion", "created": CREATED_S, "model": draft.model,
        "choices": choices,
    }  # fmt: skip


def _finish(finish: Finish) -> str:
    return "length" if finish is Finish.LENGTH else "stop"


def _limit_words(model: str, refused: Refused) -> tuple[str, str]:
    """The error's type and sentence for a limit."""
    kind, limit = _LIMIT_WORDS[refused.scope]
    if refused.too_large:
        return kind, f"Request too large for {model} on {limit}: Limit {refused.limit}, Requested {refused.asked}."
    words = f"Rate limit reached for {model} on {limit}: Limit {refused.limit}, Used {refused.used}, Requested {refused.asked}."
    return kind, words if refused.wait_ns is None else f"{words} Please try again in {_go_duration(refused.wait_ns)}."


def _go_duration(ns: int) -> str:
    """Nanoseconds as Go prints a duration: ``12ms``, ``7.66s``, ``6m0s``; rounded up to milliseconds."""
    ms = -(-ns // 1_000_000)
    if ms < 1000:
        return f"{ms}ms"
    minutes, ms = divmod(ms, 60_000)
    seconds = f"{ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + seconds


def _base64(vector: Sequence[float]) -> str:
    numbers = array.array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()


def _of_numbers(tokens: Any) -> str:
    """A text of as many tokens as there are token numbers."""
    if not isinstance(tokens, list) or not tokens:
        raise Invalid("Invalid value for 'input': expected text or token numbers.", "input")
    return "".join(f"{token:04}"[-4:] for token in tokens if isinstance(token, int))
