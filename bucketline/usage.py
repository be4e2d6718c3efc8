"""Token usage in one meaning for every provider.

Comes in: the counts an adapter read out of a provider's answer. Goes out: the ``usage`` block of a line and of the
manifest, and the counts that are priced. ``input_tokens`` counts every prompt token, cached ones too;
``output_tokens`` includes reasoning. An answer without readable usage has ``None`` in place of a ``Usage``, never
zeros, so that a missing figure cannot pass for a free call.
"""

from __future__ import annotations

from typing import Any

from bucketline.value import value

__all__ = ["Usage"]


@value
class Usage:
    """Tokens of one call or of a sum of calls; all counts are tokens, none is negative."""

    input_tokens: int = 0
    cached_input_tokens: int = 0  #: part of input
    cache_write_tokens: int = 0  #: part of input, all lifetimes together
    cache_write_1h_tokens: int = 0  #: part of cache_write_tokens
    output_tokens: int = 0
    reasoning_tokens: int = 0  #: part of output
    audio_input_tokens: int = 0  #: part of input
    audio_output_tokens: int = 0  #: part of output
    image_input_tokens: int = 0  #: part of input
    image_output_tokens: int = 0  #: part of output

    @property
    def total_tokens(self) -> int:
        """Everything the provider counts against a tokens-per-minute limit."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, name) + getattr(other, name) for name in _FIELDS))

    def document(self) -> dict[str, int]:
        """The ``usage`` block of the files: the five counts always, the rarer ones only where they are not zero."""
        if self.cache_write_1h_tokens == self.audio_input_tokens == self.audio_output_tokens == 0 and (
            self.image_input_tokens == self.image_output_tokens == 0
        ):
            return {
                "input_tokens": self.input_tokens,
                "cached_input_tokens": self.cached_input_tokens,
                "cache_write_tokens": self.cache_write_tokens,
                "output_tokens": self.output_tokens,
                "reasoning_tokens": self.reasoning_tokens,
            }
        return {name: value for name in _FIELDS if (value := getattr(self, name)) or name in _ALWAYS}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Usage:
        """Read the block that ``document`` wrote; unknown keys are ignored."""
        return cls(**{name: int(document.get(name) or 0) for name in _FIELDS})


_FIELDS = tuple(Usage.__dataclass_fields__)
_ALWAYS = frozenset({"input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"})
