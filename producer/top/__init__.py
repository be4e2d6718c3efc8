"""The live monitor: a snapshot a second, as panes on a terminal.

``views`` turns a snapshot into rows (pure), ``document`` is its figures for programs, ``app`` keeps them on the screen and takes keys,
``actions`` does what a key asks for. Nothing here reads Redis but through ``producer.monitor``.
"""

from __future__ import annotations

__all__: list[str] = []
