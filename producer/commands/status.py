"""``bucketline status``: where the batches stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from producer.commands.base import JsonFlag, print_json, print_table, say, with_producer

if TYPE_CHECKING:
    from bucketline.batch import Progress
    from bucketline.learnt import Learnt
    from producer.client import Producer
    from producer.timeleft import Going

__all__ = ["register", "show", "show_estimates"]


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

        async def look(producer: Producer) -> tuple[list[Progress], Mapping[str, Going], Mapping[str, Learnt]]:
            from bucketline.learnt import read_learnt
            from producer.timeleft import going

            found = await producer.recent(limit) if batch_id is None else [await producer.status(batch_id)]
            redis = await producer.redis()
            return found, await going(redis, found), await read_learnt(redis)

        found, pace, learnt = with_producer(context, look)
        if json:
            batches = [{**one.document(), **pace[one.id].document()} for one in found]
            print_json({"batches": batches, "estimates": {name: one.document() for name, one in learnt.items()}})
        else:
            show(found, pace)
            show_estimates(learnt)
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
    print_table(columns, rows, right=frozenset(columns[2:7]), spare=("created (UTC)", "source", "left", "failed"))


def show_estimates(learnt: Mapping[str, Learnt]) -> None:
    """How far the limits' estimates are off, model by model; nothing where no answer has come yet."""
    if not learnt:
        return
    rows = []
    for name, one in learnt.items():
        said = one.document()
        error, size, p95 = said["input_error"], said["bytes_a_token"], said["output_p95_tokens"]
        rows.append(
            [
                name,
                "" if error is None else f"{error:.1%}",
                "" if size is None else f"{size:.2f}",
                "" if p95 is None else f"{p95:,}",
            ]
        )
    say("")
    columns = ["estimated", "input is off by", "bytes a token", "output p95"]
    print_table(columns, rows, right=frozenset(columns[1:]))
