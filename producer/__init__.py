"""The way in, and the way to look: ``Producer`` (async), and a sync face of its methods.

from producer import submit, wait, results
batch = submit("questions.jsonl", model="openai/gpt-5-mini")
wait(batch.id)
results(batch.id, "answers")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producer.bridge import synchronous
    from producer.client import Batch, Producer

    submit = synchronous(Producer.submit)
    status = synchronous(Producer.status)
    wait = synchronous(Producer.wait)
    results = synchronous(Producer.results)
    cancel = synchronous(Producer.cancel)

__all__ = ["Batch", "Producer", "cancel", "results", "status", "submit", "wait"]


def __getattr__(name: str) -> Any:
    """Load the names at first use, so that the command starts without them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from producer import client

    if name in client.__all__:
        return getattr(client, name)
    from producer.bridge import synchronous

    return synchronous(getattr(client.Producer, name))
