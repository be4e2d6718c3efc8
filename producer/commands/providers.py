"""``bucketline providers``: the routes side by side, by our own traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from producer.commands.base import JsonFlag, note, print_json, print_table, with_producer

if TYPE_CHECKING:
    from producer.client import Producer
    from producer.market import Offer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def providers(context: typer.Context, json: JsonFlag = False) -> None:
        """Compare routes: region, latency, tokens/s and success of our own calls, price, context."""
        found = with_producer(context, _look)
        if json:
            print_json({"providers": [offer.document() for offer in found]})
        elif found:
            _print(found)
        else:
            note("No route is configured and none was called; name some under [models] in bucketline.toml.")


async def _look(producer: Producer) -> list[Offer]:
    from bucketline import keys
    from bucketline.errors import BucketlineError
    from bucketline.measured import read_measured
    from producer.market import configured_routes, offers

    names = [route.name for route in configured_routes(producer.settings)]
    try:
        redis = await producer.redis()
    except BucketlineError as error:
        note(f"Nothing measured is shown: {error}")
        return offers(producer.settings, {}, names)
    called = sorted(raw.decode() for raw in await redis.smembers(keys.ROUTES))  # type: ignore[misc]
    measured = await read_measured(redis, list(dict.fromkeys((*names, *called))))
    return offers(producer.settings, measured, called)


def _print(found: list[Offer]) -> None:
    from bucketline.figures import percent, short_count

    columns = [
        "provider",
        "model",
        "region",
        "p50",
        "p95",
        "tokens/s",
        "success",
        "calls",
        "in $/M",
        "out $/M",
        "context",
    ]
    rows = []
    for offer in found:
        known = offer.measured
        rows.append(
            [
                offer.provider,
                offer.model,
                offer.region or "–",
                _seconds(known.p50_s if known else None),
                _seconds(known.p95_s if known else None),
                f"{known.tokens_per_s:.0f}" if known and known.tokens_per_s else "–",
                percent(known.success) if known and known.success is not None else "–",
                short_count(known.calls) if known else "–",
                offer.price_in or "unknown",
                offer.price_out or "unknown",
                short_count(offer.context_tokens) if offer.context_tokens else "–",
            ]
        )
    print_table(columns, rows, right=frozenset(columns[3:]), spare=("context", "region", "p95", "calls", "tokens/s"))


def _seconds(value_s: float | None) -> str:
    return "–" if value_s is None else f"{value_s:.2f} s"
