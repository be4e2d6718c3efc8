"""Which objects of the inbox are uploads, and when they are whole."""

from __future__ import annotations

import pytest

from bucketline.store import Stat
from producer.inbox_names import Stillness, full_name_of, is_upload, name_of, options_key, profile_of


@pytest.mark.parametrize(
    "key",
    ["inbox/x.jsonl", "inbox/a b+c%20.jsonl", "inbox/ü/é.jsonl.gz", "inbox/x.JSONL.zst", "inbox/a/b/c.jsonl", "inbox/x.y.jsonl"],
)  # fmt: skip
def test_uploads_are_known_by_their_end(key):
    assert is_upload(key)


@pytest.mark.parametrize(
    "key",
    [
        "inbox/", "inbox/a/", "inbox/x.jsonl.part", "inbox/x.jsonl.filepart", "inbox/.x.jsonl.A1b2", "inbox/.x.jsonl",
        "inbox/~x.jsonl", "inbox/_temporary/x.jsonl", "inbox/.tmp/x.jsonl", "inbox/x.options.toml", "inbox/x.json",
        "inbox/.jsonl", "inbox/a/.jsonl", "outbox/x.jsonl", "x.jsonl", "inbox/x.jsonl.bz2",
    ],
)  # fmt: skip
def test_folder_markers_and_names_of_unfinished_uploads_are_left_alone(key):
    """Upload tools write beside the name and rename at the end; half a file must never be paid for."""
    assert not is_upload(key)


def test_an_uploads_names():
    key = "inbox/nightly/x.jsonl.gz"
    assert (name_of(key), full_name_of(key)) == ("nightly/x", "nightly/x.jsonl.gz")
    assert options_key(key) == "inbox/nightly/x.options.toml"
    assert (profile_of(key), profile_of("inbox/x.jsonl")) == ("nightly", None)


def stat(size: int, etag: str = "e", modified_s: float = 1000.0) -> Stat:
    return Stat("inbox/x.jsonl", size, etag, modified_s)


def test_an_object_is_whole_when_it_has_been_still():
    """A file that grows in a shared folder, or is put twice in a row, is waited for."""
    still = Stillness(settle_s=2.0)
    assert still.look([stat(5)], 10.0, 1000.0) == []
    assert still.due_s == 12.0
    assert still.look([stat(9)], 11.0, 1001.0) == []
    assert still.look([stat(9, "f")], 12.5, 1002.5) == []
    assert still.look([stat(9, "f")], 14.4, 1004.4) == []
    assert still.look([stat(9, "f")], 14.5, 1004.5) == [stat(9, "f")]
    assert still.due_s is None


def test_an_old_object_is_whole_at_first_sight_and_clocks_may_differ_by_a_minute():
    still = Stillness(settle_s=2.0)
    assert still.look([stat(5)], 10.0, 1059.0) == []
    assert Stillness(settle_s=2.0).look([stat(5)], 10.0, 1063.0) == [stat(5)]


def test_an_object_that_went_away_is_forgotten():
    still = Stillness(settle_s=2.0)
    still.look([stat(5)], 10.0, 1000.0)
    still.look([], 11.0, 1001.0)
    assert still.look([stat(5)], 12.5, 1002.5) == []
