"""``bucketline circuits``: routes and accounts that are closed to calls; ``bucketline resume-route``: try one again.

Comes in: the configuration's Redis. Goes out: a table or one JSON document; for a resumed route the next call of any worker,
whose answer opens it for the whole fleet.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producer.commands.base import JsonFlag, note, print_json, print_table, with_producer

if TYPE_CHECKING:
    from bucketline.circuit import Circuit
    from producer.client import Producer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add both verbs."""

    @app.command()
    def circuits(context: typer.Context, json: JsonFlag = False) -> None:
        """Routes and accounts that are closed at the moment, why, and until when."""
        found = with_producer(context, _all)
        if json:
            print_json({"circuits": [_document(circuit) for circuit in found]})
        elif found:
            print_table(("route", "why", "since", "next try"), [_row(circuit) for circuit in found])
        else:
            note("Every route is open.")

    @app.command(name="resume-route")
    def resume_route(
        context: typer.Context,
        name: Annotated[str, typer.Argument(metavar="NAME", help="PROVIDER (the account), or PROVIDER/MODEL")],
    ) -> None:
        """Try a closed route again: the next call goes through, and opens it where it is answered."""

        async def resume_both(producer: Producer) -> list[str]:
            from bucketline.circuit import resume

            redis = await producer.redis()
            account = name.partition("/")[0]
            return [one for one in dict.fromkeys((account, name)) if await resume(redis, one)]

        resumed = with_producer(context, resume_both)
        if resumed:
            note(f"{' and '.join(resumed)}: the next call goes through; its answer opens the route for all workers.")
        else:
            note(f"{name} is not closed; `bucketline circuits` lists what is.")


async def _all(producer: Producer) -> list[Circuit]:
    from bucketline.circuit import read_all_circuits

    return await read_all_circuits(await producer.redis())


def _document(circuit: Circuit) -> dict[str, Any]:
    from bucketline.batch import iso_time

    return {
        "route": circuit.name,
        "kind": circuit.kind,
        "reason": _reason(circuit),
        "since": None if circuit.opened_s is None else iso_time(circuit.opened_s),
        "next_try": None if circuit.until_s is None else iso_time(max(circuit.until_s, circuit.opened_s or 0.0)),
        "needs_operator": circuit.until_s is None,
        "probing": circuit.probing,
    }


def _row(circuit: Circuit) -> tuple[str, str, str, str]:
    now_s = time.time()
    since = "" if circuit.opened_s is None else f"{_span(now_s - circuit.opened_s)} ago"
    if circuit.until_s is None:
        again = f"`bucketline resume-route {circuit.name}`"
    elif circuit.until_s <= now_s:
        again = "with the next call"
    else:
        again = f"in {_span(circuit.until_s - now_s)}"
    return circuit.name, _reason(circuit), since, again


def _reason(circuit: Circuit) -> str:
    """The sentence of the failure that closed it."""
    from bucketline.failure import TABLE, Kind

    if circuit.kind in {kind.value for kind in Kind}:
        return TABLE[Kind(circuit.kind)].sentence
    return "Most calls failed; it is tried out by single calls."


def _span(seconds: float) -> str:
    """Seconds in words that fit a column: ``40 s``, ``12 min``, ``3 h``.

    >>> _span(720)
    '12 min'
    """
    if seconds < 120:
        return f"{max(0, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
