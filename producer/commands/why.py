"""``bucketline why``: what a batch is waiting for, in words, with figures and until when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from producer.commands.base import BatchId, JsonFlag, print_json, say, with_producer

if TYPE_CHECKING:
    from bucketline.batch import Progress
    from producer.cause import Cause
    from producer.client import Producer
    from producer.monitor import Snapshot

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def why(context: typer.Context, batch_id: BatchId, json: JsonFlag = False) -> None:
        """Say what holds a batch up: limits, closed routes, backoffs, the queue, an operator; the binding reason first."""
        batch, snapshot, found = with_producer(context, lambda producer: _look(producer, batch_id))
        if json:
            print_json(_document(batch, snapshot, found))
        else:
            say("\n".join(_words(batch, snapshot, found)))


async def _look(producer: Producer, batch_id: str) -> tuple[Progress, Snapshot, list[Cause]]:
    from producer.monitor import Monitor
    from producer.place import place_of
    from producer.why import budget_scope, causes

    batch = await producer.status(batch_id)
    redis = await producer.redis()
    monitor = Monitor(redis, scopes=[budget_scope(batch_id)], listed=1)
    monitor.watch([batch_id])
    snapshot = await monitor.look_at_all()
    batch = snapshot.batch(batch_id) or batch
    return batch, snapshot, causes(batch, snapshot, await place_of(redis, batch))


def _words(batch: Progress, snapshot: Snapshot, found: list[Cause]) -> list[str]:
    from bucketline.figures import clock, seconds_in_words, short_count
    from producer.timeleft import left_s

    counts, rate = batch.counts, snapshot.lines_per_s(batch.id)
    head = f"{batch.id}: {'paused' if batch.paused else batch.state}, {counts.done:,} of {counts.total:,} lines done"
    if rate > 0:
        head += f", {short_count(rate) if rate >= 10 else f'{rate:.1f}'} lines/s"
    left = left_s(batch, snapshot, rate, wait_s=_known_wait_s(snapshot, found))
    if left and batch.finished_s is None:
        head += f", about {seconds_in_words(left)} left"
    lines = [head + ".", *(f"- {cause.sentence}" for cause in found)]
    if batch.deadline_s is not None and batch.finished_s is None:
        late = left is not None and snapshot.at_s + left > batch.deadline_s
        end = f"Its window ends at {clock(batch.deadline_s, snapshot.at_s)}"
        lines.append(f"- {end}; at this rate not all lines will be done by then." if late else f"- {end}.")
    return lines


def _known_wait_s(snapshot: Snapshot, found: list[Cause]) -> float:
    """How long nothing moves for sure: until the binding reason ends."""
    until_s = found[0].until_s
    return 0.0 if until_s is None else max(0.0, until_s - snapshot.at_s)


def _document(batch: Progress, snapshot: Snapshot, found: list[Cause]) -> dict[str, Any]:
    from producer.timeleft import left_s

    rate = snapshot.lines_per_s(batch.id)
    left = left_s(batch, snapshot, rate, wait_s=_known_wait_s(snapshot, found))
    return {
        "id": batch.id,
        "status": batch.state.value,
        "paused": batch.paused,
        "lines_per_s": round(rate, 2),
        "left_s": None if left is None or batch.finished_s is not None else round(left, 1),
        "causes": [cause.document() for cause in found],
    }
