"""``bucketline top``: the live monitor; printed once where nobody can press a key."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from producer.commands.base import JsonFlag, print_json, print_table, say, with_producer

if TYPE_CHECKING:
    from producer.client import Producer
    from producer.monitor import Monitor, Snapshot

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def top(
        context: typer.Context,
        once: Annotated[bool, typer.Option("--once", help="print one picture and end")] = False,
        json: JsonFlag = False,
    ) -> None:
        """Watch the line: queue, batches, providers, workers, failures. `?` shows the keys."""
        if json or once or not sys.stdout.isatty():
            snapshot = with_producer(context, _look)
            if json:
                from producer.top.document import document

                print_json(document(snapshot))
            else:
                _print(snapshot)
        else:
            with_producer(context, _watch)


async def _monitor(producer: Producer) -> Monitor:
    from producer.market import configured_routes
    from producer.monitor import Monitor

    routes = [route.name for route in configured_routes(producer.settings)]
    return Monitor(await producer.redis(), routes)


async def _look(producer: Producer) -> Snapshot:
    return await (await _monitor(producer)).look_at_all()


async def _watch(producer: Producer) -> None:
    from producer.top.actions import ProducerActions
    from producer.top.app import TopApp

    monitor = await _monitor(producer)
    app = TopApp(monitor.look, ProducerActions(producer))
    await app.run_async()
    if app.fault is not None:
        raise app.fault


def _print(snapshot: Snapshot) -> None:
    from producer.top.views import PANES, headline

    say("\n".join(headline(snapshot)))
    for pane in PANES.values():
        view = pane(snapshot)
        say(f"\n{view.title}")
        if view.rows:
            print_table(
                [column.name for column in view.columns],
                [[cell.text for cell in row.cells] for row in view.rows],
                right=frozenset(column.name for column in view.columns if column.right),
                spare=[column.name for column in reversed(view.columns) if column.wide],
            )
