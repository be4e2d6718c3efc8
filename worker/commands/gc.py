"""``bucketline gc``: what finished batches have left behind.

Comes in: an age. Goes out: nothing in Redis and no parts in the store of batches that were over before that; results, manifest and
input stay. A batch without a manifest is never touched. It lies beside the worker's commands because clean-up is the line's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bucketline.errors import UsageError
from producer.commands.base import JsonFlag, note, print_json, with_producer

if TYPE_CHECKING:
    from producer.client import Producer
    from worker.clean import Cleaned

__all__ = ["register"]

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def gc(
        context: typer.Context,
        older_than: Annotated[str, typer.Option("--older-than", metavar="AGE", help="such as 30d, 12h")] = "30d",
        dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go, remove nothing")] = False,
        json: JsonFlag = False,
    ) -> None:
        """Remove Redis leftovers and parts of batches that were over so long ago; nothing else."""
        age_s = age_of(older_than)
        done = with_producer(context, lambda producer: _clean(producer, age_s, dry_run=dry_run))
        if json:
            print_json({"batches": done.batches, "parts": done.parts, "bytes": done.size_bytes, "dry_run": dry_run})
        else:
            words = "would go" if dry_run else "are gone"
            note(f"{done.parts} parts ({done.size_bytes} bytes) of {len(done.batches)} batches {words}.")


async def _clean(producer: Producer, age_s: float, *, dry_run: bool) -> Cleaned:
    from worker.clean import clean

    return await clean(producer.store, await producer.redis(), await producer.ledger(), age_s, dry_run=dry_run)


def age_of(text: str) -> float:
    """``30d`` → seconds. Raises UsageError."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS_S or not (number.isascii() and number.isdecimal()):
        raise UsageError(f"{text!r} is no age; write a number and s, m, h, d or w, such as 30d.")
    return float(int(number) * _UNITS_S[unit])
