"""When a part is written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from bucketline.part import Entry
from worker.openshard import OpenShard
from worker.seal import SEAL_S, Sealer

LINE = b'{"custom_id":"a","response":{"status_code":200,"body":{}},"error":null,"bucketline":{"line":1}}'


def test_what_a_dead_worker_left_is_sealed_at_the_next_look() -> None:
    """Each claim would else start its age anew: answers of a shard whose workers die lay in Redis alone for minutes."""
    now_s = 1000.0
    recorder = SimpleNamespace(pressed=False, is_full=False, hold=lambda size: None)
    sealer = Sealer(cast("Any", None), cast("Any", None), cast("Any", recorder), lambda: now_s)
    shard = OpenShard("b", 0)
    sealer.adopt(shard, [])
    assert not sealer.is_due(shard)
    shard.keep(Entry(2, True, LINE), now_s)
    assert not sealer.is_due(shard)
    now_s += SEAL_S + 1
    assert sealer.is_due(shard)
    now_s -= SEAL_S + 1
    heir = OpenShard("b", 1)
    sealer.adopt(heir, [Entry(1, True, LINE)])
    assert sealer.is_due(heir)
