"""Which of the waiting shards this process takes up, and how many lines it opens.

Comes in: the head of the queue (job ids in rank order, those that others hold left out), the shards this process has
open by batch, and how many more lines it has room for. Goes out: the job ids to start, in order. Pure. A process takes
no more than it can work on, so that a batch spreads over the fleet; but a batch of which it has nothing open may always
have one shard, so that a small batch starts at once behind a million lines; and what a dead process had begun does not wait
for room either.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from bucketline.shard import lines_of_shard

__all__ = ["batch_of_job", "choose", "lines_of_job", "most_lines", "room_lines", "spare_lines"]

_PARKED = 4  #: lines in memory at the most, as a multiple of those that work
_STOCK_S = 0.3  #: some looks at the queue


def most_lines(concurrency: int, ends_a_s: float) -> int:
    """Lines that work: for each place, and for as many as end before the next shards are here."""
    return max(3 * concurrency, int(ends_a_s * _STOCK_S))


def room_lines(most: int, open_lines: int, idle_lines: int) -> int:
    """How many more lines to open.

    Lines that wait for a route, an equal or an operator do no work: others may come in beside them, up to a bound.
    """
    return most + min(idle_lines, spare_lines(most)) - open_lines


def spare_lines(most: int) -> int:
    """How many may be open beyond those that work: a bound on memory."""
    return (_PARKED - 1) * most


def batch_of_job(job_id: str) -> str:
    """The batch of a job id, as ``keys.shard_job_id`` spells it."""
    return job_id.split(":", 2)[1] if job_id.count(":") >= 2 else ""


def lines_of_job(job_id: str) -> int:
    """How many lines a job may open: those that its shard may hold; none for a batch's finish."""
    number = job_id.rpartition(":")[2]
    return lines_of_shard(int(number)) if number.isdigit() else 0


def choose(
    job_ids: Sequence[str],
    open_shards: Mapping[str, int],
    room_lines: int,
    *,
    begun: Collection[str] = (),
    spare_lines: int = 0,
    most_newcomers: int = 8,
) -> list[str]:
    """The jobs to start now; the last may open more lines than there was room for.

    Those that were ``begun`` by a process that has died get ``spare_lines`` more: Redis alone has their last answers.

    >>> choose(["bl:a:1", "bl:a:2", "bl:b:0"], {"a": 3}, 0)
    ['bl:b:0']
    >>> choose(["bl:a:1", "bl:a:2", "bl:b:0"], {}, 40)
    ['bl:a:1', 'bl:a:2', 'bl:b:0']
    >>> choose(["bl:a:1", "bl:a:2", "bl:a:3"], {"a": 3}, 0, begun={"bl:a:2"}, spare_lines=10)
    ['bl:a:2']
    """
    chosen: list[str] = []
    seen = {batch for batch, count in open_shards.items() if count > 0}
    newcomers = 0
    room = room_lines
    for job_id in job_ids:
        batch_id = batch_of_job(job_id)
        is_new = batch_id not in seen
        if room > (-spare_lines if job_id in begun else 0):
            room -= lines_of_job(job_id)
        elif is_new and newcomers < most_newcomers:
            newcomers += 1
        else:
            continue
        seen.add(batch_id)
        chosen.append(job_id)
    return chosen
