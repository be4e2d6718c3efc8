"""What the gate promises, measured: one table, each figure beside what it must be; exit code 1 where one is missed.

    python -m bench.limits            1, 2 and 4 worker processes, the fleet, the cost (ten minutes)
    python -m bench.limits --quick    2 worker processes and half a minute measured, the rest shorter (three minutes)

It needs about one core to itself; a starved worker uses less than it may. What is measured, and how, is said by
``bench.allowance``, ``bench.fleet`` and ``bench.gate_cost``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator

from bench import allowance, fleet, gate_cost
from bench.shown import HEAD, Shown


def cost(lines: int) -> Iterator[Shown]:
    found = gate_cost.measure(lines)
    what = "of a worker's CPU at 1,000 requests/s is the gate's"
    yield Shown(what, found.share, gate_cost.MOST_SHARE, at_least=False, beside=str(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter, with 2 worker processes")
    parser.add_argument("--workers", type=int, nargs="*", help="worker processes, one run for each number")
    chosen = parser.parse_args()
    counts = chosen.workers if chosen.workers is not None else [2] if chosen.quick else [1, 2, 4]
    print(f"{os.cpu_count()} cores, of which others used {os.getloadavg()[1]:.1f} in the five minutes before")
    print(HEAD, flush=True)
    missed = 0

    def show(rows: Iterator[Shown] | list[Shown]) -> None:
        nonlocal missed
        for row in rows:
            print(row, flush=True)
            missed += not row.met

    show(fleet.run(quick=chosen.quick))
    show(cost(8_000 if chosen.quick else 20_000))
    for count in counts:
        show(allowance.run(count, 30.0 if chosen.quick else 60.0))
    print(f"{missed} missed" if missed else "all met")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
