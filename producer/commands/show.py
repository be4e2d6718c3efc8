"""``bucketline show``: one line's whole life: attempts, routes, waits, codes, request ids, usage, cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from producer.commands.base import BatchId, JsonFlag, print_json, print_table, say, with_producer

if TYPE_CHECKING:
    from producer.client import Producer
    from producer.line import LineLife

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def show(
        context: typer.Context,
        batch_id: BatchId,
        which: Annotated[str, typer.Argument(metavar="LINE|CUSTOM_ID", help="a line's number, or its custom_id")],
        by_id: Annotated[bool, typer.Option("--id", help="take digits for a custom_id too")] = False,
        bodies: Annotated[bool, typer.Option("--bodies", help="print what was asked and answered as well")] = False,
        json: JsonFlag = False,
    ) -> None:
        """Show what became of one line, call by call; exits with 3 while it has no outcome."""
        life = with_producer(context, lambda producer: _find(producer, batch_id, which, by_id=by_id))
        document = life.document(bodies=bodies)
        if json:
            print_json(document)
        else:
            _print(life, document, bodies=bodies)
        raise typer.Exit(3 if life.state == "open" else 0)


async def _find(producer: Producer, batch_id: str, which: str, *, by_id: bool) -> LineLife:
    from bucketline.errors import BucketlineError
    from producer.line import life_of_line, open_document

    document = await open_document(batch_id, producer.store)
    ledger, away = None, None
    try:
        ledger = await producer.ledger()
    except BucketlineError as error:
        away = error  # a batch that is over lies whole in the store
    life = await life_of_line(document, which, producer.store, ledger, by_id=by_id)
    if away is not None and life.state == "open":
        raise away  # its outcome may be in Redis
    return life


def _print(life: LineLife, document: dict[str, Any], *, bodies: bool) -> None:
    import json

    block, error = document["bucketline"] or {}, document["error"]
    say(
        f"Line {life.line} of {life.batch_id}, custom_id {json.dumps(life.custom_id, ensure_ascii=False)}: {life.state}"
    )
    if life.state == "open":
        say(f"It has no outcome yet; `bucketline why {life.batch_id}` says what its batch waits for.")
    if error:
        say(f"{error['code']}: {error['message']}")
    facts = [
        ("shard", life.shard),
        ("asked for", block.get("requested_model") or None),
        ("served by", block.get("served_model")),
        ("finish reason", block.get("finish_reason")),
        ("tokens", _tokens(block.get("usage"), long=True) or None),
        ("cost", None if not block.get("attempts") else _dollars(block.get("cost_usd"))),
    ]
    for name, value in facts:
        if value is not None:
            say(f"  {name:<14}{value}")
    if life.attempts:
        _print_attempts(life.attempts)
    if bodies:
        for name in ("request", "response"):
            say(f"\n{name}:\n{json.dumps(document[name], ensure_ascii=False, indent=2)}")


def _print_attempts(attempts: list[dict[str, Any]]) -> None:
    columns = ["#", "route", "began (UTC)", "waited", "took", "result", "HTTP", "tokens", "cost", "request id"]
    rows: list[list[str]] = []
    ended_s: float | None = None
    for number, attempt in enumerate(attempts, 1):
        started_s = attempt.get("started_at")
        waited = "" if ended_s is None or started_s is None else f"{max(0.0, started_s - ended_s):.1f} s"
        cost = _dollars(attempt["cost_usd"])
        if attempt.get("billed") == "maybe":
            cost = f"up to {_dollars(attempt.get('maybe_billed_usd'))}"
        rows.append(
            [
                str(number),
                f"{attempt['provider']}/{attempt['model']}",
                _moment(started_s),
                waited,
                f"{attempt['latency_s']:.2f} s",
                attempt["kind"].replace("_", " "),
                str(attempt.get("status_code") or ""),
                _tokens(attempt.get("usage")),
                cost,
                attempt.get("request_id") or "",
            ]
        )
        ended_s = None if started_s is None else started_s + attempt["latency_s"]
    print_table(
        columns,
        rows,
        right=frozenset(("#", "waited", "took", "cost")),
        spare=("began (UTC)", "tokens", "cost", "waited", "HTTP"),
    )


def _tokens(usage: dict[str, int] | None, *, long: bool = False) -> str:
    """``input`` and ``output``, and what is part of them where it is not nothing."""
    if usage is None:
        return ""
    cached, reasoning = usage.get("cached_input_tokens", 0), usage.get("reasoning_tokens", 0)
    if not long:
        return f"{usage['input_tokens']:,} → {usage['output_tokens']:,}"
    of_input = f" ({cached:,} cached)" if cached else ""
    of_output = f" ({reasoning:,} reasoning)" if reasoning else ""
    return f"{usage['input_tokens']:,} in{of_input}, {usage['output_tokens']:,} out{of_output}"


def _dollars(amount: str | None) -> str:
    return "unknown" if amount is None else f"${amount}"


def _moment(unix_s: float | None) -> str:
    from bucketline.batch import iso_time

    return "" if unix_s is None else iso_time(unix_s)[:23].replace("T", " ")
