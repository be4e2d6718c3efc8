"""A batch: its document in the store, its states, and its progress.

``BatchDocument`` is ``batch.json``, written once at the end of submit: its being there is what makes a batch exist,
and it holds all that is needed to rebuild everything in Redis. ``State`` is OpenAI's eight, as data. ``Progress`` is
what ``status`` shows, read from Redis while the batch lives and from the manifest afterwards.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bucketline.money import usd

__all__ = [
    "NEXT_STATES",
    "TERMINAL",
    "BatchDocument",
    "BatchOptions",
    "Counts",
    "Progress",
    "State",
    "iso_time",
    "new_batch_id",
    "progress_from",
]


class State(StrEnum):
    """The states of OpenAI's batch object (https://platform.openai.com/docs/guides/batch)."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


#: state → the states that may follow; terminal states have none
NEXT_STATES: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.VALIDATING: frozenset({State.IN_PROGRESS, State.FAILED, State.CANCELLING}),
        State.IN_PROGRESS: frozenset({State.FINALIZING, State.CANCELLING, State.FAILED}),
        State.CANCELLING: frozenset({State.CANCELLED}),
        State.FINALIZING: frozenset({State.COMPLETED, State.EXPIRED, State.FAILED}),
        State.FAILED: frozenset(),
        State.COMPLETED: frozenset(),
        State.EXPIRED: frozenset(),
        State.CANCELLED: frozenset(),
    }
)
TERMINAL = frozenset(state for state, following in NEXT_STATES.items() if not following)


class BatchOptions(BaseModel):
    """What the submitter asked for; the same names on every door."""

    #: built at first use: commands that only look at Redis answer sooner
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    model: str | None = Field(None, description="the model of lines that name none")
    force_model: bool = Field(False, description="--model applies to every line")
    max_usd: str | None = Field(
        None,
        description="the budget, decimal dollars; exceeded at most by what the calls in flight then cost beyond what "
        "was reserved for them",
    )
    on_budget: Literal["stop", "downgrade"] = "stop"
    unpriced: Literal["refuse", "allow"] = "refuse"
    window_s: float | None = Field(None, description="from submit to deadline; absent: no deadline")
    priority: int = Field(5, ge=0, le=9, description="higher goes first")
    metadata: dict[str, str] = Field(default_factory=dict)
    on_quota: Literal["wait", "fail"] | None = Field(
        None, description="when an account is exhausted or a key bad; absent: as the configuration says"
    )
    on_truncated: Literal["mark", "raise"] = "mark"
    min_quality: float | None = None
    dedupe: bool = False
    raw: bool = Field(False, description="keep the provider's own body beside a translated one")
    repair: bool = Field(False, description="tell the model what was wrong with an answer that broke its schema")


class BatchDocument(BaseModel):
    """``batch.json``. ``shards`` holds one ``[first line, offset, bytes, lines]`` each, in order."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    version: Literal[1] = 1
    id: str
    source: str
    created_s: float
    options: BatchOptions = Field(default_factory=BatchOptions)
    lines: int
    rejected: int
    last_line: int
    input_bytes: int
    input_sha256: str
    shards: list[tuple[int, int, int, int]]
    config_digest: str = ""
    rerun_of: str | None = None

    @property
    def deadline_s(self) -> float | None:
        """Unix time at which the window ends."""
        return None if self.options.window_s is None else self.created_s + self.options.window_s


@dataclass(frozen=True, slots=True)
class Counts:
    """Lines of a batch by what became of them; ``failed`` counts final failures only, ``cancelled`` apart."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def done(self) -> int:
        return self.completed + self.failed + self.cancelled

    @property
    def percent(self) -> float:
        """Finished lines in percent: 100 only when all are, rounded down before that."""
        if self.done >= self.total:
            return 100.0
        return min(99.9, int(1000 * self.done / self.total) / 10)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is; times are unix seconds."""

    id: str
    source: str
    state: State
    counts: Counts
    nanousd: int
    unpriced: bool
    tokens: int
    created_s: float
    finished_s: float | None = None
    reason: str | None = None
    paused: bool = False
    deadline_s: float | None = None
    attempts: int = 0
    waiting_shards: int = 0

    def document(self) -> dict[str, Any]:
        """The entry of ``status --json``."""
        counts = self.counts
        return {
            "id": self.id,
            "source": self.source,
            "status": self.state.value,
            "counts": {
                "total": counts.total,
                "completed": counts.completed,
                "failed": counts.failed,
                "cancelled": counts.cancelled,
            },
            "percent": counts.percent,
            "cost_usd": usd(self.nanousd),
            "cost_complete": not self.unpriced,
            "tokens": self.tokens,
            "created_at": iso_time(self.created_s),
            "finished_at": None if self.finished_s is None else iso_time(self.finished_s),
            "paused": self.paused,
            "deadline": None if self.deadline_s is None else iso_time(self.deadline_s),
            "reason": self.reason,
        }


#: states in which a pause holds anything up
_PAUSABLE = frozenset({State.VALIDATING, State.IN_PROGRESS})


def progress_from(batch_id: str, raw: Mapping[bytes, bytes]) -> Progress | None:
    """What a batch's hash in Redis says; None where there is none."""
    if not raw.get(b"state"):
        return None

    def number(name: bytes) -> int:
        return int(raw.get(name) or 0)

    def moment(name: bytes) -> float | None:
        return float(raw[name]) if raw.get(name) else None

    reason = raw.get(b"reason")
    state = State(raw[b"state"].decode())
    return Progress(
        id=batch_id,
        source=raw.get(b"source", b"").decode(),
        state=state,
        counts=Counts(number(b"total"), number(b"completed"), number(b"failed"), number(b"cancelled")),
        nanousd=number(b"nanousd"),
        unpriced=number(b"unpriced") > 0,
        tokens=number(b"tokens"),
        created_s=moment(b"created_s") or 0.0,
        finished_s=moment(b"finished_s"),
        reason=reason.decode() if reason else None,
        paused=raw.get(b"paused") == b"1" and state in _PAUSABLE,
        deadline_s=moment(b"deadline_s"),
        attempts=number(b"attempts"),
        waiting_shards=number(b"shards_left"),
    )


def iso_time(unix_s: float) -> str:
    """Unix seconds → RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_batch_id() -> str:
    """An id nobody has used: 80 random bits, in letters and digits that survive in paths and urls."""
    return f"batch_{secrets.token_hex(10)}"
