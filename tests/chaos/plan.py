"""What strikes when: a seeded plan of faults.

Comes in: a seed, how long the storm lasts, how many faults, how many workers. Goes out: strikes in order of time. Pure: the same
seed gives the same plan. Two rules keep a plan inside what is promised: an answer that no part holds yet is lost
only with Redis *and* the worker that had it, so these two are not struck together; and at least one worker lives at any time.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Fault", "Strike", "make_plan", "quiet_s"]


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
_CALM_AT = (0.05, 0.3)  #: as shares of the storm
_FORGETS_AT = 0.85
_FORGETFUL = {Fault.REDIS_BACK, Fault.REDIS_EMPTY}
_DEADLY = {Fault.KILL, Fault.STOP, Fault.TERM, Fault.CLOCK}


@dataclass(frozen=True, slots=True)
class Strike:
    """``worker`` is the slot it hits, where it hits one; ``for_s`` how long it lasts, where it does.

    A strike that stands ``alone`` hits whoever holds most: it is there to see how long the shards of the dead lie about.
    """

    at_s: float
    fault: Fault
    worker: int
    for_s: float
    alone: bool = False


def make_plan(
    seed: int, *, faults: int, over_s: float, workers: int, lease_s: float, without: frozenset[Fault] = frozenset()
) -> list[Strike]:
    """Every kind once where there is room for it, the rest by weight; evenly spread with jitter.

    Two kills stand alone, with no death for a lease and a half before and nothing at all after, so that it can be told how long
    shards lie about. With an even seed Redis forgets once in any case, and fewer workers die before and after.
    """
    dice = random.Random(seed)
    kinds = [fault for fault in Fault if fault not in without]
    weights = [_WEIGHTS[fault] for fault in kinds]
    forgets_s = [_FORGETS_AT * over_s] if seed % 2 == 0 else []
    others = faults - len(_CALM_AT) - len(forgets_s)
    chosen = [
        *dice.sample(kinds, min(others, len(kinds))),
        *dice.choices(kinds, weights, k=max(0, others - len(kinds))),
    ]
    dice.shuffle(chosen)
    calm = [(at * over_s, quiet_s(lease_s)) for at in _CALM_AT]
    drawn = [Strike(at_s, Fault.KILL, dice.randrange(workers), 0.0, alone=True) for at_s, _ in calm]
    drawn += [Strike(at_s, dice.choice(sorted(_FORGETFUL)), 0, 0.0) for at_s in forgets_s]
    rest = _Rest(dice, workers, lease_s, forgets_s)
    gap_s = (over_s - sum(for_s + 1.0 for _, for_s in calm)) / others
    for n, fault in enumerate(chosen):
        at_s = gap_s * (n + 0.3 + 0.6 * dice.random())
        for calm_s, for_s in calm:
            if at_s >= calm_s - 1.0:
                at_s += for_s + 1.0
        drawn.append(rest.strike(at_s, fault, calm))
    return sorted(drawn, key=lambda strike: strike.at_s)


def quiet_s(lease_s: float) -> float:
    """How long after a death nothing else may happen, for the take-up to be measured."""
    return 1.5 * lease_s + 2.0


class _Rest:
    """Strikes that keep the two rules."""

    def __init__(self, dice: random.Random, workers: int, lease_s: float, forgets_s: list[float]) -> None:
        self._dice = dice
        self._lease_s = lease_s
        # After a death Redis alone has answers: for a lease, for as long as it is out of reach meanwhile, and a little more.
        self._owed_s = 2.5 * lease_s + 8.0
        self._told_s = lease_s + 20.0  #: and after Redis forgot, the workers alone
        self._forgets_s = [*forgets_s]
        self._dies_s: list[float] = []
        self._down_until_s = [0.0] * workers

    def strike(self, at_s: float, fault: Fault, calm: list[tuple[float, float]]) -> Strike:
        dice, down = self._dice, self._down_until_s
        worker, for_s = dice.randrange(len(down)), _lasts_s(fault, self._lease_s, dice)
        if fault in _DEADLY and any(
            -self._owed_s - for_s < at_s - forgets_s < self._told_s for forgets_s in self._forgets_s
        ):
            fault, for_s = dice.choice([Fault.CUT_ONE, Fault.CUT_ALL]), 0.0
        if fault in _DEADLY and any(0 < calm_s - at_s < quiet_s + for_s for calm_s, quiet_s in calm):
            fault, for_s = Fault.CUT_ALL, 0.0
        if fault in _FORGETFUL:
            deaths_s = [*self._dies_s, *(calm_s for calm_s, _ in calm)]
            if any(-self._told_s < at_s - dies_s < self._owed_s for dies_s in deaths_s):
                fault = Fault.REDIS_RESTART
            else:
                self._forgets_s.append(at_s)
        if fault in _DEADLY | {Fault.NAP}:
            up = [w for w in range(len(down)) if down[w] <= at_s]
            if len(up) < 2:
                fault, for_s = Fault.CUT_ALL, 0.0
            else:
                worker = dice.choice(up)
                down[worker] = at_s + for_s + 5.0
                self._dies_s.append(at_s + for_s)
        # What lasts is over before a calm kill.
        ahead = [calm_s - at_s - 1.0 for calm_s, _ in calm if calm_s > at_s]
        return Strike(at_s, fault, worker, max(0.0, min([for_s, *ahead])))


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
