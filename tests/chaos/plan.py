"""What strikes when: a seeded plan of faults.

Comes in: a seed, how long the storm lasts, how many faults, how many workers. Goes out: strikes in order of time. Pure: the same
seed gives the same plan. Two rules keep a plan inside what is promised: while Redis has just lost data, the workers that hold the
answers are let live until they have told it again; and at least one worker is neither stopped nor dead at any time.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Fault", "Strike", "make_plan"]


class Fault(StrEnum):
    """One kind of trouble."""

    KILL = "SIGKILL of a worker"
    STOP = "SIGSTOP of a worker, woken up late"
    NAP = "SIGSTOP of a worker, woken up in time"
    TERM = "SIGTERM of a worker"
    CLOCK = "a worker with its clock off"
    REDIS_RESTART = "Redis restarted"
    REDIS_BACK = "Redis killed and set back by a second"
    REDIS_EMPTY = "Redis emptied"
    CUT_ONE = "a worker's connections cut"
    CUT_ALL = "every connection cut"
    AWAY = "Redis out of reach for 3 s"
    LONG_AWAY = "Redis out of reach for longer than a lease"
    SILENT = "a worker's wire silent"
    STORE_WRITES = "the store refuses writes"
    STORE_ALL = "the store fails every call"


#: how often each comes, as weights
_WEIGHTS: dict[Fault, int] = {
    Fault.KILL: 6, Fault.STOP: 3, Fault.NAP: 2, Fault.TERM: 2, Fault.CLOCK: 2, Fault.REDIS_RESTART: 2, Fault.REDIS_BACK: 2,
    Fault.REDIS_EMPTY: 2, Fault.CUT_ONE: 3, Fault.CUT_ALL: 2, Fault.AWAY: 2, Fault.LONG_AWAY: 1, Fault.SILENT: 2,
    Fault.STORE_WRITES: 3, Fault.STORE_ALL: 2,
}  # fmt: skip
_FORGETFUL = {Fault.REDIS_BACK, Fault.REDIS_EMPTY}
_DEADLY = {Fault.KILL, Fault.STOP, Fault.TERM, Fault.CLOCK}


@dataclass(frozen=True, slots=True)
class Strike:
    """``worker`` is the slot it hits, where it hits one; ``for_s`` how long it lasts, where it does."""

    at_s: float
    fault: Fault
    worker: int
    for_s: float


def make_plan(
    seed: int, *, faults: int, over_s: float, workers: int, lease_s: float, without: frozenset[Fault] = frozenset()
) -> list[Strike]:
    """Every kind once where there is room for it, the rest by weight; evenly spread with jitter."""
    dice = random.Random(seed)
    kinds = [fault for fault in Fault if fault not in without]
    weights = [_WEIGHTS[fault] for fault in kinds]
    chosen = [*kinds[:faults], *dice.choices(kinds, weights, k=max(0, faults - len(kinds)))]
    dice.shuffle(chosen)
    gap_s = over_s / faults
    strikes: list[Strike] = []
    spared_until_s = 0.0
    down_until_s = [0.0] * workers
    for n, fault in enumerate(chosen):
        at_s = gap_s * (n + 0.3 + 0.6 * dice.random())
        if fault in _DEADLY and at_s < spared_until_s:
            fault = dice.choice([Fault.CUT_ONE, Fault.CUT_ALL, Fault.STORE_WRITES])  # noqa: PLW2901
        worker = dice.randrange(workers)
        for_s = _lasts_s(fault, lease_s, dice)
        if fault in _DEADLY | {Fault.NAP}:
            up = [w for w in range(workers) if down_until_s[w] <= at_s]
            if len(up) < 2:
                fault, for_s = Fault.CUT_ALL, 0.0  # noqa: PLW2901
            else:
                worker = dice.choice(up)
                down_until_s[worker] = at_s + for_s + 5.0
        if fault in _FORGETFUL:
            if any(until_s > at_s for until_s in down_until_s):
                fault = Fault.REDIS_RESTART  # noqa: PLW2901
            else:
                spared_until_s = at_s + lease_s + 20.0
        strikes.append(Strike(at_s, fault, worker, for_s))
    return strikes


def _lasts_s(fault: Fault, lease_s: float, dice: random.Random) -> float:
    match fault:
        case Fault.STOP | Fault.LONG_AWAY:
            return lease_s * (1.3 + 0.7 * dice.random())
        case Fault.NAP:
            return lease_s * 0.5 * dice.random()
        case Fault.AWAY:
            return 3.0
        case Fault.SILENT:
            return 1.0 + lease_s * 0.5 * dice.random()
        case Fault.STORE_WRITES | Fault.STORE_ALL:
            return 4.0 + 8.0 * dice.random()
        case _:
            return 0.0
