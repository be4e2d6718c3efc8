"""Options from every door: one set of names, one sentence when something is wrong."""

from __future__ import annotations

import pytest

from bucketline.batch import BatchOptions
from bucketline.errors import UsageError
from bucketline.settings import Settings
from producer.inbox_options import upload_options
from producer.options import batch_options, metadata_pairs, window_seconds


def test_the_commands_spellings_and_the_fields_names_are_both_known():
    asked = {"max-cost": "2.50", "window": "1d12h", "priority": 7, "model": None}
    assert batch_options(None, asked) == BatchOptions(max_usd="2.5", window_s=129600, priority=7)
    assert batch_options(BatchOptions(priority=1, raw=True), {"priority": 3}) == BatchOptions(priority=3, raw=True)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"max_cots": "1"}, "Did you mean 'max_cost'"),
        ({"max_cost": "one"}, "max_cost"),
        ({"window": "soon"}, "24h"),
        ({"priority": 12}, "priority"),
        ({"on_budget": "explode"}, "on_budget"),
    ],
)
def test_a_wrong_option_is_named_in_one_sentence(asked, said):
    with pytest.raises(UsageError, match=said) as caught:
        batch_options(None, asked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("24h", 86400), ("7d", 604800), ("1.5h", 5400)])
def test_windows_are_spans_of_time(text, seconds):
    assert window_seconds(text) == seconds


def test_metadata_are_pairs():
    assert metadata_pairs(["a=b", "c=d=e"]) == {"a": "b", "c": "d=e"}
    with pytest.raises(UsageError, match="KEY=VALUE"):
        metadata_pairs(["a"])


def test_an_uploads_options_come_from_profile_metadata_and_file_the_later_beats_the_earlier():
    settings = Settings.model_validate({"profiles": {"nightly": {"max-cost": "9", "priority": 1, "strict": True}}})
    metadata = {"bucketline-Priority": "2", "bucketline-metadata-team": "red", "other": "x"}
    toml = b'window = "2h"\nmax-cost = "3"\n[metadata]\nteam = "blue"\n'
    options, how = upload_options("inbox/nightly/x.jsonl", settings, metadata, toml)
    assert options == BatchOptions(max_usd="3", priority=2, window_s=7200, metadata={"team": "blue"})
    assert how.strict
    assert upload_options("inbox/x.jsonl", settings, {}, None)[0] == BatchOptions()


@pytest.mark.parametrize(
    ("metadata", "toml", "said"),
    [
        ({"bucketline-strict": "perhaps"}, None, "strict"),
        ({"bucketline-duplicates": "drop"}, None, "refuse or number"),
        ({}, b"window = ", r"inbox/x\.options\.toml is not TOML"),
        ({"bucketline-maxcost": "1"}, None, "max_cost"),
    ],
)
def test_a_wrong_option_of_an_upload_is_named(metadata, toml, said):
    with pytest.raises(UsageError, match=said):
        upload_options("inbox/x.jsonl", Settings(), metadata, toml)
