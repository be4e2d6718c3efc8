"""A body's members, taken one by one, so that what nobody took can be named.

Comes in: one object of a body. Goes out: its values, and at the end the names of those that were never asked for.
An object owns those inside it that it was asked for, so that finishing the body finishes them all.
Called by the readers of ``forms``; a null counts as absent, as it does with every provider.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Members", "camel_to_snake"]


class Members:
    """One object and which of its members were taken. Both spellings of a name are one: ``topP`` and ``top_p``."""

    def __init__(self, document: Any, place: str = "", lost: list[str] | None = None) -> None:
        self._document: Mapping[str, Any] = document if isinstance(document, dict) else {}
        self._place = place
        self._taken: set[str] = set()
        self._inner: list[Members] = []
        self._settled = False  #: lost whole, or finished: nothing more is named
        self.given = document is not None
        self.lost: list[str] = [] if lost is None else lost
        if document is not None and not isinstance(document, dict):
            self.lost.append(place or "body")

    def take(self, name: str) -> Any:
        """The value of a member, None where it is absent."""
        for spelling in (name, camel_to_snake(name)):
            if spelling in self._document:
                self._taken.add(spelling)
                return self._document[spelling]
        return None

    def text(self, name: str) -> str | None:
        value: str | None = self._typed(name, str)
        return value

    def object(self, name: str) -> dict[str, Any] | None:
        """An object as it is, whatever stands in it: a schema, say."""
        value: dict[str, Any] | None = self._typed(name, dict)
        return value

    def flag(self, name: str) -> bool | None:
        value: bool | None = self._typed(name, bool)
        return value

    def whole(self, name: str) -> int | None:
        value = self.take(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        whole: int | None = self._fitting(name, value, isinstance(value, int) and not isinstance(value, bool))
        return whole

    def number(self, name: str) -> float | None:
        value = self.take(name)
        number: float | None = self._fitting(
            name, value, isinstance(value, int | float) and not isinstance(value, bool)
        )
        return number

    def inner(self, name: str) -> Members:
        """An object inside; an absent one is empty. Its losses are named here."""
        return self._own(self.take(name), self.at(name))

    def each(self, name: str) -> Iterator[Members]:
        """The objects of a list inside."""
        yield from self.several(name, self.take(name))

    def several(self, name: str, value: Any) -> Iterator[Members]:
        """Each object of a list that was taken already; whatever else stands there is lost by name."""
        if isinstance(value, list):
            for at, one in enumerate(value):
                yield self._own(one, f"{self.at(name)}[{at}]")
        elif value is not None:
            self.lost.append(self.at(name))

    def strings(self, name: str) -> tuple[str, ...]:
        """A string, or a list of strings."""
        value = self.take(name)
        if isinstance(value, str):
            return (value,)
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return tuple(value)
        if value is not None:
            self.lose(name)
        return ()

    def texts(self, name: str) -> dict[str, str]:
        """An object of strings: a provider's metadata or labels."""
        value = self.take(name)
        if isinstance(value, dict) and all(isinstance(one, str) for one in value.values()):
            return value
        if value is not None:
            self.lose(name)
        return {}

    def skip(self, *names: str) -> None:
        """Members that are taken care of elsewhere, or change no answer."""
        for name in names:
            self.take(name)

    def skip_if(self, name: str, *harmless: Any) -> None:
        """A member that says nothing when it has one of these values."""
        if self.take(name) not in (None, *harmless):
            self.lose(name)

    def lose(self, name: str = "", why: str = "") -> None:
        place = self.at(name) if name else self._place
        self._settled = self._settled or not name
        self.lost.append(f"{place} ({why})" if why else place)

    def at(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name

    def finish(self) -> None:
        """Name what was never taken, here and further in; nothing more where the whole object is lost already."""
        if self._settled:
            return
        self._settled = True
        for name, value in self._document.items():
            if name not in self._taken and value is not None:
                self.lose(str(name))
        for inner in self._inner:
            inner.finish()

    def _own(self, document: Any, place: str) -> Members:
        inner = Members(document, place, self.lost)
        self._inner.append(inner)
        return inner

    def _typed(self, name: str, kind: type) -> Any:
        value = self.take(name)
        return self._fitting(name, value, isinstance(value, kind))

    def _fitting(self, name: str, value: Any, fits: bool) -> Any:
        if value is None or fits:
            return value
        self.lose(name)
        return None


def camel_to_snake(name: str) -> str:
    """``maxOutputTokens`` → ``max_output_tokens``; a name without capitals is itself."""
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)
