"""``bucketline limits``: every scope of the gate as it stands, and ``bucketline limits set``: an operator's figures.

Comes in: the configuration's Redis. Goes out: tables or one JSON document; figures that are in force on all workers
within a second, and until they are taken back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from producer.commands.base import JsonFlag, note, print_json, print_table, with_producer

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from bucketline.learnt import Learnt
    from producer.client import Producer
    from worker.limiter.scopes import ScopeState

__all__ = ["register"]

T = TypeVar("T")
_OFF = "none"
_SOURCES = {"cfg": "configuration", "set": "operator", "seen": "provider", "found": "found out"}
_FIGURE_HELP = "a figure, or `none` to give it back to the configuration"


def register(app: typer.Typer) -> None:
    """Add the verb and its one sub-verb."""
    limits = typer.Typer(invoke_without_command=True, help="Show the limits of every scope; `set` changes them live.")
    app.add_typer(limits, name="limits")
    _register_show(limits)
    _register_set(limits)


def _register_show(limits: typer.Typer) -> None:
    @limits.callback()
    def show(context: typer.Context, json: JsonFlag = False) -> None:
        """Limit, used this minute, waiting, next grant and pause of every scope; how far estimates are off."""
        if context.invoked_subcommand is not None:
            return
        from bucketline.learnt import read_learnt
        from producer.commands.status import show_estimates
        from worker.limiter.scopes import read_scopes

        async def look(redis: Redis) -> tuple[list[ScopeState], dict[str, Learnt]]:
            return await read_scopes(redis), await read_learnt(redis)

        scopes, learnt = _with_redis(context, look)
        if json:
            estimates = {name: one.document() for name, one in learnt.items()}
            print_json({"scopes": [_document(scope) for scope in scopes], "estimates": estimates})
        else:
            _show(scopes)
            show_estimates(learnt)


def _register_set(limits: typer.Typer) -> None:

    @limits.command(name="set")
    def set_(
        context: typer.Context,
        scope: Annotated[str, typer.Argument(metavar="SCOPE", help="PROVIDER, or PROVIDER/MODEL")],
        rpm: Annotated[str | None, typer.Option(metavar="N", help=_FIGURE_HELP)] = None,
        tpm: Annotated[str | None, typer.Option(metavar="N", help=_FIGURE_HELP)] = None,
        input_tpm: Annotated[str | None, typer.Option(metavar="N", help=_FIGURE_HELP)] = None,
        output_tpm: Annotated[str | None, typer.Option(metavar="N", help=_FIGURE_HELP)] = None,
        rpd: Annotated[str | None, typer.Option(metavar="N", help=_FIGURE_HELP)] = None,
        tpd: Annotated[str | None, typer.Option(metavar="N", help=_FIGURE_HELP)] = None,
        concurrency: Annotated[str | None, typer.Option(metavar="N", help=_FIGURE_HELP)] = None,
    ) -> None:
        """Change a scope's limits on all workers, within a second and across restarts."""
        from bucketline import keys
        from worker.limiter.scopes import set_figures

        said = {"rpm": rpm, "tpm": tpm, "input_tpm": input_tpm, "output_tpm": output_tpm}
        said |= {"rpd": rpd, "tpd": tpd, "concurrency": concurrency}
        figures = _figures(said)

        async def change(redis: Redis) -> bool:
            known = scope.encode() in await redis.smembers(keys.SCOPES)  # type: ignore[misc]
            await set_figures(redis, scope, figures)
            return known

        if not _with_redis(context, change):
            note(f"No worker has used a scope {scope} yet; `bucketline limits` lists those that are in use.")
        note(f"{scope}: " + ", ".join(f"{name} {_OFF if n is None else f'{n:,}'}" for name, n in figures.items()))


def _figures(said: dict[str, str | None]) -> dict[str, int | None]:
    from bucketline.errors import UsageError

    figures: dict[str, int | None] = {}
    for name, text in said.items():
        if text is None:
            continue
        digits = text.replace("_", "").replace(",", "")
        if text == _OFF:
            figures[name] = None
        elif digits.isascii() and digits.isdigit() and 0 < int(digits) <= 10**12:
            figures[name] = int(digits)
        else:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is {text!r}; write a whole number above zero, or {_OFF}.")
    if not figures:
        raise UsageError("No figure was given; write for example: bucketline limits set alpha --rpm 9000.")
    return figures


def _with_redis(context: typer.Context, use: Callable[[Redis], Awaitable[T]]) -> T:
    async def connected(producer: Producer) -> T:
        return await use(await producer.redis())

    return with_producer(context, connected)


def _document(scope: ScopeState) -> dict[str, Any]:
    return {
        "scope": scope.name,
        "limits": {
            dimension.name: {"limit": dimension.limit, "used": dimension.used, "source": _SOURCES[dimension.source]}
            for dimension in scope.dimensions
        },
        "in_flight": scope.in_flight,
        "waiting": scope.waiting,
        "next_grant_s": scope.next_grant_s,
        "paused_s": scope.paused_s,
        "pause_reason": scope.pause_reason,
        "day_resets_s": scope.day_resets_s,
    }


def _show(scopes: list[ScopeState]) -> None:
    if not scopes:
        note("No worker has used a scope yet.")
        return
    columns = ["scope", "limit", "allowed", "used", "set by", "in flight", "waiting", "next", "paused"]
    rows: list[list[str]] = []
    for scope in scopes:
        paused = "" if scope.paused_s is None else f"{scope.paused_s:.0f} s: {scope.pause_reason}"
        ends = [f"{scope.in_flight:,}", f"{scope.waiting:,}", _seconds(scope.next_grant_s), paused]
        lines = [[d.name, f"{d.limit:,}", f"{d.used:,}", _SOURCES[d.source]] for d in scope.dimensions]
        for n, line in enumerate(lines or [["no limit", "", "", ""]]):
            rows.append([scope.name, *line, *ends] if n == 0 else ["", *line, "", "", "", ""])
    right = frozenset(("allowed", "used", "in flight", "waiting", "next"))
    print_table(columns, rows, right=right, spare=("set by", "next"))


def _seconds(value_s: float | None) -> str:
    return "" if value_s is None else f"{value_s:.1f} s"
