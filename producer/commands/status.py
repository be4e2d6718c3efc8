"""``bucketline status``: where the batches stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from producer.commands.base import JsonFlag, print_json, print_table, with_producer

if TYPE_CHECKING:
    from bucketline.batch import Progress
    from producer.client import Producer
    from producer.timeleft import Going

__all__ = ["register", "show"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def status(
        context: typer.Context,
        batch_id: Annotated[
            str | None, typer.Argument(metavar="[ID]", help="one batch; without it, the newest")
        ] = None,
        limit: Annotated[int, typer.Option(min=1, help="how many of the newest")] = 50,
        json: JsonFlag = False,
    ) -> None:
        """Show batches; of one batch the exit code says 0 answered, 1 over with failures, 3 not over."""

        async def look(producer: Producer) -> tuple[list[Progress], Mapping[str, Going]]:
            from producer.timeleft import going

            found = await producer.recent(limit) if batch_id is None else [await producer.status(batch_id)]
            return found, await going(await producer.redis(), found)

        found, pace = with_producer(context, look)
        if json:
            print_json({"batches": [{**one.document(), **pace[one.id].document()} for one in found]})
        else:
            show(found, pace)
        if batch_id is not None:
            from producer.watch import exit_code_of

            raise typer.Exit(exit_code_of(found[0]))


def show(found: list[Progress], pace: Mapping[str, Going] | None = None) -> None:
    """Batches as a table."""
    from bucketline.figures import seconds_in_words

    rows = []
    for progress in found:
        counts, entry = progress.counts, progress.document()
        cost = "–" if progress.unpriced and not progress.nanousd else f"${entry['cost_usd']}"
        left_s = pace[progress.id].left_s if pace else None
        rows.append(
            [
                progress.id,
                "paused" if progress.paused else progress.state.value,
                f"{counts.percent:g}%",
                f"{counts.completed}/{counts.total}",
                str(counts.failed + counts.cancelled),
                cost + ("+?" if progress.unpriced and progress.nanousd else ""),
                seconds_in_words(left_s) if left_s else "",
                entry["created_at"][:19].replace("T", " "),
                progress.source + (f" ({progress.reason})" if progress.reason else ""),
            ]
        )
    columns = ["batch", "status", "done", "answered", "failed", "cost", "left", "created (UTC)", "source"]
    print_table(columns, rows, right=frozenset(columns[2:7]))
