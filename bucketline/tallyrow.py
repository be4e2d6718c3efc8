"""One row of the bill: the calls of one route at one price.

Comes in: calls, one by one, or the row's document. Goes out: sums. Rows add up like numbers, in any order. Used by
``tally`` alone; what a row looks like to people is the manifest's business.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from bucketline.usage import Usage

__all__ = ["USAGE_FIELDS", "Call", "RowKey", "TallyRow"]

USAGE_FIELDS = tuple(field.name for field in fields(Usage))


class RowKey(NamedTuple):
    """What makes two calls fall into one row. ``price_key`` is empty where there was no price."""

    requested_model: str
    provider: str
    model: str
    tier: str
    price_key: str


class Call(NamedTuple):
    """One attempt as the bill sees it, however it was read."""

    key: RowKey
    ok: bool
    usage: Usage | None
    nanousd: int | None
    maybe: bool
    maybe_nanousd: int | None
    served_model: str | None
    reported_nanousd: int | None = None
    computed_nanousd: int | None = None


@dataclass(slots=True)
class TallyRow:
    """Sums over the calls of a row; ``failed_*`` are the part of them that failed and were billed all the same.

    ``reported_*`` cover the calls for which a gateway named its own charge, ``differing_*`` those of them where our
    prices say something else by more than one percent.
    """

    requests: int = 0  #: calls that were answered
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    nanousd: int = 0
    failed_requests: int = 0
    failed_nanousd: int = 0
    reported: int = 0
    reported_nanousd: int = 0
    differing: int = 0
    differing_reported_nanousd: int = 0
    differing_computed_nanousd: int = 0

    @property
    def usage(self) -> Usage:
        """The tokens of the row's calls."""
        return Usage(*(getattr(self, name) for name in USAGE_FIELDS))

    def add(self, call: Call) -> None:
        """Take one call that was answered or billed."""
        usage, nanousd = call.usage, call.nanousd or 0
        if usage is not None:
            self.input_tokens += usage.input_tokens
            self.output_tokens += usage.output_tokens
            self.cached_input_tokens += usage.cached_input_tokens
            self.cache_write_tokens += usage.cache_write_tokens
            self.cache_write_1h_tokens += usage.cache_write_1h_tokens
            self.reasoning_tokens += usage.reasoning_tokens
            self.audio_input_tokens += usage.audio_input_tokens
            self.audio_output_tokens += usage.audio_output_tokens
            self.image_input_tokens += usage.image_input_tokens
            self.image_output_tokens += usage.image_output_tokens
        self.nanousd += nanousd
        if call.ok:
            self.requests += 1
        else:
            self.failed_requests += 1
            self.failed_nanousd += nanousd
        if call.reported_nanousd is not None:
            self._compare(call.reported_nanousd, call.computed_nanousd)

    def merge(self, other: TallyRow) -> None:
        """Take everything that another row took."""
        for name in _ROW_FIELDS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def document(self) -> dict[str, int]:
        """The sums that are not zero."""
        return {name: value for name in _ROW_FIELDS if (value := getattr(self, name))}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> TallyRow:
        """Read what ``document`` wrote."""
        return cls(**{name: int(document.get(name, 0)) for name in _ROW_FIELDS})

    def _compare(self, reported: int, computed: int | None) -> None:
        self.reported += 1
        self.reported_nanousd += reported
        if computed is not None and abs(reported - computed) * 100 > max(reported, computed):
            self.differing += 1
            self.differing_reported_nanousd += reported
            self.differing_computed_nanousd += computed


_ROW_FIELDS = tuple(field.name for field in fields(TallyRow))
