"""Logs: what happened, in ids, counts, kinds and durations; JSON in a service, readable on a terminal.

Called once by each command to set the form, and by every module for its logger. Prompts, answers and keys have no way
in: events carry named fields, and no caller passes a body.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog

from bucketline.errors import BucketlineError
from bucketline.shown import shown

__all__ = ["logger", "said", "set_up_logs"]


def said(error: BaseException) -> str:
    """What a log may repeat of an error: our own sentences, of others only the kind."""
    return str(error) if isinstance(error, BucketlineError) else type(error).__name__


def logger(name: str) -> Any:
    """The logger of a module."""
    return structlog.get_logger(name)


def _spelt(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A name in a log must not drive the terminal that shows it."""
    return {name: shown(value) if isinstance(value, str) else value for name, value in event.items()}


class _Stderr:
    """Whatever ``sys.stderr`` is when an event comes. One that is closed, full or read by nobody costs the event, never a line."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            return sys.stderr.write(text)
        return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def set_up_logs(*, level: str = "INFO", json: bool | None = None) -> None:
    """Send events to stderr: JSON when it is no terminal or ``json`` says so. arq's own log follows at WARNING."""
    as_json = (not sys.stderr.isatty()) if json is None else json
    # JSON spells control characters itself.
    rendered = (
        [structlog.processors.JSONRenderer()] if as_json else [_spelt, structlog.dev.ConsoleRenderer(colors=True)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *rendered,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Stderr())),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
    logging.getLogger("arq").setLevel(logging.ERROR)
