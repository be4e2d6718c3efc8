"""The scopes of the gate as they stand in Redis: what is allowed, what is used, who waits, and why.

Comes in: Redis. Goes out: one ``ScopeState`` for each scope, read without changing anything; and the operator's own
figures, which beat the configured ones until they are taken away. Called by the ``limits`` command, ``status`` and
``top``; admission itself never comes here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from bucketline import keys

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = [
    "DIMENSIONS",
    "FIGURES",
    "Dimension",
    "ScopeState",
    "budget_scope",
    "figure_keys",
    "read_scopes",
    "scope_keys",
    "script",
    "script_source",
    "set_figures",
]

#: figures in tokens or requests a minute → their letter in the state
FIGURES: Mapping[str, str] = {"rpm": "q", "tpm": "t", "input_tpm": "i", "output_tpm": "o"}
#: all figures that can be set, in the order in which they are shown
DIMENSIONS = ("rpm", "tpm", "input_tpm", "output_tpm", "rpd", "tpd", "concurrency")
_USED = {"rpd": "rd", "tpd": "td", "concurrency": "held"}
_SLOT_US = 250_000
_WINDOW_US = 60_750_000


@dataclass(frozen=True, slots=True)
class Dimension:
    """One limit: the figure in force, who set it, and how much of it is used in its own period."""

    name: str
    limit: int
    used: int
    source: str  #: cfg, set, seen; "found" for a concurrency that was found out


@dataclass(frozen=True, slots=True)
class ScopeState:
    """One scope at one moment; times in seconds from then."""

    name: str
    dimensions: tuple[Dimension, ...]
    in_flight: int
    waiting: int
    next_grant_s: float | None  #: None: nobody waits
    paused_s: float | None
    pause_reason: str | None
    day_resets_s: float | None


async def read_scopes(redis: Redis) -> list[ScopeState]:
    """All scopes, by name."""
    names = sorted(member.decode() for member in await redis.smembers(keys.SCOPES))  # type: ignore[misc]
    pipe = redis.pipeline(transaction=False)
    pipe.time()
    for name in names:
        pipe.hgetall(keys.limit_figures(name))
        pipe.hgetall(keys.gate_state(name))
        pipe.zrange(keys.gate_line(name), 0, -1)
        pipe.zrangebyscore(keys.gate_leases(name), "-inf", "+inf", withscores=True)
    (seconds, micros), *found = await pipe.execute()
    now_us = seconds * 1_000_000 + micros
    states = []
    for n, name in enumerate(names):
        figures, state, line, leases = found[4 * n : 4 * n + 4]
        states.append(_state(name, _text(figures), _text(state), line, leases, now_us))
    return states


async def set_figures(redis: Redis, scope: str, figures: Mapping[str, int | None]) -> None:
    """An operator's figures for a scope; None gives a figure back to the configuration. In force at once."""
    args = ["" if value is None else value for pair in figures.items() for value in pair]
    await script(redis, "figures")(keys=figure_keys(scope), args=[scope, "set", *args])


def budget_scope(batch_id: str) -> str:
    """The scope under which a batch's budget is kept."""
    return f"~{batch_id}"


def scope_keys(name: str) -> tuple[str, str, str, str]:
    """The keys of one scope, in the order of ``admit.lua``."""
    return keys.limit_figures(name), keys.gate_state(name), keys.gate_line(name), keys.gate_leases(name)


def figure_keys(scope: str) -> list[str]:
    """The keys of ``figures.lua``."""
    return [keys.limit_figures(scope), keys.gate_state(scope), keys.SCOPES, keys.LIMIT_CHANGES]


def script(redis: Redis, name: str) -> Any:
    """One of the gate's scripts, ready to be called; it loads itself again where Redis has lost it."""
    return redis.register_script(script_source(name))


def script_source(name: str) -> str:
    """The text of one of the gate's scripts, with the part that it stands on before it."""
    parts = ("window", name) if name == "admit" else (name,)
    return "\n".join(files("worker.limiter").joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in parts)


def _state(
    name: str,
    figures: dict[str, str],
    state: dict[str, str],
    line: list[bytes],
    leases: list[tuple[bytes, float]],
    now_us: int,
) -> ScopeState:
    pause_us = int(state.get("nb", 0)) - now_us
    waiting = sum(_waiting(state.get(f"w:{member.decode()}", ""), now_us) for member in line)
    in_flight = sum(int(state.get(f"h:{member.decode()}", 0)) for member, until in leases if until > now_us)
    next_us = int(state.get("next", 0)) - now_us
    return ScopeState(
        name=name,
        dimensions=tuple(_dimensions(figures, state, in_flight, now_us)),
        in_flight=in_flight,
        waiting=waiting,
        next_grant_s=max(0.0, next_us / 1e6) if waiting else None,
        paused_s=pause_us / 1e6 if pause_us > 0 else None,
        pause_reason=state.get("nb.why") if pause_us > 0 else None,
        day_resets_s=max(0.0, (int(state["day.until"]) - now_us) / 1e6)
        if "day.until" in state and ("rpd" in figures or "tpd" in figures)
        else None,
    )


def _dimensions(figures: dict[str, str], state: dict[str, str], in_flight: int, now_us: int) -> list[Dimension]:
    found = []
    for name in DIMENSIONS:
        if name not in figures:
            continue
        limit = int(figures[name])
        sources = [source for source in ("seen", "set", "cfg") if figures.get(f"{source}.{name}") == figures[name]]
        if name in FIGURES:
            used = _in_window(state, FIGURES[name], now_us)
        else:
            used = in_flight if name == "concurrency" else int(state.get(_USED[name], 0))
        found.append(Dimension(name, limit, used, sources[0] if sources else "cfg"))
    if "aimd" in state:
        found.append(Dimension("concurrency", int(state["aimd"]), in_flight, "found"))
    return found


def _in_window(state: dict[str, str], letter: str, now_us: int) -> int:
    """The script's own sum, without what has left the window since it last ran."""
    gone = (now_us - _WINDOW_US) // _SLOT_US - 1
    prefix = f"{letter}:"
    return sum(int(value) for field, value in state.items() if field.startswith(prefix) and int(field[2:]) > gone)


def _waiting(word: str, now_us: int) -> int:
    seen_us, _, count = word.partition(" ")
    return int(count) if count and now_us - int(seen_us) <= 2_000_000 else 0


def _text(part: dict[bytes, bytes]) -> dict[str, str]:
    return {field.decode(): value.decode() for field, value in part.items()}
