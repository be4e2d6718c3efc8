"""What metrics take of a core at 1,000 requests a second: the whole worker, with a scraper.

    python -m bench.metrics_cost [LINES]

As ``bench.gate_cost``, with the same account: a batch goes through the product's own worker under a limit of 1,000
requests a second, so every line also waits at the gate, and is noted there. Booked are the notes on each line's way (the
call, each wait's begin and end, the line's end), the sign of life every other second, and the scrapes: the look at the
fleet in Redis, and the page. What a booking costs itself is about half of a note, and is left in. A busy machine sends less
than 1,000 a second; figures are by request and by scrape, so that does not matter.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench.gate_cost import RPM, TPM, Account, Cost
from bench.ours import Line
from bench.stand import static_provider, write_input
from worker.embedded import EmbeddedRedis

MOST_SHARE = 0.03
SCRAPE_S = 1.0  #: here
USUAL_SCRAPE_S = 15.0  #: Prometheus' own default, and that of deploy/


def worker(config: str, account_path: str, port: str) -> int:
    """The product's own ``work``, with everything that only watches booked."""
    import worker.metrics
    from producer.fleet_metrics import FleetCollector
    from worker.cli import run
    from worker.limiter.gate import Gate
    from worker.sight import Sight, _Waiting
    from worker.sign import Signs

    account = Account(Path(account_path))
    for owner, name in (
        (Sight, "call"),
        (Sight, "wait"),
        (Sight, "end"),
        (_Waiting, "__enter__"),
        (_Waiting, "__exit__"),
    ):
        setattr(owner, name, account.call(getattr(owner, name)))
    worker.metrics.generate_latest = account.call(worker.metrics.generate_latest)
    for owner, name in ((Signs, "run"), (FleetCollector, "look")):
        setattr(owner, name, account.steps(getattr(owner, name)))
    Gate.settle = account.settle(Gate.settle)  # type: ignore[method-assign]  # counts the requests
    return run(["--config", config, "work", "--metrics-port", port])


class _Booked(Line):
    """The bench's line, its worker with an account and a metrics port."""

    port = 0

    def _command(self, *words: str) -> list[str]:
        if words != ("work",):
            return super()._command(*words)
        account = str(self.folder / "account")
        return [sys.executable, "-m", "bench.metrics_cost", "--worker", str(self.config), account, str(self.port)]


@contextlib.contextmanager
def scraped(port: int) -> Iterator[list[int]]:
    """Somebody reads the page every second; its sizes in bytes."""
    over, sizes = threading.Event(), []

    def scrape() -> None:
        while not over.wait(SCRAPE_S):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                sizes.append(len(answer.read()))

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield sizes
    finally:
        over.set()
        thread.join()


def measure(lines: int) -> tuple[Cost, list[int]]:
    """One batch of so many lines through one worker."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write_input(folder / "in.jsonl", lines)
        with static_provider(folder) as base_url, EmbeddedRedis(folder) as redis:
            line = _Booked(folder, redis, base_url, 1000)
            text = line.config.read_text()
            text = text.replace("rpm = 60000000\n", f"rpm = {RPM}\n").replace("tpm = 60000000000", f"tpm = {TPM}")
            line.config.write_text(text)
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                line.port = free.getsockname()[1]
            line.start_workers(1)
            try:
                with scraped(line.port) as sizes:
                    line.batch(source, lines)
            finally:
                line.stop_workers()
            cost = Cost(**json.loads((folder / "account").read_text()))
            del cost.by_entry["Gate.settle"]  # what requests were counted by watches nothing
            return cost, sizes


def at_a_thousand(cost: Cost, scrapes: int) -> dict[str, float]:
    """Shares of a core: notes by the request, scrapes by their usual pace, signs by the second that they took."""
    per_s = {"generate_latest": 1 / USUAL_SCRAPE_S / scrapes, "FleetCollector.look": 1 / USUAL_SCRAPE_S / scrapes}
    per_s["Signs.run"] = 1 / cost.wall_s
    return {name: used_s * per_s.get(name, 1000 / cost.calls) for name, used_s in cost.by_entry.items()}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        sys.exit(worker(*sys.argv[2:]))
    cost, sizes = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 15_000)
    core = at_a_thousand(cost, len(sizes))
    for entry, share in sorted(core.items(), key=lambda pair: -pair[1]):
        print(f"{entry:<20}{share:7.2%} of a core")
    print(
        f"at 1,000 requests/s, scraped every {USUAL_SCRAPE_S:.0f} s, metrics take {sum(core.values()):.2%} of a core (at most "
        f"{MOST_SHARE:.0%}); the whole worker takes {1000 * cost.process_s / cost.calls:.0%}. Measured over {cost.calls:,} "
        f"requests at {cost.calls / cost.wall_s:,.0f}/s and {len(sizes)} scrapes of {max(sizes, default=0):,} bytes."
    )
    sys.exit(sum(core.values()) > MOST_SHARE)
