"""Dice that fall the same way for the same request.

In: the simulator's seed, who is asked, the request's bytes and how many times these bytes were seen before. Out:
numbers in [0, 1) that depend on nothing else, so that neither the order of arrival nor a clock changes what happens.
The server makes one pair for each request; weather and answers draw from it. Holds no state and reads no clock.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from statistics import NormalDist
from typing import Final

__all__ = ["Dice", "identity_of", "key_of"]

_SIZE: Final = 8  #: bytes of a number; a digest of 64 holds eight
_SPAN: Final = 2.0**53
_inverse_normal = NormalDist().inv_cdf


def key_of(seed: int, *names: str) -> bytes:
    """The 16-byte key of everything drawn under this seed and these names."""
    return blake2b("\0".join((str(seed), *names)).encode(), digest_size=16).digest()


def identity_of(key: bytes, path: str, body: bytes) -> bytes:
    """16 bytes that stand for a request: the same path and bytes under the same key give the same."""
    digest = blake2b(path.encode("utf-8", "surrogateescape"), key=key, digest_size=16)
    digest.update(b"\0")
    digest.update(body)
    return digest.digest()


class Dice:
    """Eight numbers in [0, 1) for each face, a face being a purpose such as 1 for the weather."""

    __slots__ = ("_digest",)

    def __init__(self, key: bytes, identity: bytes, nth: int, face: int) -> None:
        salt = nth.to_bytes(8, "little") + face.to_bytes(8, "little")
        self._digest = blake2b(identity, key=key, salt=salt).digest()

    def uniform(self, place: int) -> float:
        """The number at this place (0 to 7), in [0, 1)."""
        number = int.from_bytes(self._digest[place * _SIZE : place * _SIZE + _SIZE], "little") >> 11
        return number / _SPAN  # 53 bits, all that a float holds, so that it never rounds up to 1

    def between(self, place: int, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.uniform(place)

    def lognormal(self, place: int, median: float, sigma: float) -> float:
        """A lognormal number with this median; sigma is the deviation of its natural logarithm."""
        if sigma <= 0 or median <= 0:
            return median
        return median * math.exp(sigma * _inverse_normal(max(self.uniform(place), 1e-12)))

    def pareto(self, place: int, alpha: float) -> float:
        """A Pareto number of at least 1; the smaller alpha, the heavier the tail."""
        return float((1.0 - self.uniform(place)) ** (-1.0 / alpha))
