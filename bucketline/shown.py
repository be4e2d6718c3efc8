r"""Text from outside, fit for a person's terminal: nothing in it can move the cursor, recolour, retitle or reorder.

Comes in: a name or a sentence that a stranger may have written (an id, a model, an object's name, a provider's message), or
a JSON document. Goes out: the same with control characters spelled as JSON spells them, ``\u001b``. Called where words are
printed. Lines may break and tabs stay.
"""

from __future__ import annotations

__all__ = ["shown"]

_KEPT = frozenset(map(ord, "\n\t"))
#: the controls of ASCII and Latin-1, and those that turn the direction of what follows
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SPELLED = {code: f"\\u{code:04x}" for code in _CONTROLS if code not in _KEPT}


def shown(text: str) -> str:
    r"""The text with its control characters spelled out.

    >>> shown("a\x1b]0;mine\x07 b\n")
    'a\\u001b]0;mine\\u0007 b\n'
    """
    return text.translate(_SPELLED)
