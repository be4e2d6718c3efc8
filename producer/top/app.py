"""The monitor's screen: panes over each other, or one of them alone, and the keys.

Comes in: a function that looks once, and what keys may do. Goes out: a screen that follows the line every second. It reads;
only ``p``, ``r`` and ``c`` change anything, and ``c`` asks first. A look that fails leaves the last picture and says so. Run by
``bucketline top``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from redis.exceptions import RedisError
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.widgets import Footer, Input, Static

from bucketline.errors import BucketlineError
from bucketline.shown import shown
from producer.monitor import Snapshot
from producer.top.actions import Actions
from producer.top.panes import Pane
from producer.top.screens import Question, Reading
from producer.top.table import View, heights
from producer.top.views import PANES, headline, view_of

__all__ = ["TopApp"]

_WIDE = 118  #: from so many columns on, everything is shown
_EVERY_S = 1.0
#: how the panes share the screen where not all their rows fit
_SHARES = {"batches": 6, "providers": 5, "workers": 3, "failures": 3}
_HELP = """\
tab        next pane              enter, w   why the batch waits
1 2 3 4    one pane alone         p          pause the batch
0, esc     all panes              r          resume the batch, or a closed route
s  S       sort by next column,   c          cancel the batch (asks first)
           turn the order         space      freeze the picture
/          filter rows            q          leave

Figures of batches, limits and circuits are a second old; what workers
say of themselves (waits, calls in flight, CPU) two or three."""


class TopApp(App[None]):
    """``look`` gives the picture, ``actions`` does what keys ask for."""

    TITLE = "bucketline top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; background: $background; }
    #head { height: 2; background: $panel; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    #word { height: 1; padding: 0 1; color: $warning; display: none; }
    Pane { height: 1fr; min-height: 3; }
    Pane .title { height: 1; padding: 0 1; background: $surface; color: $text-muted; text-style: bold; }
    Pane:focus-within .title { color: $text; background: $primary-darken-2; }
    Pane DataTable { height: 1fr; padding-left: 1; background: $background; scrollbar-size: 1 1; overflow-x: hidden; }
    Pane .datatable--cursor { background: $background; text-style: none; }
    Pane DataTable:focus > .datatable--cursor { background: $primary-darken-3; text-style: bold; }
    .alone Pane { display: none; } .alone Pane.chosen { display: block; }
    #filter { dock: bottom; height: 1; border: none; padding: 0 1; display: none; }
    Question, Reading { align: center middle; background: $background 50%; }
    .window { width: 76; max-width: 96%; height: auto; max-height: 90%; padding: 1 2; background: $panel; border: round $primary; }
    .window .title { text-style: bold; padding-bottom: 1; } .window .keys { color: $text-muted; }
    .window VerticalScroll { height: auto; max-height: 12; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("tab", "focus_next", "pane", show=False),
        Binding("enter,w", "why", "why", key_display="w", priority=False),
        Binding("p", "pause", "pause"),
        Binding("r", "resume", "resume"),
        Binding("c", "cancel", "cancel"),
        Binding("s", "sort", "sort"),
        Binding("S", "turn", "turn the order", show=False),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("space", "freeze", "freeze"),
        Binding("1", "alone('batches')", "alone", key_display="1-4"),
        Binding("2", "alone('providers')", "providers", show=False),
        Binding("3", "alone('workers')", "workers", show=False),
        Binding("4", "alone('failures')", "failures", show=False),
        Binding("0,escape", "together", "all panes", show=False),
        Binding("question_mark", "help", "help", key_display="?"),
    ]

    def __init__(
        self, look: Callable[[], Awaitable[Snapshot]], actions: Actions, *, every_s: float | None = _EVERY_S
    ) -> None:
        """``every_s`` None: look once, at the start; tests turn the page by themselves."""
        super().__init__()
        self._look, self._actions, self._every_s = look, actions, every_s
        self.snapshot: Snapshot | None = None
        self.fault: Exception | None = None  #: of ours, which ended the monitor
        self._looking = self._frozen = False
        self._text = self._word = ""
        self._alone: str | None = None

    def compose(self) -> ComposeResult:
        yield Static("looking …", id="head", markup=False)
        yield Static("", id="word", markup=False)
        for name in PANES:
            yield Pane(name)
        yield Input(placeholder="show rows with …", id="filter")
        yield Footer(compact=True)

    async def on_mount(self) -> None:
        self._pane("batches").table.focus()
        if self._every_s is not None:
            self.set_interval(self._every_s, self.look_again)
        await self.look_again()

    async def on_resize(self, _: Resize) -> None:
        self._draw()

    async def look_again(self) -> None:
        """Look once and draw; a look that is still under way is not overtaken."""
        if self._looking or self._frozen:
            return
        self._looking = True
        try:
            self.snapshot = await self._look()
        except (RedisError, OSError, BucketlineError) as error:
            self._say(f"Redis does not answer ({type(error).__name__}); this picture is old. Trying again.")
            self._draw()
        else:
            self._say("")
            self._draw()
        finally:
            self._looking = False

    def _handle_exception(self, error: Exception) -> None:
        """A fault of ours ends the monitor; the command says so in a sentence, where textual would show a traceback."""
        if self.is_headless:  # a test wants to see it
            super()._handle_exception(error)
        elif self.fault is None:
            self.fault = error
            self.exit(return_code=1)

    # ── drawing ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _draw(self) -> None:
        if self.snapshot is None:
            return
        first, second = headline(self.snapshot)
        frozen = "frozen at " if self._frozen else ""
        self.query_one("#head", Static).update(f"{frozen}{first}\n{second}")
        names = [name for name in PANES if self._alone in (None, name)]
        views = [self._view(name, self.snapshot) for name in names]
        room = self.size.height - 3 - bool(self._word)  # less the head and the keys
        lines = heights([len(view.rows) for view in views], [_SHARES[name] for name in names], room)
        for name, view, height in zip(names, views, lines, strict=True):
            self._pane(name).show(view, self.size.width, height)

    def _view(self, name: str, snapshot: Snapshot) -> View:
        pane, wide = self._pane(name), self.size.width >= _WIDE
        full = wide or self._alone == name
        return view_of(name, snapshot, wide=wide, full=full, text=self._text, sort=pane.sort, down=pane.down)

    def _pane(self, name: str) -> Pane:
        return self.query_one(f"#{name}", Pane)

    def _say(self, word: str) -> None:
        if word != self._word:
            self._word = word
            line = self.query_one("#word", Static)
            line.update(shown(word))
            line.styles.display = "block" if word else "none"

    @property
    def _here(self) -> Pane:
        """The pane that has the keys."""
        return next((pane for pane in self.query(Pane) if pane.has_focus_within), self._pane(self._alone or "batches"))

    @property
    def _batch(self) -> str | None:
        return self._pane("batches").selected

    # ── keys that only change the picture ─────────────────────────────────────────────────────────────────────────

    def action_alone(self, name: str) -> None:
        self._alone = name
        self.screen.add_class("alone")
        for pane in self.query(Pane):
            pane.set_class(pane.name == name, "chosen")
        self._pane(name).table.focus()
        self._draw()

    def action_together(self) -> None:
        self._alone = None
        self.screen.remove_class("alone")
        self._draw()

    def action_sort(self) -> None:
        pane = self._here
        if self.snapshot is not None:
            pane.next_sort(view_of(pane.name or "", self.snapshot, wide=self.size.width >= _WIDE).columns)
            self._draw()

    def action_turn(self) -> None:
        self._here.down = not self._here.down
        self._draw()

    def action_freeze(self) -> None:
        self._frozen = not self._frozen
        self._draw()

    def action_filter(self) -> None:
        entry = self.query_one("#filter", Input)
        entry.styles.display = "block"
        entry.value = self._text
        entry.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._text = event.value
        self._draw()

    def on_input_submitted(self, _: Input.Submitted) -> None:
        self.query_one("#filter", Input).styles.display = "none"
        self._here.table.focus()

    def action_help(self) -> None:
        self.push_screen(Reading("Keys", _HELP))

    # ── keys that do something ────────────────────────────────────────────────────────────────────────────────────

    async def action_why(self) -> None:
        batch_id = self._batch
        if batch_id is not None and self.snapshot is not None:
            words = await self._actions.why(batch_id, self.snapshot)
            self.push_screen(Reading(f"What {batch_id} waits for", "\n".join(f"- {one}" for one in words)))

    async def on_data_table_row_selected(self) -> None:
        await self.action_why()

    async def action_pause(self) -> None:
        if self._batch is not None:
            await self._do(self._actions.pause(self._batch))

    async def action_resume(self) -> None:
        pane = self._here
        if pane.name == "providers" and pane.selected and self.snapshot and pane.selected in self.snapshot.circuits:
            await self._do(self._actions.resume_route(pane.selected))
        elif self._batch is not None:
            await self._do(self._actions.resume(self._batch))

    def action_cancel(self) -> None:
        batch_id = self._batch
        if batch_id is None:
            return

        async def answered(yes: bool | None) -> None:
            if yes:
                await self._do(self._actions.cancel(batch_id))

        question = (
            f"Cancel {batch_id}?\n\nIts lines that are not answered yet will never be; calls in flight are cut off."
        )
        self.push_screen(Question(question), answered)

    async def _do(self, deed: Awaitable[str]) -> None:
        self.notify(await deed, markup=False)
        await self.look_again()
