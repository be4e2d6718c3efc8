"""What a storm has cost: results, manifest, the simulator's books and what was seen, held against each other.

Comes in: the files of the batch, every call that the simulator booked, the strikes as they happened. Goes out: figures, and what is
wrong with them in sentences; none means that the promise was kept. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.chaos.watch import Sightings

__all__ = ["Struck", "Verdict", "judge"]

#: an answer that was delivered so shortly before its worker died may not have been recorded yet
_COMMIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Struck:
    """A worker as it was when it died or was stopped: when (the simulator's seconds), its slot and id, its shards."""

    at_s: float
    what: str
    slot: int
    worker_id: str
    shards: tuple[int, ...]
    quiet: bool  #: nothing else that delays a take-up struck within the next lease and a half


@dataclass
class Verdict:
    """The figures of one storm."""

    faults: int = 0
    lines: int = 0
    lost: int = 0
    twice: int = 0
    bought_again: int = 0
    failed: int = 0
    calls: int = 0
    repeated: int = 0
    deaths: int = 0
    repeated_per_death: list[int] = field(default_factory=list)
    in_flight_at_death: list[int] = field(default_factory=list)
    take_up_s: list[float] = field(default_factory=list)
    manifest_usd: str = ""
    books_usd: str = ""  #: of the calls whose answers are in the results
    lost_usd: str = ""  #: of calls whose answers died with their worker
    wrong: list[str] = field(default_factory=list)


def judge(
    output: Sequence[dict[str, Any]],
    errors: Sequence[dict[str, Any]],
    manifest: dict[str, Any],
    calls: Sequence[dict[str, Any]],
    seen: Sightings,
    struck: Sequence[Struck],
    *,
    lines: int,
    most_take_up_s: float,
) -> Verdict:
    """Everything is told by the line's tag, ``l`` and its number."""
    verdict = Verdict(lines=lines, failed=len(errors), calls=len(calls), manifest_usd=manifest["cost"]["usd"])
    found = Counter(row["custom_id"] for row in (*output, *errors))
    verdict.lost = sum(1 for n in range(1, lines + 1) if f"l{n}" not in found)
    verdict.twice = sum(count - 1 for count in found.values())
    by_tag: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for call in sorted(calls, key=lambda one: one["began_s"]):
        by_tag[call["tag"]].append(call)
    _bought_again(by_tag, seen, verdict)
    _money(output, by_tag, verdict)
    _deaths(by_tag, struck, verdict)
    _take_ups(seen, struck, verdict)
    _say(verdict, manifest, most_take_up_s)
    return verdict


def _bought_again(by_tag: dict[str, list[dict[str, Any]]], seen: Sightings, verdict: Verdict) -> None:
    for tag, calls in by_tag.items():
        recorded_s = seen.recorded.get(int(tag[1:]))
        good = [call for call in calls if call["delivered"]]
        verdict.repeated += max(0, len(good) - 1)
        if recorded_s is not None:
            verdict.bought_again += sum(1 for call in calls if call["began_s"] > recorded_s)


def _money(output: Sequence[dict[str, Any]], by_tag: dict[str, list[dict[str, Any]]], verdict: Verdict) -> None:
    """The books of the answers that are in the results; one answer of a tag costs what any other does."""
    counted = 0
    for row in output:
        good = [call for call in by_tag.get(row["custom_id"], []) if call["delivered"]]
        if not good:
            verdict.wrong.append(f"{row['custom_id']} has an answer that the provider never gave")
            continue
        counted += good[0]["nanousd"]
        if Decimal(row["bucketline"]["cost_usd"]) != Decimal(good[0]["nanousd"]) / 10**9:
            verdict.wrong.append(f"{row['custom_id']} costs {row['bucketline']['cost_usd']}, not what the books say")
    spent = sum(call["nanousd"] or 0 for calls in by_tag.values() for call in calls)
    verdict.books_usd = str(Decimal(counted) / 10**9)
    verdict.lost_usd = str(Decimal(spent - counted) / 10**9)


def _deaths(by_tag: dict[str, list[dict[str, Any]]], struck: Sequence[Struck], verdict: Verdict) -> None:
    """Calls of the dead that were made once more, against those that it had in flight."""
    for death in struck:
        account, at_s = f"slot{death.slot}", death.at_s
        in_flight = again = 0
        for calls in by_tag.values():
            for place, call in enumerate(calls):
                if call["account"] != account or call["began_s"] > at_s or call["ended_s"] < at_s - _COMMIT_S:
                    continue
                in_flight += 1
                again += any(later["began_s"] > at_s for later in calls[place + 1 :])
        verdict.deaths += 1
        verdict.in_flight_at_death.append(in_flight)
        verdict.repeated_per_death.append(again)
    allowed = sum(verdict.in_flight_at_death)
    if verdict.repeated > allowed:
        verdict.wrong.append(
            f"{verdict.repeated} answers were bought twice; at the deaths {allowed} calls were in flight"
        )


def _take_ups(seen: Sightings, struck: Sequence[Struck], verdict: Verdict) -> None:
    for death in struck:
        if not death.quiet or not death.what.startswith("SIGKILL"):
            continue
        for shard in death.shards:
            later = [at_s for at_s, who in seen.taken.get(shard, []) if at_s > death.at_s and who != death.worker_id]
            if later:
                verdict.take_up_s.append(later[0] - death.at_s)


def _say(verdict: Verdict, manifest: dict[str, Any], most_take_up_s: float) -> None:
    wrong = verdict.wrong
    if verdict.lost:
        wrong.append(f"{verdict.lost} lines are lost")
    if verdict.twice:
        wrong.append(f"{verdict.twice} lines are there twice")
    if verdict.failed:
        wrong.append(f"{verdict.failed} lines have no answer")
    if verdict.bought_again:
        wrong.append(f"{verdict.bought_again} recorded answers were bought again")
    if Decimal(verdict.manifest_usd) != Decimal(verdict.books_usd):
        wrong.append(f"the manifest says {verdict.manifest_usd} USD, the books {verdict.books_usd}")
    counts = manifest["counts"]
    if counts["total"] != verdict.lines or counts["completed"] + counts["failed"] != verdict.lines:
        wrong.append(f"the manifest counts {counts}")
    late = [took_s for took_s in verdict.take_up_s if took_s > most_take_up_s]
    if late:
        wrong.append(
            f"{len(late)} shards of the dead were taken up later than {most_take_up_s:.0f} s: {max(late):.1f} s"
        )
