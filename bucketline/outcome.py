"""What became of one line: answered or failed, with every attempt it took.

Comes in: the request, the answer or the last failure, and the attempts. Goes out: the one line of ``output.jsonl`` or
``errors.jsonl`` as bytes, exactly as it will lie there, and the figures that the manifest folds. The provider's body
is spliced in as it came, so nothing of it is parsed or spelled anew. Called by ``dispatch`` once per line.
"""

from __future__ import annotations

from typing import Any

from bucketline.failure import Billed, Code
from bucketline.jsonl import escape_line_ends
from bucketline.money import usd
from bucketline.rates import Step
from bucketline.request import JsonScalar
from bucketline.splice import dumps
from bucketline.usage import Usage
from bucketline.value import value

__all__ = ["Attempt", "Cost", "Outcome", "encode_outcome", "request_row_id"]


@value
class Cost:
    """What one attempt cost. ``nanousd`` is None where a price or the usage is unknown.

    ``maybe_nanousd`` is the most that a call which may have been billed can have cost (None: not even that is
    known); it is never part of ``nanousd``. ``reported_nanousd`` is a gateway's own figure where it gave one: then it
    is ``nanousd``, and ``computed_nanousd`` is what our prices say.
    """

    nanousd: int | None = 0
    maybe_nanousd: int | None = 0
    price: Step | None = None  #: the row of the price list that applied
    tier: str = "standard"
    reported_nanousd: int | None = None
    computed_nanousd: int | None = None

    @property
    def price_key(self) -> str:
        """The key of the price row among the manifest's ``by_route`` rows; empty where there was no price."""
        return "" if self.price is None else self.price.key

    def document(self) -> dict[str, Any]:
        """What else a line says of an attempt's price: the row, an unusual tier, a gateway's figure beside ours."""
        entry: dict[str, Any] = {}
        if self.price is not None:
            entry["price"] = self.price.key
        if self.tier != "standard":
            entry["tier"] = self.tier
        if self.reported_nanousd is not None:
            entry["reported_usd"] = usd(self.reported_nanousd)
            entry["computed_usd"] = usd(self.computed_nanousd)
        return entry


@value
class Attempt:
    """One call that left for a provider. ``kind`` is ``"ok"`` or a failure kind."""

    provider: str
    model: str
    kind: str
    status: int | None
    started_s: float  #: unix time
    latency_s: float
    usage: Usage | None
    cost: Cost
    billed: Billed
    request_id: str | None = None
    served_model: str | None = None

    def document(self) -> dict[str, Any]:
        """The entry of a line's ``attempt_log``."""
        entry = {
            "provider": self.provider,
            "model": self.model,
            "kind": self.kind,
            "status_code": self.status,
            "started_at": round(self.started_s, 3),
            "latency_s": round(self.latency_s, 3),
            "usage": None if self.usage is None else self.usage.document(),
            "cost_usd": usd(self.cost.nanousd),
            "billed": self.billed.value,
            "maybe_billed_usd": usd(self.cost.maybe_nanousd),
            "request_id": self.request_id,
        }
        if self.served_model is not None:
            entry["served_model"] = self.served_model
        entry.update(self.cost.document())
        return entry


@value
class Outcome:
    """The end of one line. ``code`` is None where it was answered; ``body`` is the answer or the last error body."""

    line: int
    custom_id: JsonScalar
    requested_model: str
    code: Code | None
    message: str | None
    attempts: tuple[Attempt, ...]
    status: int | None = None
    request_id: str | None = None
    body: bytes | None = None
    finish_reason: str | None = None
    served_model: str | None = None
    usage: Usage | None = None
    raw: bytes | None = None  #: the provider's own body, where it was asked for and ``body`` is a translation
    extra: dict[str, Any] | None = None  #: further members of the ``bucketline`` block

    @property
    def ok(self) -> bool:
        return self.code is None


def request_row_id(batch_id: str, line: int) -> str:
    """The ``id`` of a line of the results: stable for a line of a batch, whoever processed it."""
    return f"batch_req_{batch_id.removeprefix('batch_')}_{line}"


def encode_outcome(batch_id: str, outcome: Outcome) -> bytes:
    """One record of ``output.jsonl`` or ``errors.jsonl``, without the newline; valid JSON however odd the body.

    Raises ValueError only when the body is not JSON; callers pass bodies that an adapter has parsed.
    """
    error = None if outcome.code is None else {"code": outcome.code, "message": outcome.message}
    head: dict[str, Any] = {"id": request_row_id(batch_id, outcome.line), "custom_id": outcome.custom_id}
    tail = {"error": error, "bucketline": _block(outcome)}
    if outcome.status is None:
        return escape_line_ends(dumps({**head, "response": None, **tail}))
    head["response"] = {"status_code": outcome.status, "request_id": outcome.request_id or "", "body": None}
    body = _one_line(outcome.body) if outcome.body else b"null"
    raw = b"" if outcome.raw is None else b',"raw":' + _one_line(outcome.raw)
    # The provider's bytes take the place of the null that the first part ends with.
    return escape_line_ends(b"".join((dumps(head)[: -len(b"null}}")], body, raw, b"},", dumps(tail)[1:])))


def _one_line(body: bytes) -> bytes:
    """A JSON body on one line: outside strings a newline is mere space, inside them it cannot stand raw."""
    return body.strip().replace(b"\r", b" ").replace(b"\n", b" ")


def _block(outcome: Outcome) -> dict[str, Any]:
    attempts = outcome.attempts
    last = attempts[-1] if attempts else None
    if len(attempts) == 1:
        total = attempts[0].cost.nanousd
    else:
        known = [a.cost.nanousd for a in attempts]
        total = None if None in known else sum(c for c in known if c is not None)
    block: dict[str, Any] = {
        "line": outcome.line,
        "provider": last.provider if last else None,
        "model": last.model if last else None,
        "requested_model": outcome.requested_model,
        "served_model": outcome.served_model,
        "finish_reason": outcome.finish_reason,
        "attempts": len(outcome.attempts),
        "usage": None if outcome.usage is None else outcome.usage.document(),
        "cost_usd": usd(total),
        "latency_s": round(last.latency_s, 3) if last else None,
    }
    if len(outcome.attempts) > 1 or (outcome.attempts and not outcome.ok):
        block["attempt_log"] = [attempt.document() for attempt in outcome.attempts]
    elif last:
        block.update(last.cost.document())
    if outcome.extra:
        block.update(outcome.extra)
    return block
