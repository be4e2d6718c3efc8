"""Five moments of a line, made up once: what the monitor's pictures and the reasons' words are held against."""

from __future__ import annotations

from bucketline.batch import Counts, Progress, State
from bucketline.circuit import Circuit
from bucketline.gauge import Gauge, Limit
from bucketline.measured import Measured
from bucketline.sign import BatchSign, Hold, Sign, Trouble, Wait
from producer.monitor import Snapshot

NOW_S = 1_767_270_600.0  #: 2026-01-01 12:30:00 UTC
EVAL, MAIL, NIGHT, DONE, LOST = (
    f"batch_{name}" for name in ("4f0c2a91d3e8b7a65c10", "9d1be4a07c3f52d86e21", "07a4c2d95b1e8f630d4a",
                                 "e2b9d4f1806a3c57bb02", "51c8e7a2d90f4b36a1f7")
)  # fmt: skip


def batch(batch_id: str, source: str, state: State, total: int, done: int, failed: int = 0, **more: object) -> Progress:
    given = {
        "nanousd": 1_430_000 * done, "unpriced": False, "tokens": 640 * done, "created_s": NOW_S - 5400,
        "attempts": done + failed, "waiting_shards": (total - done) // 200,
    } | more  # fmt: skip
    return Progress(batch_id, source, state, Counts(total, done - failed, failed, 0), **given)  # type: ignore[arg-type]


def idle() -> Snapshot:
    """Nothing to do, and nobody to do it."""
    return Snapshot(at_s=NOW_S)


def _measured(p50_s: float, p95_s: float, success: float, tokens_per_s: float) -> Measured:
    return Measured(900.0, success, p50_s, p50_s, p95_s, tokens_per_s, 0.0)


def _worker(number: int, **more: object) -> Sign:
    given = {
        "seen_s": NOW_S - 0.4 * number, "started_s": NOW_S - 7300, "in_flight": 180 + 7 * number, "places": 1000,
        "open_lines": 900 + 31 * number, "open_shards": 9, "cpu": 0.22 + number / 50, "memory_bytes": (120 + number) << 20,
        "lag_s": 0.004 * number,
    } | more  # fmt: skip
    return Sign(f"node-{number}-2214-a{number}f0", **given)  # type: ignore[arg-type]


def busy() -> Snapshot:
    """Three workers, two batches, providers in good health."""
    workers = tuple(
        _worker(
            number,
            batches=(BatchSign(EVAL, 700, 150, 31.0), BatchSign(MAIL, 200, 30, 4.2)),
            waits=(Wait(EVAL, "permit", "moonshot", 520), Wait(MAIL, "permit", "openai/gpt-large", 160)),
            holds=(Hold("moonshot", "moonshot", "tokens", 520, 2400, 3.1),),
        )
        for number in (1, 2, 3)
    )
    gauges = {
        "moonshot": Gauge(
            "moonshot",
            (Limit("rpm", 5000, 2210, 60.0, 83.0), Limit("tpm", 3_000_000, 2_790_000, -87_000.0, 50_000.0)),
            412,
        ),
        "openai": Gauge("openai", (Limit("rpm", 10_000, 3100, 90.0, 166.0), Limit("concurrency", 400, 88)), 88),
    }
    return Snapshot(
        at_s=NOW_S,
        tickets=214,
        batches=(
            batch(EVAL, "inbox/evaluation.jsonl", State.IN_PROGRESS, 50_000, 31_240, 12),
            batch(MAIL, "mailing.jsonl", State.IN_PROGRESS, 12_000, 700),
            batch(DONE, "s3://data/yesterday.jsonl", State.COMPLETED, 8_000, 8_000, finished_s=NOW_S - 600),
        ),
        gauges=gauges,
        measured={
            "moonshot/kimi": _measured(4.1, 11.8, 0.997, 2900.0),
            "openai/gpt-large": _measured(0.82, 2.4, 1.0, 4100.0),
        },
        workers=workers,
        routes=("moonshot/kimi", "openai/gpt-large"),
    )


def storm() -> Snapshot:
    """An account without credit, a provider that says wait, a route that fails, a worker that has fallen silent."""
    calm = busy()
    troubles = (
        Trouble("moonshot/kimi", "rate_limit", 64, NOW_S - 3),
        Trouble("openai/gpt-large", "server_error", 31, NOW_S - 1),
        Trouble("openai/gpt-large", "timeout_after_send", 4, NOW_S - 22),
        Trouble("llmapi/kimi", "account_exhausted", 1, NOW_S - 51),
    )
    workers = (
        _worker(
            1,
            batches=(BatchSign(EVAL, 700, 3, 0.4), BatchSign(MAIL, 200, 0, 0.0)),
            waits=(
                Wait(EVAL, "permit", "moonshot", 412), Wait(EVAL, "route", "llmapi/kimi", 212),
                Wait(EVAL, "backoff", "openai/gpt-large", 76), Wait(MAIL, "permit", "google", 200),
            ),
            holds=(
                Hold("moonshot", "moonshot", "paused", 412, 2400, 9.0),
                Hold("google", "google", "requests_day", 200, 900, 5000.0),
            ),
            troubles=troubles,
            in_flight=3,
        ),
        _worker(2, seen_s=NOW_S - 23.0, cpu=0.97, lag_s=1.8),
    )  # fmt: skip
    gauges = dict(calm.gauges) | {
        "moonshot": Gauge(
            "moonshot", (Limit("tpm", 3_000_000, 2_990_000, 0.0, 50_000.0),), 0,
            paused_until_s=NOW_S + 7, pause_reason="rate_limit",
        ),
        "google": Gauge("google", (Limit("rpd", 10_000, 10_000),), 0, day_resets_s=NOW_S + 41_400),
    }  # fmt: skip
    return Snapshot(
        at_s=NOW_S,
        tickets=214,
        batches=(
            batch(EVAL, "inbox/evaluation.jsonl", State.IN_PROGRESS, 50_000, 31_240, 1212),
            batch(MAIL, "mailing.jsonl", State.IN_PROGRESS, 12_000, 700, unpriced=True),
            batch(NIGHT, "night.jsonl", State.IN_PROGRESS, 3_000, 12, paused=True),
            batch(LOST, "old.jsonl", State.CANCELLING, 900, 500),
            batch(DONE, "s3://data/yesterday.jsonl", State.EXPIRED, 8_000, 8_000, 310, finished_s=NOW_S - 600),
        ),
        gauges=gauges,
        circuits={
            "llmapi": Circuit("llmapi", "account_exhausted", None, opened_s=NOW_S - 51),
            "openai/gpt-large": Circuit("openai/gpt-large", "failing", NOW_S + 16, opened_s=NOW_S - 1),
        },
        measured=dict(calm.measured) | {"openai/gpt-large": _measured(0.9, 31.0, 0.71, 800.0)},
        workers=workers,
        routes=("google/gemini-pro", "llmapi/kimi", "moonshot/kimi", "openai/gpt-large"),
    )
