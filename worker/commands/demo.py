"""``bucketline demo``: a real batch through two simulated providers in bad weather; no key, no network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def demo(
        requests: Annotated[int, typer.Option(min=1, max=1_000_000, help="how many lines")] = 2000,
        output: Annotated[
            Path | None, typer.Option("--output", "-o", metavar="DIR", help="where the results go; else a new folder")
        ] = None,
        seed: Annotated[int, typer.Option(help="of the weather and the answers")] = 7,
    ) -> None:
        """Send 2,000 requests through two simulated providers in bad weather, in about half a minute."""
        from worker.demo import run_demo

        raise typer.Exit(run_demo(requests=requests, output=output, seed=seed))
