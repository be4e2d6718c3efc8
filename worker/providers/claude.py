"""What single Claude models accept, as data.

Comes in: a model's name, at Anthropic, on Vertex or on Bedrock. Goes out: its ``Claude``. A name that is no Claude's
is taken to accept everything. Sources: Anthropic's model pages and the errors that its API answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Claude", "claude_of"]

_NAME = re.compile(r"claude-(?:(opus|sonnet|haiku|fable|mythos|instant)-)?v?(\d+)(?:[-.](\d{1,2}))?(?!\d)")
_NEVER = (99, 0)
#: family → the version from which sampling parameters are refused, and the one from which a forced tool is
_FROM = {
    "opus": ((4, 7), (5, 5)),
    "sonnet": ((5, 0), (5, 5)),
    "haiku": ((5, 0), _NEVER),
    "fable": ((5, 0), (5, 1)),
    "mythos": ((5, 0), (5, 1)),
}
_SAMPLING_GONE = "2026-10-21"  #: the API version that knows no sampling parameters


@dataclass(frozen=True, slots=True)
class Claude:
    """One model. ``cap_tokens`` is sent where a line has no cap, since the API wants one."""

    sampling: bool = True
    forced_tool: bool = True
    prefill: bool = True
    effort: bool = True  #: output_config.effort and adaptive thinking; older models take a budget instead
    thinks: bool = True
    cap_tokens: int = 16384


@lru_cache(maxsize=1024)
def claude_of(model: str, api_version: str | None = None) -> Claude:
    """The abilities of a model under an API version (``2023-06-01`` where none is given)."""
    found = _NAME.search(model)
    modern = bool(api_version) and str(api_version) >= _SAMPLING_GONE and str(api_version)[:1].isdigit()
    if found is None:
        return Claude(sampling=not modern)
    version = (int(found[2]), int(found[3] or 0))
    sampling, forced = _FROM.get(found[1] or "", (_NEVER, _NEVER))
    return Claude(
        sampling=version < sampling and not modern,
        forced_tool=version < forced,
        prefill=version < (4, 6),
        effort=version >= (4, 6),
        thinks=version >= (3, 7),
        cap_tokens=4096 if version < (3, 5) else 8192 if version < (3, 7) else 16384,
    )
