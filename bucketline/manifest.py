"""The manifest: what a batch did and what it cost, for programs.

``Manifest`` is ``manifest.json``, written last, so that its being there means: over. Its JSON Schema is published as
``docs/manifest.schema.json``. Comes in: the facts that ``bucketline.bill`` put together, or the bytes of a manifest.
Goes out: deterministic bytes, or the document. Read by status, results, verify, spend, estimate and by other people's
programs: members are added, never renamed. Amounts are decimal strings in USD, exact to the nano-dollar.
"""

from __future__ import annotations

from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bucketline.errors import BucketlineError

__all__ = [
    "BadManifest",
    "Difference",
    "FileFacts",
    "Manifest",
    "ManifestCost",
    "ManifestCounts",
    "ManifestLatency",
    "MaybeBilled",
    "RouteRow",
    "Saved",
    "schema_bytes",
]

Usd = Annotated[str, Field(pattern=r"^-?\d+(\.\d{1,9})?$", description="USD, a decimal")]
Count = Annotated[int, Field(ge=0)]
UsageBlock = Annotated[
    dict[str, Count],
    Field(
        description="tokens; input_tokens counts every prompt token, cached ones too, output_tokens includes reasoning; "
        "classes that never occurred may be absent"
    ),
]


class BadManifest(BucketlineError):
    """A manifest that cannot be read; the text says what is wrong with it."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)  # a later version's members are passed over


class ManifestCounts(_Document):
    """Lines by what became of them, and the calls they took."""

    total: Count = Field(description="lines of the input that are not blank")
    completed: Count
    failed: Count = Field(description="lines without an answer, but for those cancelled")
    cancelled: Count
    attempts: Count = Field(description="calls that left for a provider")
    retries: Count = Field(description="further calls for a line on the same route")
    fallbacks: Count = Field(description="changes of route within a line")
    truncated: Count = Field(description="answers that met their output cap; they count as completed")


class FileFacts(_Document):
    """One file of the batch."""

    lines: Count
    bytes: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RouteRow(_Document):
    """The calls of one route at one price. The rows' sums are the totals, exactly."""

    provider: str
    model: str = Field(description="as it was asked of the provider")
    tier: str = Field(description="service tier: standard, batch, flex, priority")
    price_key: str = Field(description="the price row, as each line names it; empty: no price is known")
    priced_as: str | None = Field(description="the name under which the model that answered was priced")
    over_input_tokens: Count | None = Field(description="the row holds for prompts strictly longer; null: for all")
    requests: Count = Field(description="calls that were answered")
    usage: UsageBlock
    usd: Usd | None = Field(description="null: unknown")
    failed_requests: Count = Field(description="calls that failed and were billed; part of usage and usd")
    failed_usd: Usd
    unit_prices: dict[str, Usd] = Field(description="USD per million tokens of each class; request: USD per call")
    price_source: str | None = Field(description="configuration, or the price package and its version")
    price_date: str | None = Field(description="the day from which, or for which, the price holds")


class MaybeBilled(_Document):
    """Calls that broke off after they were sent: the provider may have billed nothing of them or all."""

    attempts: Count
    low_usd: Usd
    high_usd: Usd | None = Field(description="null: the most cannot be known for some of them")


class Difference(_Document):
    """Calls of one route for which the gateway's own charge differs from our prices by more than one percent."""

    provider: str
    model: str
    requests: Count
    reported_usd: Usd = Field(description="what the gateway says; this is what counts")
    computed_usd: Usd


class Saved(_Document):
    """What the same tokens would have cost more elsewhere among the routes configured; negative: less."""

    against_first_usd: Usd
    against_dearest_usd: Usd


class ManifestCost(_Document):
    """The bill."""

    usd: Usd = Field(description="everything known to be billed, failed attempts included")
    complete: bool = Field(description="false when any part is unknown: no price, no usage, or a call perhaps billed")
    failed_attempts_usd: Usd = Field(description="the part of usd that went into failed calls")
    maybe_billed_usd: Usd = Field(description="beyond usd at most, where that is known")
    max_usd: Usd | None = Field(description="the budget; null: none")
    unpriced: list[str] = Field(description="models that answered and have no known price")
    failed_attempts: Count = Field(description="failed calls that were billed")
    maybe_billed: MaybeBilled
    without_usage: Count = Field(description="answers without usage")
    unknown_cost: Count = Field(description="calls whose cost is not in usd because it cannot be known")
    reported_differences: list[Difference]
    saved: Saved | None = Field(description="null: no model asked for has a second route with a known price")
    by_route: list[RouteRow]


class ManifestLatency(_Document):
    """Seconds from sending to the last byte, of the calls that answered; percentiles within one percent."""

    p50: float
    p95: float
    max: float


class Manifest(_Document):
    """``manifest.json``."""

    version: Literal[1] = 1
    id: str
    source: str
    status: Literal["completed", "failed", "expired", "cancelled"]
    reason: str | None = Field(None, description="why, where the status needs a word")
    created_at: str
    finished_at: str
    metadata: dict[str, str]
    counts: ManifestCounts
    files: dict[str, FileFacts]
    usage: UsageBlock
    cost: ManifestCost
    latency_s: ManifestLatency
    errors: dict[str, Count] = Field(description="lines of errors.jsonl by code")
    rerun_of: str | None = Field(None, description="the batch of which these lines were run again")
    config_digest: str = Field(description="of the configuration at submit")
    software: str

    def encode(self) -> bytes:
        """The bytes of ``manifest.json``: the same document always has the same bytes."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def parse(cls, raw: bytes) -> Manifest:
        """Read a manifest. Members that a later version added are passed over. Raises BadManifest."""
        try:
            return cls.model_validate(orjson.loads(raw))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the document"
            raise BadManifest(f"The manifest cannot be read: {place}: {first['msg']}.") from None
        except orjson.JSONDecodeError:
            raise BadManifest("The manifest cannot be read: it is not JSON.") from None

    def counts_for_log(self) -> dict[str, int | float | str]:
        """The few figures that a log line carries."""
        counts = self.counts
        return {
            "total": counts.total,
            "completed": counts.completed,
            "failed": counts.failed,
            "cancelled": counts.cancelled,
            "cost_usd": self.cost.usd,
        }


def schema_bytes() -> bytes:
    """The JSON Schema of the manifest, as it is published in ``docs/manifest.schema.json``."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Manifest.model_json_schema(mode="serialization"),
    }
    return orjson.dumps(schema, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
