"""Striking: each strike of a plan done to the stage when its time comes.

Comes in: a stage with its workers running, a plan, and who looks on. Goes out: what was struck, as it happened. Strikes that last
go on beside the next ones. Used by ``lines``.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bucketline import keys
from tests.chaos.plan import Fault, Strike, quiet_s
from tests.chaos.stage import Stage, Worker, faketime_library
from tests.chaos.verdict import Struck
from tests.chaos.watch import Sightings
from tests.replay.child import Child

__all__ = ["Storm"]

_LOOK_S = 0.1
_UP_AGAIN_S = 1.0
_BACK_S = 5.0  #: how long a worker may take to find Redis again
_AWAY = {
    Fault.REDIS_RESTART, Fault.REDIS_BACK, Fault.REDIS_EMPTY, Fault.CUT_ONE, Fault.CUT_ALL, Fault.AWAY, Fault.LONG_AWAY,
    Fault.SILENT,
}  # fmt: skip
_NOTED = {Fault.KILL, Fault.STOP, Fault.TERM, Fault.CLOCK}


@dataclass
class Storm:
    """One plan on one stage."""

    stage: Stage
    batch_id: str
    plan: Sequence[Strike]
    seen: Sightings
    dice: random.Random
    done: list[str] = field(default_factory=list)
    log: list[tuple[float, str, float]] = field(default_factory=list)  #: when (the simulator's seconds), what, how long
    struck: list[Struck] = field(default_factory=list)
    _beside: set[asyncio.Task[None]] = field(default_factory=set)

    async def rage(self, over: asyncio.Event) -> None:
        """Strike until the plan ends or the batch is over; then wait until what was begun has passed."""
        await self._begun(over)
        began_s = asyncio.get_running_loop().time()
        for place, strike in enumerate(self.plan):
            wait_s = began_s + strike.at_s - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(max(0.0, wait_s)):
                    await over.wait()
                break
            except TimeoutError:
                pass
            aimed = await self._aimed(strike)
            self.done.append(aimed.fault.value)
            self.log.append((round(self.seen.now_s(), 2), f"{aimed.fault.value}, worker {aimed.worker}", aimed.for_s))
            await self._strike(aimed, place)
        await self.passed()

    async def _begun(self, over: asyncio.Event) -> None:
        """A worker has something in hand, or the batch is over: a slow start is no part of the storm."""
        while not over.is_set() and not any(self._held(worker) for worker in self.stage.workers):
            await asyncio.sleep(_LOOK_S)

    def _held(self, worker: Worker) -> tuple[int, ...]:
        """The shards that a slot's process was seen to hold."""
        pid = f"-{worker.pid}-"
        return tuple(shard for shard, holder in self.seen.holders.items() if pid in holder)

    async def _aimed(self, strike: Strike) -> Strike:
        """The strike as it is done: at whoever holds most, and Redis forgets nothing that nobody living has."""
        if strike.fault in (Fault.REDIS_EMPTY, Fault.REDIS_BACK) and await self._left_in_redis():
            return replace(strike, fault=Fault.REDIS_RESTART)
        if not strike.alone:
            return strike
        return replace(strike, worker=max(self.stage.workers, key=lambda worker: len(self._held(worker))).slot)

    async def _left_in_redis(self) -> bool:
        """Whether a killed worker's answers lie there, in no part yet, and no claim has been made since.

        Storms that keep everything else away long enough (Redis out of reach, the store failing) put that claim off.
        """
        async with self.stage.direct as redis:
            claims = await redis.hgetall(keys.batch_claims(self.batch_id))  # type: ignore[misc]
            for death in self.struck:
                for shard in death.shards if death.what == Fault.KILL else ():
                    claimed_s = int(claims.get(str(shard).encode(), 0)) / 1e6  # a generation is Redis' clock
                    if claimed_s < death.unix_s and await redis.llen(keys.batch_open(self.batch_id, shard)):  # type: ignore[misc]
                        return True
        return False

    async def passed(self) -> None:
        """Everything that lasts has ended, every worker lives."""
        while self._beside:
            await asyncio.gather(*self._beside)
        for worker in self.stage.workers:
            if worker.child is None or worker.child.exit is not None:
                self.stage.start(worker)

    async def _strike(self, strike: Strike, place: int) -> None:
        worker = self.stage.workers[strike.worker]
        if strike.fault in _NOTED:
            self._note(worker, strike, place)
        match strike.fault:
            case Fault.KILL | Fault.STOP | Fault.NAP | Fault.TERM | Fault.CLOCK:
                self._strike_worker(strike, worker)
            case Fault.REDIS_RESTART | Fault.REDIS_BACK | Fault.REDIS_EMPTY:
                await self._strike_redis(strike.fault)
            case Fault.STORE_WRITES:
                refusal = {"status": 503, "code": "SlowDown", "message": "Please reduce your request rate."}
                self._later(self._store({"op": "PutObject", "key": "*", "reply": refusal}, strike.for_s))
            case Fault.STORE_ALL:
                failure = {"status": 500, "code": "InternalError", "message": "We encountered an internal error."}
                self._later(self._store({"op": "*", "key": "*", "reply": failure}, strike.for_s))
            case _:
                self._strike_wires(strike, worker)

    def _strike_worker(self, strike: Strike, worker: Worker) -> None:
        child = worker.child
        assert child is not None
        match strike.fault:
            case Fault.KILL:
                child.signal(signal.SIGKILL)
                self._later(self._up_again(worker))
            case Fault.STOP | Fault.NAP:
                child.signal(signal.SIGSTOP)
                self._later(self._wake(child, strike.for_s))
            case _:
                child.signal(signal.SIGTERM)
                off = self.dice.choice(["-2h", "+2h", "-40s", "+40s", "-400d"]) if strike.fault is Fault.CLOCK else None
                self._later(self._replaced(worker, off))

    async def _strike_redis(self, fault: Fault) -> None:
        redis = self.stage.redis
        match fault:
            case Fault.REDIS_RESTART:
                await redis.stop()
                await redis.start()
            case Fault.REDIS_BACK:
                await redis.set_back(1.0)
            case _:
                async with self.stage.direct as client:
                    await client.flushall()

    def _strike_wires(self, strike: Strike, worker: Worker) -> None:
        wires = [one.wire for one in self.stage.workers]
        match strike.fault:
            case Fault.CUT_ONE:
                worker.wire.cut()
            case Fault.CUT_ALL:
                for wire in wires:
                    wire.cut()
            case Fault.SILENT:
                self._later(worker.wire.silent(strike.for_s))
            case _:
                for wire in wires:
                    self._later(wire.away(strike.for_s))

    def _note(self, worker: Worker, strike: Strike, place: int) -> None:
        """Who is struck, with what in hand; and whether anything else will keep its shards from being taken up."""
        pid, held = f"-{worker.pid}-", self._held(worker)
        worker_id = next((holder for holder in self.seen.holders.values() if pid in holder), "")
        until_s = strike.at_s + quiet_s(self.stage.lease_s)
        quiet = not any(
            other.at_s < until_s and other.at_s + other.for_s > strike.at_s
            for n, other in enumerate(self.plan)
            if n != place
        )
        cut_off = any(
            other.fault in _AWAY and other.at_s <= strike.at_s <= other.at_s + other.for_s + _BACK_S
            for other in self.plan
        )
        struck = Struck(
            self.seen.now_s(), time.time(), strike.fault.value, worker.slot, worker_id, held, quiet, cut_off
        )
        self.struck.append(struck)

    def _later(self, step: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(step)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _up_again(self, worker: Worker, clock_off: str | None = None) -> None:
        await asyncio.sleep(_UP_AGAIN_S)
        self.stage.start(worker, clock_off)

    async def _wake(self, child: Child, after_s: float) -> None:
        await asyncio.sleep(after_s)
        child.signal(signal.SIGCONT)

    async def _replaced(self, worker: Worker, clock_off: str | None) -> None:
        assert worker.child is not None
        code = await worker.child.wait(60)
        if (
            code not in (0, -signal.SIGKILL) and "worker_started" in worker.child.said()[1]
        ):  # before that it has nothing, and no handler
            self.done.append(f"a worker that was told to end said {code}")
        self.stage.start(worker, clock_off if faketime_library() else None)

    async def _store(self, fault: dict[str, Any], for_s: float) -> None:
        faults = self.stage.store_weather["faults"]
        faults.append(fault)
        await asyncio.sleep(for_s)
        faults.remove(fault)
