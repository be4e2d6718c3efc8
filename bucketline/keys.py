"""The names of all keys in Redis; nothing else spells one. ``arq:*`` keys belong to arq.

| key                    | type   | written by          | read by            | lives                | if lost                         |
| ---------------------- | ------ | ------------------- | ------------------ | -------------------- | ------------------------------- |
| bl:batches             | zset   | submit              | status, sweep      | until gc             | rebuilt from the store          |
| bl:b:ID                | hash   | submit, record      | everyone           | until gc             | rebuilt from the parts          |
| bl:b:ID:done           | bitmap | record              | claim              | until finished       | rebuilt from the parts          |
| bl:b:ID:claims         | hash   | claim, hand-back    | seal, shard's end  | until finished       | they follow the clock           |
| bl:b:ID:ended          | bitmap | shard's end         | shard's end, sweep | until finished       | rebuilt from the parts          |
| bl:b:ID:open:SHARD     | list   | record              | claim, seal        | until sealed         | recorded again by a worker that lives, else asked again |
| bl:b:ID:hands:SHARD    | hash   | worker.ward         | worker.ward        | until the shard ends | a line that kills its worker is found later |
| bl:b:ID:same:SHARE     | hash   | worker.dedupe       | worker.dedupe      | 7 days after its last use | equal requests are asked again |
| bl:source:DIGEST       | string | submit, inbox       | submit, inbox      | 30 days after a look | the outbox tells of inbox files |
| bl:workers             | zset   | heartbeat           | status, top        | members for 60 s     | back with the next heartbeat    |
| bl:worker:ID           | hash   | heartbeat           | status, why, top   | 60 s                 | back with the next heartbeat    |
| bl:routes              | set    | heartbeat           | providers, top     | for good             | back with the next heartbeat    |
| bl:circuit:NAME        | hash   | health              | health, why, top   | a day; until resumed | opened again by the next failures |
| bl:measured:ROUTE      | hash   | worker.measured     | worker.measured, providers | a week after its last call | measured anew            |
| bl:submitting          | zset   | submit              | sweep              | seconds              | a dead submit is found by recovery |
| bl:unfinished          | zset   | submit, finish      | sweep              | while batches run    | rebuilt from the store          |
| bl:sweeper             | string | sweep               | sweep              | seconds              | another process sweeps          |
| bl:remembers           | string | sweep               | sweep              | for good             | the store is looked through for what Redis forgot |
| bl:inbox               | hash   | inbox               | inbox              | until in the outbox  | rebuilt from the outbox         |
| bl:inbox:publisher     | string | inbox               | inbox              | seconds              | another watcher publishes       |
| bl:webhooks            | hash   | inbox               | inbox              | until told           | the outbox tells it             |
| bl:queue               | zset   | submit, sweep       | arq                | while shards wait    | rebuilt from batch.json         |
| bl:limit:SCOPE         | hash   | worker, limits set  | the gate           | for good             | back with the next admission, but for what an operator set |
| bl:gate:SCOPE          | hash   | the gate            | the gate, limits   | 3 days without use   | goes on at the even pace        |
| bl:line:SCOPE          | zset   | the gate            | the gate           | members for 2 s      | back with the next admission    |
| bl:lease:SCOPE         | zset   | the gate            | the gate           | members for 15 s     | back with the next admission    |
| bl:scopes              | set    | worker, limits set  | limits             | for good             | back with the next admission    |
| bl:limits:changes      | string | limits set, pause   | the gate           | for good             | counts anew                     |
| bl:learnt              | set    | the gate's learner  | status, limits     | for good             | back with the next answers      |
| bl:learnt:MODEL        | hash   | the gate's learner  | the gate's learner, status, limits | 30 days after its last use | learnt anew |
"""

from __future__ import annotations

__all__ = [
    "BATCHES",
    "BELL",
    "INBOX",
    "INBOX_PUBLISHER",
    "LEARNT",
    "LIMIT_CHANGES",
    "QUEUE",
    "REMEMBERS",
    "ROUTES",
    "SCOPES",
    "SUBMITTING",
    "SWEEPER",
    "UNFINISHED",
    "WEBHOOKS",
    "WORKERS",
    "batch_claims",
    "batch_done",
    "batch_ended",
    "batch_hands",
    "batch_hash",
    "batch_open",
    "batch_same",
    "circuit",
    "finish_job_id",
    "gate_leases",
    "gate_line",
    "gate_state",
    "learnt",
    "limit_figures",
    "measured",
    "shard_job_id",
    "source_claim",
    "worker_hash",
]

BATCHES = "bl:batches"
BELL = "bl:bell"  #: a channel, not a key: rung when tickets are offered
INBOX = "bl:inbox"  #: name under outbox/ → the upload that it tells of, until all is told
WEBHOOKS = "bl:webhooks"  #: message id → what is still to be told, how often it was tried, when it is due
INBOX_PUBLISHER = "bl:inbox:publisher"
QUEUE = "bl:queue"
WORKERS = "bl:workers"
ROUTES = "bl:routes"  #: names of routes that were ever called
SUBMITTING = "bl:submitting"
SCOPES = "bl:scopes"
LEARNT = "bl:learnt"  #: names of models of which answers were learnt
LIMIT_CHANGES = "bl:limits:changes"
SWEEPER = "bl:sweeper"
UNFINISHED = "bl:unfinished"
REMEMBERS = "bl:remembers"  #: there as long as Redis has not been emptied


def batch_hash(batch_id: str) -> str:
    """Hash: state, counts, money, deadline and flags of one batch."""
    return f"bl:b:{batch_id}"


def batch_done(batch_id: str) -> str:
    """Bitmap: bit N is set when line N has its outcome."""
    return f"bl:b:{batch_id}:done"


def batch_claims(batch_id: str) -> str:
    """Hash: shard → generation of its newest claim, and beside it the claim's word and the shard's strikes."""
    return f"bl:b:{batch_id}:claims"


def batch_ended(batch_id: str) -> str:
    """Bitmap: bit N is set when shard N is sealed to its last line."""
    return f"bl:b:{batch_id}:ended"


def batch_open(batch_id: str, shard: int) -> str:
    """List: recorded outcomes of one shard that no part holds yet."""
    return f"bl:b:{batch_id}:open:{shard}"


def batch_hands(batch_id: str, shard: int) -> str:
    """Hash: line → weight of the deaths at which it was in hand, while a shard is worked off in isolation."""
    return f"bl:b:{batch_id}:hands:{shard}"


def batch_same(batch_id: str, share: int) -> str:
    """Hash: content of a request → the line that is sent for all of its equals; one of many small hashes."""
    return f"bl:b:{batch_id}:same:{share}"


def circuit(name: str) -> str:
    """Hash: how the circuit of a route or an account stands."""
    return f"bl:circuit:{name}"


def measured(route: str) -> str:
    """Hash: decayed sums of what calls showed of one route."""
    return f"bl:measured:{route}"


def source_claim(digest: str) -> str:
    """String: the batch that a source version or an idempotency key became."""
    return f"bl:source:{digest}"


def worker_hash(worker_id: str) -> str:
    """Hash: what one worker process does at the moment."""
    return f"bl:worker:{worker_id}"


def shard_job_id(batch_id: str, shard: int) -> str:
    """The arq job of one shard; unique, so a shard is never queued twice."""
    return f"bl:{batch_id}:{shard}"


def finish_job_id(batch_id: str) -> str:
    """The arq job that merges and finishes a batch."""
    return f"bl:{batch_id}:finish"


def limit_figures(scope: str) -> str:
    """Hash: the figures of one scope, by source and in force."""
    return f"bl:limit:{scope}"


def gate_state(scope: str) -> str:
    """Hash: what one scope has used, its buckets, marks and counters."""
    return f"bl:gate:{scope}"


def gate_line(scope: str) -> str:
    """Sorted set: who waits for one scope, by priority and arrival."""
    return f"bl:line:{scope}"


def gate_leases(scope: str) -> str:
    """Sorted set: who has calls in flight in one scope, by the lease's end."""
    return f"bl:lease:{scope}"


def learnt(model: str) -> str:
    """Hash: what requests of one ``provider/model`` turned out to use, as sums."""
    return f"bl:learnt:{model}"
