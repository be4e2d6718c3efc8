"""``bucketline run``: the whole job on this machine, from a file to answers and a bill."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from producer.commands.submit import Duplicates, OnQuota, Unpriced

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command()
    def run(
        context: typer.Context,
        file: Annotated[str, typer.Argument(help="JSON lines: a path, - for standard input, or s3://BUCKET/KEY")],
        output: Annotated[
            str,
            typer.Option("--output", "-o", metavar="DIR", help="where the results go: a folder, or s3://BUCKET/PREFIX"),
        ],
        model: Annotated[str | None, typer.Option(help="the model of lines that name none")] = None,
        force_model: Annotated[bool, typer.Option("--force-model", help="--model for every line")] = False,
        max_cost: Annotated[str | None, typer.Option(metavar="USD", help="the budget")] = None,
        window: Annotated[str | None, typer.Option(help="until the deadline, such as 24h")] = None,
        metadata: Annotated[list[str] | None, typer.Option(metavar="K=V", help="kept in the manifest")] = None,
        unpriced: Annotated[Unpriced | None, typer.Option(help="a model without a price under --max-cost")] = None,
        on_quota: Annotated[OnQuota | None, typer.Option(help="when an account is exhausted")] = None,
        resume: Annotated[bool, typer.Option("--resume", help="go on after an interruption")] = False,
        strict: Annotated[bool, typer.Option("--strict", help="one bad line refuses the whole")] = False,
        duplicates: Annotated[Duplicates, typer.Option(help="a custom_id that is repeated")] = Duplicates.REFUSE,
    ) -> None:
        """Run a file on this machine: its own Redis, results into DIR, nothing paid twice after --resume."""
        from bucketline.settings import load_settings
        from producer.options import batch_options, metadata_pairs
        from worker.local import LocalRun
        from worker.screen import run_on_screen

        asked: dict[str, Any] = {
            "model": model,
            "force_model": force_model or None,
            "max_cost": max_cost,
            "window": window,
            "metadata": metadata_pairs(metadata) if metadata else None,
            "unpriced": unpriced,
            "on_quota": on_quota,
        }
        far = output.startswith("s3://")
        order = LocalRun(
            source=file,
            folder=_work_folder(output) if far else Path(output),
            to=output if far else None,
            options=batch_options(None, asked),
            resume=resume,
            strict=strict,
            number_duplicates=duplicates is Duplicates.NUMBER,
        )
        code = run_on_screen(order, load_settings(context.obj.config))
        if far and (order.folder / "manifest.json").exists():
            shutil.rmtree(order.folder, ignore_errors=True)  # all of it is at its address
        raise typer.Exit(code)


def _work_folder(address: str) -> Path:
    """Where a run works whose results go to a bucket: the same for the same address, so that ``--resume`` finds it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "bucketline" / "runs" / hashlib.sha256(address.encode()).hexdigest()[:16]
