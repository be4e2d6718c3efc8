"""What the fleet has learnt about one ``provider/model``: how large requests and answers turn out to be.

Comes in: what calls used, or the sums that others have gathered. Goes out: the bytes that one token takes, how far that
is off, and the output that 95 of 100 answers do not exceed. The sums of two workers add up to those of both, so they lie
in Redis as a hash of counters. Added to by ``worker.limiter.learning``; read by ``status`` and ``limits``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bucketline import keys
from bucketline.usage import Usage

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Learnt", "read_learnt"]

_BYTES_A_TOKEN = 4.0  #: English text with the JSON around it, before anything is known
_ENOUGH = 8  #: answers before the percentile is believed
_ALL_AT_FIRST = 64  #: answers that all are learnt from
_THEN_EVERY = 4
_MEMORY = 512  #: answers after which the old ones count half
_REFRESH = 16  #: answers between two looks at the percentile
_LOG_GROWTH = math.log(1.1)  #: a bucket of the output counts is a tenth wider than the one before


@dataclass(slots=True)
class Learnt:
    """The sums of one ``provider/model``, decaying."""

    input_bytes: float = 0.0
    input_tokens: float = 0.0
    off_tokens: float = 0.0  #: sum of |estimate - fact| of the input
    outputs: dict[int, float] = field(default_factory=dict)  #: bucket → answers
    answers: float = 0.0
    fresh: dict[str, int] = field(default_factory=dict)  #: learnt here since the others were last told
    _p95: int | None = None
    _stale: int = 0
    _calls: int = 0

    @property
    def bytes_a_token(self) -> float:
        return self.input_bytes / self.input_tokens if self.input_tokens > 0 else _BYTES_A_TOKEN

    @property
    def error(self) -> float | None:
        """Mean error of the input estimate as a share of the fact; None before the first answer."""
        return self.off_tokens / self.input_tokens if self.input_tokens > 0 else None

    @property
    def output_p95(self) -> int | None:
        """Output tokens that 95 of 100 answers do not exceed; None while too little is known."""
        if self._p95 is None and self.answers >= _ENOUGH:
            self._p95 = self.quantile(0.95)
        return self._p95

    def learn(self, body_bytes: int, usage: Usage) -> None:
        """Take what one call used; of many calls every fourth, which shows as much at a quarter of the cost."""
        self._calls += 1
        if self._calls > _ALL_AT_FIRST and self._calls % _THEN_EVERY:
            return
        fresh, tokens = self.fresh, usage.input_tokens
        if tokens > 0:
            off = abs(math.ceil(body_bytes / self.bytes_a_token) - tokens)
            self.input_bytes += body_bytes
            self.input_tokens += tokens
            self.off_tokens += off
            fresh["bytes"] = fresh.get("bytes", 0) + body_bytes
            fresh["tokens"] = fresh.get("tokens", 0) + tokens
            fresh["off"] = fresh.get("off", 0) + off
        bucket = math.ceil(math.log(usage.output_tokens) / _LOG_GROWTH) if usage.output_tokens > 0 else -1
        name = f"o{bucket}"
        fresh[name] = fresh.get(name, 0) + 1
        self.outputs[bucket] = self.outputs.get(bucket, 0.0) + 1
        self.answers += 1
        self._stale += 1
        if self._stale >= _REFRESH or self._p95 is None:
            self._p95, self._stale = None, 0
        if self.answers > _MEMORY:
            self._fade()

    def add(self, sums: Mapping[str, float]) -> None:
        """Take in sums by name, as they lie in Redis; a name from a newer version is passed over."""
        for name, value in sums.items():
            if name == "bytes":
                self.input_bytes += value
            elif name == "tokens":
                self.input_tokens += value
            elif name == "off":
                self.off_tokens += value
            elif name[:1] == "o" and name[1:].lstrip("-").isdecimal():
                bucket = int(name[1:])
                self.outputs[bucket] = self.outputs.get(bucket, 0.0) + value
                self.answers += value
        self._p95 = None
        while self.answers > _MEMORY:
            self._fade()

    def quantile(self, share: float) -> int:
        """The output tokens that this share of the answers does not exceed, within a tenth."""
        rank, seen = share * self.answers, 0.0
        for bucket in sorted(self.outputs):
            seen += self.outputs[bucket]
            if seen >= rank - 1e-9:
                return 0 if bucket < 0 else math.ceil(math.exp(bucket * _LOG_GROWTH))
        return 0

    def document(self) -> dict[str, Any]:
        """For display: the error as a share of the true tokens, null where nothing is known."""
        known = self.input_tokens > 0
        return {
            "samples": round(self.answers),
            "input_error": None if self.error is None else round(self.error, 4),
            "bytes_a_token": round(self.bytes_a_token, 3) if known else None,
            "output_p95_tokens": self.output_p95,
        }

    def _fade(self) -> None:
        self.input_bytes /= 2
        self.input_tokens /= 2
        self.off_tokens /= 2
        self.answers = 0.0
        for bucket, count in list(self.outputs.items()):
            if count < 0.1:
                del self.outputs[bucket]
            else:
                self.outputs[bucket] = count / 2
                self.answers += count / 2
        self._p95 = None


async def read_learnt(redis: Redis) -> dict[str, Learnt]:
    """What the whole fleet has learnt: ``provider/model`` → its sums, by name. Raises RedisError."""
    names = sorted(member.decode() for member in await redis.smembers(keys.LEARNT))  # type: ignore[misc]
    pipe = redis.pipeline(transaction=False)
    for name in names:
        pipe.hgetall(keys.learnt(name))
    learnt = {}
    for name, found in zip(names, await pipe.execute(), strict=True):
        if found:
            learnt[name] = Learnt()
            learnt[name].add({field.decode(): float(value) for field, value in found.items()})
    return learnt
