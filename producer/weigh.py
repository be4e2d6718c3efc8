"""How heavy a request is before anybody has counted its tokens.

Comes in: a request. Goes out: a ``Weight``: bytes of text the model is given, messages, pictures, choices and the cap on
its output. ``Reading`` turns a weight into tokens: with figures that hold for no model exactly until an earlier batch
of the same model has taught better ones. Pure; no tokenizer is downloaded, because each model has its own and the
providers' counts are the ones that are billed. Called by ``estimate``, line by line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bucketline.declared import declared_cap_tokens, declared_choices
from bucketline.request import Form, Request

__all__ = ["Reading", "Sample", "Weight", "fit", "weigh"]

#: members of a body that the model reads
_READ = frozenset(
    {
        "content", "contents", "functions", "input", "instructions", "messages", "prompt", "suffix", "system",
        "systemInstruction", "system_instruction", "tools",
    }
)  # fmt: skip
#: members that carry a picture, a sound or a file: counted, not weighed
_MEDIA = frozenset(
    {
        "audio", "document", "file", "fileData", "file_data", "image", "image_url", "inlineData", "inline_data",
        "input_audio", "source", "video",
    }
)  # fmt: skip
#: members that no model reads as text
_MARKS = frozenset(
    {
        "cache_control", "call_id", "detail", "encrypted_content", "id", "role", "signature", "status", "strict",
        "thoughtSignature", "tool_call_id", "tool_use_id", "type",
    }
)  # fmt: skip
_TURNS = ("messages", "contents", "input")
_NO_OUTPUT = frozenset({Form.EMBEDDINGS, Form.EMBED})


@dataclass(frozen=True, slots=True)
class Weight:
    """What can be known of a request's size. ``cap_tokens`` is the declared cap on the output, None without one."""

    text_bytes: int
    turns: int
    media: int
    choices: int
    cap_tokens: int | None
    answers: bool  #: whether the request asks for text at all


@dataclass(frozen=True, slots=True)
class Sample:
    """One answered request of an earlier batch: its weight, and what the provider counted."""

    weight: Weight
    input_tokens: int
    output_tokens: int
    latency_s: float


@dataclass(frozen=True, slots=True)
class Reading:
    """Tokens per byte, turn and picture, and the output to expect; the defaults are for English on current models."""

    per_byte: float = 0.25
    per_turn: float = 3.0
    per_media: float = 300.0
    spread: float = 0.25  #: how far the input may lie off, as a share
    output_low: float = 32.0
    output_likely: float = 256.0
    output_high: float = 2048.0
    latency_s: float | None = None
    samples: int = 0

    def input_tokens(self, weight: Weight) -> float:
        """The likely prompt tokens; every request has at least one."""
        return max(
            1.0, self.per_byte * weight.text_bytes + self.per_turn * weight.turns + self.per_media * weight.media
        )

    def output_tokens(self, weight: Weight) -> tuple[float, float, float]:
        """Low, likely and high output tokens over all choices; a declared cap bounds each of them."""
        if not weight.answers:
            return 0.0, 0.0, 0.0
        cap = weight.cap_tokens if weight.cap_tokens is not None else float("inf")
        low, likely, high = (
            min(cap, one) * weight.choices for one in (self.output_low, self.output_likely, self.output_high)
        )
        return low, likely, high


def weigh(request: Request) -> Weight:
    """Weigh one request."""
    params = request.params
    counts = [0, 0]
    for name, value in params.items():
        if name in _READ:
            _add(value, counts)
    turns = next((len(params[name]) for name in _TURNS if isinstance(params.get(name), list)), 1)
    return Weight(
        text_bytes=counts[0],
        turns=turns + ("system" in params),
        media=counts[1],
        choices=declared_choices(params),
        cap_tokens=declared_cap_tokens(params),
        answers=request.form not in _NO_OUTPUT,
    )


def fit(samples: Sequence[Sample], *, least: int = 5) -> Reading | None:
    """What earlier answers of a model teach; None from too few of them.

    Least squares for tokens per byte and per turn, without letting either go below zero; the plain ratio where
    the samples cannot tell the two apart.
    """
    if len(samples) < least:
        return None
    outputs = sorted(one.output_tokens / one.weight.choices for one in samples if one.weight.answers) or [0.0]
    latencies = sorted(one.latency_s for one in samples)
    per_byte, per_turn = _slopes(samples)
    return Reading(
        per_byte=per_byte,
        per_turn=per_turn,
        spread=0.1,
        output_low=outputs[len(outputs) // 4],
        output_likely=sum(outputs) / len(outputs),
        output_high=outputs[min(len(outputs) - 1, len(outputs) * 19 // 20)],
        latency_s=latencies[len(latencies) // 2],
        samples=len(samples),
    )


def _slopes(samples: Sequence[Sample]) -> tuple[float, float]:
    text = [one for one in samples if not one.weight.media] or list(samples)
    bb = sum(one.weight.text_bytes**2 for one in text)
    bt = sum(one.weight.text_bytes * one.weight.turns for one in text)
    tt = sum(one.weight.turns**2 for one in text)
    by = sum(one.weight.text_bytes * one.input_tokens for one in text)
    ty = sum(one.weight.turns * one.input_tokens for one in text)
    determinant = bb * tt - bt * bt
    if determinant > 0.001 * bb * tt:
        per_byte, per_turn = (by * tt - ty * bt) / determinant, (ty * bb - by * bt) / determinant
        if per_byte >= 0 and per_turn >= 0:
            return per_byte, per_turn
    return sum(one.input_tokens for one in text) / max(1, sum(one.weight.text_bytes for one in text)), 0.0


def _add(value: Any, counts: list[int]) -> None:
    """Bytes of text into the first count, pictures and files into the second."""
    if isinstance(value, str):
        counts[0] += len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, list):
        for inner in value:
            _add(inner, counts)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name in _MEDIA and isinstance(inner, dict | str):
                counts[1] += 1
            elif name not in _MARKS:
                _add(inner, counts)
