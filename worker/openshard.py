"""One shard while this process works on it: what is open, what is recorded and not sealed yet, whose it is; and how it ends.

Comes in: the ticket. Changed by the shard's own coroutine, the recorder, the sealer and the leases, each in its part.
Knows nothing of how any of them works.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from bucketline.ledger import ClaimLost, Deltas, Extent
from bucketline.part import Entry
from bucketline.splice import loads
from bucketline.tally import Tally

__all__ = ["OpenShard", "ShardEnd", "deltas_of_line"]

_UNREAD = Extent(0, 0, 0)


class ShardEnd(Enum):
    """What the queue is to do with the ticket."""

    ENDED = auto()
    HAND_BACK = auto()  #: at once, to whoever has room
    PUT_OFF = auto()  #: something is away: a little later
    LAST = auto()  #: it was the batch's last shard: the batch can be finished
    LOST = auto()  #: another worker has it: the ticket is his


@dataclass(slots=True, eq=False)
class OpenShard:
    """``generation`` is 0 until the shard is claimed."""

    batch_id: str
    shard: int
    generation: int = 0
    extent: Extent = _UNREAD
    pending: int = (
        0  #: lines that have no recorded outcome yet; until it is claimed all of them, for it takes that room
    )
    waiting: int = 0  #: outcomes on their way to the ledger
    unsealed: list[Entry] = field(default_factory=list)  #: in the order in which Redis has them
    unsealed_bytes: int = 0
    tally: Tally = field(default_factory=Tally)
    since_s: float = 0.0  #: monotonic time of the oldest unsealed line
    inherited: bool = False  #: another worker had it before: each line is looked up once more before it is called
    sequence: int = 0  #: of the next part
    sealing: list[Entry] = field(default_factory=list)  #: in a part that is being written, still in Redis
    seal_delay_s: float = 0.0  #: how long the next try is put off where sealing fails
    seal_not_before_s: float = 0.0
    elsewhere: set[int] = field(default_factory=set)  #: lines that another claim recorded meanwhile
    stale: bool = False  #: Redis may hold other unsealed lines than these: bring them in step, soon and before sealing
    over: bool = False  #: the batch has finished without us
    closed: bool = False  #: nobody works on it here any more
    lost: asyncio.Event = field(default_factory=asyncio.Event)  #: another worker has it
    done: asyncio.Event = field(default_factory=asyncio.Event)  #: no line is pending
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  #: held while a part is written
    sealer: asyncio.Task[None] | None = None  #: writes a part beside the lines
    offerer: asyncio.Task[None] | None = None  #: brings Redis in step beside both
    let_go: Callable[[], None] | None = None  #: ends what waits

    def lose(self) -> None:
        """Another worker has it: not one more of its calls is sent from here."""
        self.lost.set()
        if self.let_go is not None:
            self.let_go()

    @property
    def listed(self) -> int:
        """How many unsealed outcomes Redis should have."""
        return len(self.sealing) + len(self.unsealed)

    def check(self) -> None:
        """Raises ClaimLost: it may have been lost while we waited for something else."""
        if self.lost.is_set() or self.over:
            raise ClaimLost(self.batch_id)

    def settle(self, lines: int) -> None:
        """So many lines more have their outcome."""
        self.pending -= lines
        if self.pending <= 0:
            self.done.set()

    def keep(self, entry: Entry, now_s: float) -> None:
        """Hold a recorded line until a part has it."""
        if not self.unsealed:
            self.since_s = now_s
        self.unsealed.append(entry)
        self.unsealed_bytes += len(entry.encoded)


def deltas_of_line(encoded: bytes) -> Deltas:
    """What a written line adds to the counters: the same as its outcome did."""
    tally = Tally()
    tally.add_line(loads(encoded))
    counted = tally.counters()
    return Deltas(**{**counted, "unpriced": min(1, counted["unpriced"])})
