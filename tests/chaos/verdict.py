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
_CUT_OFF_S = 40.0


@dataclass(frozen=True, slots=True)
class Struck:
    """A worker as it was when it died or was stopped: when (the simulator's seconds), its slot and id, its shards."""

    at_s: float
    unix_s: float
    what: str
    slot: int
    worker_id: str
    shards: tuple[int, ...]
    quiet: bool  #: nothing else struck within the next lease and a half
    cut_off: bool  #: Redis had been out of reach shortly before: answers may have waited in the worker for it


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
    without_death: int = 0  #: calls that were made again although nobody who had them died
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
    _deaths(by_tag, seen, struck, verdict)
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


def _deaths(
    by_tag: dict[str, list[dict[str, Any]]], seen: Sightings, struck: Sequence[Struck], verdict: Verdict
) -> None:
    """Calls that were made once more, against those that the dead had in flight."""
    in_flight, again = [0] * len(struck), [0] * len(struck)
    for calls in by_tag.values():
        for place, call in enumerate(calls):
            recorded_s = seen.recorded.get(int(call["tag"][1:]), float("inf"))
            deaths = [n for n, death in enumerate(struck) if _had(death, call, recorded_s)]
            for n in deaths:
                in_flight[n] += 1
                again[n] += any(later["began_s"] > struck[n].at_s for later in calls[place + 1 :])
            good = call["delivered"] or call["fault"] == "left"
            verdict.without_death += int(good and not deaths and place + 1 < len(calls))
    verdict.deaths = len(struck)
    verdict.in_flight_at_death, verdict.repeated_per_death = in_flight, again


def _had(death: Struck, call: dict[str, Any], recorded_s: float) -> bool:
    """Whether the one that died had this call in flight, or its answer in hand and nowhere to record it."""
    if call["account"] != f"slot{death.slot}" or call["began_s"] > death.at_s + _COMMIT_S:
        return False
    if call["ended_s"] >= death.at_s - _COMMIT_S:
        return True
    return death.cut_off and recorded_s > death.at_s and call["ended_s"] >= death.at_s - _CUT_OFF_S


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
    if verdict.without_death:
        wrong.append(f"{verdict.without_death} calls were repeated although no worker died with them")
    if verdict.bought_again:
        wrong.append(f"{verdict.bought_again} recorded answers were bought again")
    if Decimal(verdict.manifest_usd) != Decimal(verdict.books_usd):
        wrong.append(f"the manifest says {verdict.manifest_usd} USD, the books {verdict.books_usd}")
    counts = manifest["counts"]
    if counts["total"] != verdict.lines or counts["completed"] + counts["failed"] != verdict.lines:
        wrong.append(f"the manifest counts {counts}")
    if not verdict.take_up_s:
        wrong.append("no shard of the dead was seen to be taken up")
    late = [took_s for took_s in verdict.take_up_s if took_s > most_take_up_s]
    if late:
        wrong.append(
            f"{len(late)} shards of the dead were taken up later than {most_take_up_s:.0f} s: {max(late):.1f} s"
        )
