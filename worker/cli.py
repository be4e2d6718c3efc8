"""The command ``bucketline``: verbs put together, errors turned into exit codes.

Comes in: the arguments. Goes out: an exit code, and on an error one sentence on standard error; a traceback only with
``BUCKETLINE_DEBUG=1``. Each verb is a file under ``producer/commands`` or ``worker/commands``, read when the verb is called,
and it imports what it needs when it runs. Exit codes are in ``bucketline.errors``; 70 is a fault of ours, 130 is Ctrl-C.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from bucketline.errors import BucketlineError, InputError
from bucketline.shown import shown
from producer.commands.base import Globals
from worker.startup import end_at_once, start_at_once

__all__ = ["main"]

#: verb → the file that registers it, in the order in which ``--help`` lists them
VERBS: Mapping[str, str] = MappingProxyType(
    {
        "demo": "worker.commands.demo",
        "run": "worker.commands.run",
        "submit": "producer.commands.submit",
        "status": "producer.commands.status",
        "wait": "producer.commands.wait",
        "results": "producer.commands.results",
        "top": "producer.commands.top",
        "why": "producer.commands.why",
        "show": "producer.commands.show",
        "rerun": "producer.commands.rerun",
        "cancel": "producer.commands.cancel",
        "pause": "producer.commands.pause",
        "resume": "producer.commands.resume",
        "estimate": "producer.commands.estimate",
        "verify": "producer.commands.verify",
        "lines": "producer.commands.lines",
        "spend": "producer.commands.spend",
        "prices": "producer.commands.prices",
        "providers": "producer.commands.providers",
        "work": "worker.commands.work",
        "inbox": "worker.commands.inbox",
        "monitor": "worker.commands.monitor",
        "limits": "worker.commands.limits",
        "circuits": "worker.commands.circuits",
        "resume-route": "worker.commands.circuits",
        "doctor": "worker.commands.doctor",
        "gc": "worker.commands.gc",
    }
)
_INTERNAL = 70
_INTERRUPTED = 130


class _Commands(Mapping[str, Any]):
    """The verbs' commands, each made when it is asked for: to make all of them takes longer than most of them run."""

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)

    def __getitem__(self, verb: str) -> Any:
        app = typer.Typer()
        app.callback()(lambda: None)  # with it, one verb is a group of one too
        importlib.import_module(VERBS[verb]).register(app)
        return typer.main.get_group(app).commands[verb]


class _Group(TyperGroup):
    """A group of commands that are made when they are asked for."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.commands = cast("Any", _Commands())


def build_app() -> typer.Typer:
    """The command with every verb."""
    app = typer.Typer(
        name="bucketline", cls=_Group, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )

    @app.callback()
    def global_options(
        context: typer.Context,
        config: Annotated[
            str | None, typer.Option(metavar="PATH", help="the configuration; else bucketline.toml")
        ] = None,
        _version: Annotated[
            bool, typer.Option("--version", help="print the version", is_eager=True, callback=_tell_version)
        ] = False,
    ) -> None:
        """Batch LLM inference: a JSONL file in, answers and a bill out."""
        context.obj = Globals(config)

    return app


def _tell_version(asked: bool) -> None:
    """Print the version and end, before a verb is missed."""
    if asked:
        from importlib.metadata import version

        print(version("bucketline"))
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end the process with its exit code."""
    start_at_once()
    code = run(list(sys.argv[1:] if arguments is None else arguments))
    end_at_once()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command; the exit code. No exception leaves it but with ``BUCKETLINE_DEBUG``."""
    code = _run(arguments)
    try:
        sys.stdout.flush()  # Python's own flush, at its end, would complain of a reader that has gone
    except BrokenPipeError:
        _say_no_more()
    return code


def _run(arguments: list[str]) -> int:
    debug = bool(os.environ.get("BUCKETLINE_DEBUG"))
    try:
        build_app()(args=_config_first(arguments), prog_name="bucketline", standalone_mode=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else (0 if end.code is None else 1)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return _INTERRUPTED
    except BucketlineError as error:
        if debug:
            raise
        print(f"Error: {shown(str(error))}", file=sys.stderr)
        if isinstance(error, InputError):
            _print_faults(error.faults)
        return error.exit_code
    except BrokenPipeError:
        _say_no_more()
        return 1
    except Exception as error:
        if debug:
            raise
        print(
            f"Internal error ({type(error).__name__}); run with BUCKETLINE_DEBUG=1 for the traceback.", file=sys.stderr
        )
        return _INTERNAL
    return 0


def _say_no_more() -> None:
    """Whoever read our output has gone (``| head``): what is left of it goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_faults(faults: Sequence[str]) -> None:
    for fault in faults:
        print(f"  {shown(fault)}", file=sys.stderr)


def _config_first(arguments: list[str]) -> list[str]:
    """``--config PATH`` may stand anywhere before ``--``: people write it after the verb as often as before."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    for at, argument in enumerate(arguments[:end]):
        if argument == "--config" and at + 1 < end:
            return [*arguments[at : at + 2], *arguments[:at], *arguments[at + 2 :]]
        if argument.startswith("--config="):
            return [argument, *arguments[:at], *arguments[at + 1 :]]
    return arguments


if __name__ == "__main__":
    main()
