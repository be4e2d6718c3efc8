"""The monitor's screen: five pictures, and what each key does.

The pictures lie in ``docs/top`` as textual draws them. ``BUCKETLINE_PICTURES=write`` draws them anew. With another version of
textual than that of ``constraints.txt`` only the words on the screen are compared, since colours and spacing may differ.
"""

from __future__ import annotations

import html
import os
import re
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError
from textual.pilot import Pilot

from producer.monitor import Snapshot
from producer.top.app import TopApp
from producer.top.table import heights
from producer.why import causes
from tests.unit.watching.scenes import DONE, EVAL, MAIL, busy, idle, storm

ROOT = Path(__file__).parents[3]
PICTURES = ROOT / "docs" / "top"
WRITE = os.environ.get("BUCKETLINE_PICTURES") == "write"
SMALL, LARGE = (80, 24), (124, 38)


class Deeds:
    """What the keys asked for."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []

    async def pause(self, batch_id: str) -> str:
        return self._note("pause", batch_id)

    async def resume(self, batch_id: str) -> str:
        return self._note("resume", batch_id)

    async def cancel(self, batch_id: str) -> str:
        return self._note("cancel", batch_id)

    async def resume_route(self, name: str) -> str:
        return self._note("resume_route", name)

    async def why(self, batch_id: str, snapshot: Snapshot) -> list[str]:
        batch = snapshot.batch(batch_id)
        assert batch is not None
        return [cause.sentence for cause in causes(batch, snapshot)]

    def _note(self, deed: str, name: str) -> str:
        self.done.append((deed, name))
        return f"{deed} {name}"


def monitor(scene: Callable[[], Snapshot]) -> tuple[TopApp, Deeds]:
    async def look() -> Snapshot:
        return scene()

    deeds = Deeds()
    return TopApp(look, deeds, every_s=None), deeds


def words_of(svg: str) -> list[str]:
    """The lines of the screen, less the blanks between words."""
    lines: dict[float, list[str]] = defaultdict(list)
    for y, text in re.findall(r'<text [^>]*\by="([\d.]+)"[^>]*>([^<]*)</text>', svg):
        lines[float(y)] += html.unescape(text).split()
    return [" ".join(lines[y]) for y in sorted(lines)]


def pinned() -> bool:
    return f"textual=={version('textual')}\n" in (ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize(
    ("name", "scene", "size", "keys"),
    [
        ("idle", idle, SMALL, ()),
        ("busy", busy, SMALL, ()),
        ("storm", storm, LARGE, ()),
        ("cancel", busy, SMALL, ("down", "c")),
        ("why", storm, SMALL, ("w",)),
    ],
)
async def test_a_moment_of_the_line_looks_as_in_the_documentation(
    name: str, scene: Callable[[], Snapshot], size: tuple[int, int], keys: tuple[str, ...]
) -> None:
    app, _ = monitor(scene)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        for key in keys:
            await pilot.press(key)
        await pilot.pause()
        drawn = app.export_screenshot(title="bucketline top")
    kept = PICTURES / f"{name}.svg"
    if WRITE:
        kept.write_text(drawn, encoding="utf-8")
    assert words_of(drawn) == words_of(kept.read_text(encoding="utf-8"))
    if pinned():
        assert drawn == kept.read_text(encoding="utf-8")


def shown(app: TopApp) -> str:
    return "\n".join(words_of(app.export_screenshot()))


async def press(pilot: Pilot[None], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
    await pilot.pause()


async def test_everything_fits_a_small_terminal() -> None:
    """No column is cut off at 80 columns, and no pane scrolls sideways."""
    app, _ = monitor(storm)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.pause()
        for table in app.query("DataTable"):
            assert table.virtual_size.width <= table.size.width


@given(st.lists(st.integers(0, 60), min_size=1, max_size=4), st.integers(0, 60))
def test_panes_fill_the_screen_and_hide_no_row_while_there_is_room(rows: list[int], more: int) -> None:
    """A blank line in one pane beside a hidden row in another is what made people scroll."""
    room = 3 * len(rows) + more
    found = heights(rows, [6, 5, 3, 3][: len(rows)], room)
    assert sum(found) == room
    assert min(found) >= 3
    hidden = [n for n, count in enumerate(rows) if found[n] < count + 2]
    idle = [n for n, count in enumerate(rows) if found[n] > max(3, count + 2)]
    assert not (hidden and idle)
    assert idle in ([], [len(rows) - 1])


async def test_all_of_a_middling_line_is_on_a_small_screen() -> None:
    app, _ = monitor(busy)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.pause()
        for table in app.query("DataTable"):
            assert table.virtual_size.height <= table.size.height


async def test_pause_and_resume_act_on_the_row_under_the_cursor() -> None:
    app, deeds = monitor(busy)
    async with app.run_test(size=SMALL) as pilot:
        await press(pilot, "p", "down", "r")
        assert deeds.done == [("pause", EVAL), ("resume", MAIL)]


async def test_cancel_asks_first_and_takes_no_for_an_answer() -> None:
    app, deeds = monitor(busy)
    async with app.run_test(size=SMALL) as pilot:
        await press(pilot, "c", "n")
        await press(pilot, "c", "enter")
        await press(pilot, "c", "escape")
        assert deeds.done == []
        await press(pilot, "c", "y")
        assert deeds.done == [("cancel", EVAL)]


async def test_a_closed_account_is_resumed_from_its_row() -> None:
    app, deeds = monitor(storm)
    async with app.run_test(size=LARGE) as pilot:
        await press(pilot, "2", "down", "down", "r")
        assert deeds.done == [("resume_route", "llmapi")]


async def test_a_pane_alone_shows_every_limit_and_escape_brings_the_others_back() -> None:
    app, _ = monitor(busy)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.pause()
        assert "rpm" not in shown(app).partition("moonshot")[2].partition("kimi")[0], "only the tightest, to save rows"
        await press(pilot, "2")
        text = shown(app)
        assert "rpm" in text.partition("moonshot")[2].partition("kimi")[0]
        assert "workers: 3" not in text
        await press(pilot, "escape")
        assert "workers: 3" in shown(app)


async def test_sorting_goes_through_the_columns_and_can_be_turned() -> None:
    app, _ = monitor(busy)
    async with app.run_test(size=SMALL) as pilot:
        for _ in range(4):
            await press(pilot, "s")
        assert "batches: 2 live, 1 over, by done" in shown(app)
        pane = app._pane("batches")
        assert list(pane._rows) == [DONE, EVAL, MAIL]
        await press(pilot, "S")
        assert list(pane._rows) == [MAIL, EVAL, DONE]


async def test_a_filter_narrows_every_pane_and_is_taken_away_again() -> None:
    app, _ = monitor(busy)
    async with app.run_test(size=SMALL) as pilot:
        await press(pilot, "slash", *"mail", "enter")
        assert list(app._pane("batches")._rows) == [MAIL]
        await press(pilot, "slash", *["backspace"] * 4, "enter")
        assert len(app._pane("batches")._rows) == 3


async def test_the_cursor_stays_on_its_batch_when_rows_move() -> None:
    moment = {"scene": busy()}

    async def look() -> Snapshot:
        return moment["scene"]

    app = TopApp(look, Deeds(), every_s=None)
    async with app.run_test(size=SMALL) as pilot:
        await press(pilot, "down")
        assert app._batch == MAIL
        moment["scene"] = storm()
        await app.look_again()
        await pilot.pause()
        assert app._batch == MAIL


async def test_a_frozen_picture_stays_and_goes_on() -> None:
    looks = []

    async def look() -> Snapshot:
        looks.append(1)
        return busy()

    app = TopApp(look, Deeds(), every_s=None)
    async with app.run_test(size=SMALL) as pilot:
        await press(pilot, "space")
        await app.look_again()
        assert len(looks) == 1
        assert "frozen at 12:30:00" in shown(app)
        await press(pilot, "space")
        await app.look_again()
        assert len(looks) == 2


async def test_redis_away_leaves_the_last_picture_and_says_so() -> None:
    broken = []

    async def look() -> Snapshot:
        if broken:
            raise RedisConnectionError("gone")
        return busy()

    app = TopApp(look, Deeds(), every_s=None)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.pause()
        broken.append(1)
        await app.look_again()
        await pilot.pause()
        text = shown(app)
        assert "Redis does not answer (ConnectionError)" in text
        assert "evaluation" in text or "evalu" in text
        broken.clear()
        await app.look_again()
        await pilot.pause()
        assert "does not answer" not in shown(app)


async def test_rows_without_anything_in_them_take_no_key_amiss() -> None:
    app, deeds = monitor(idle)
    async with app.run_test(size=SMALL) as pilot:
        await press(pilot, "p", "r", "c", "w", "s", "S", "2", "r", "0", "question_mark", "escape")
        assert deeds.done == []
