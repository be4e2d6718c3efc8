"""The monitor's small windows: a question before what cannot be undone, and a text to read.

Comes in: words. Goes out: yes or no. Called by the app.
"""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from bucketline.shown import shown

__all__ = ["Question", "Reading"]


class Question(ModalScreen[bool]):
    """Asks; only ``y`` says yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q,enter", "answer(False)", "no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical(classes="window"):
            yield Static(shown(self._question), markup=False)
            yield Static("\n y  yes      n  no", classes="keys", markup=False)

    async def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)


class Reading(ModalScreen[None]):
    """Shows a text until a key is pressed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q,space,w,question_mark", "leave", "back")]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        with Vertical(classes="window"):
            yield Static(shown(self._title), classes="title", markup=False)
            with VerticalScroll():
                yield Static(shown(self._text), markup=False)
            yield Static("\n esc  back", classes="keys", markup=False)

    async def action_leave(self) -> None:
        self.dismiss(None)
