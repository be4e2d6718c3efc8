"""Keys as paths: reversible, inside the folder, in order, for any text."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bucketline.store.paths import OURS, names_of, walk

_SEGMENTS = st.one_of(
    st.sampled_from(["", ".", "..", OURS, ".%", ".%+", "%2F", "a", "a b", "x" * 255, "x" * 256, "y" * 700, "\0", "ü"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), max_size=40),
)
_KEYS = st.lists(_SEGMENTS, min_size=1, max_size=4).map("/".join).filter(bool)


@given(_KEYS)
def test_every_name_is_one_a_file_system_can_hold(key: str) -> None:
    names = names_of(key)
    for name in names:
        assert name not in ("", ".", "..", OURS)
        assert "/" not in name
        assert "\0" not in name
        assert len(os.fsencode(name)) <= 255
    assert os.path.normpath(Path("/root").joinpath(*names)).startswith("/root/")


@given(_KEYS, _KEYS)
def test_two_keys_never_share_a_file(one: str, other: str) -> None:
    assert (names_of(one) == names_of(other)) == (one == other)


@settings(max_examples=60, deadline=None)
@given(st.sets(_KEYS, max_size=8), st.data())
def test_what_was_written_is_listed_in_order_under_any_prefix(keys: set[str], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as root:
        written = []
        for key in sorted(keys):
            path = Path(root).joinpath(*names_of(key))
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(exist_ok=False)
            except OSError:
                continue  # a name that would be both a file and a folder
            written.append(key)
        prefix = data.draw(st.sampled_from(["", *[key[: len(key) // 2] for key in written], *written]))
        assert [key for key, _, _ in walk(root, prefix)] == [key for key in written if key.startswith(prefix)]
