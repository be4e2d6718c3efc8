"""The options of an inbox object: from its folder's profile, its metadata, and the file beside it.

Comes in: the settings, the object's metadata, and the bytes of ``NAME.options.toml``. Goes out: the batch's options and how
its lines are to be taken. The later of the three beats the earlier. Names are those of ``bucketline submit``; metadata
carry them as ``bucketline-max-cost`` (S3 spells that ``x-amz-meta-bucketline-max-cost``). Called by ``inbox``. Pure.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from bucketline.batch import BatchOptions
from bucketline.errors import UsageError
from bucketline.settings import Settings
from producer.batch_writer import Handling
from producer.inbox_names import options_key, profile_of
from producer.options import batch_options

__all__ = ["upload_options"]

_PREFIX = "bucketline-"
_PAIR = "metadata-"
_TRUE, _FALSE = frozenset({"true", "yes", "1", "on"}), frozenset({"false", "no", "0", "off"})


def upload_options(
    key: str, settings: Settings, metadata: Mapping[str, str], toml: bytes | None
) -> tuple[BatchOptions, Handling]:
    """What the uploader and the operator asked for. Raises UsageError with one sentence."""
    asked: dict[str, Any] = {}
    profile = profile_of(key)
    if profile is not None:
        asked.update(_spelled(settings.profiles.get(profile, {})))
    asked.update(_of_metadata(metadata))
    if toml is not None:
        asked.update(_of_toml(key, toml))
    strict = _flag("strict", asked.pop("strict", False))
    duplicates = str(asked.pop("duplicates", "refuse"))
    if duplicates not in {"refuse", "number"}:
        raise UsageError(f"The option duplicates is {duplicates!r}; it is refuse or number.")
    return batch_options(None, asked), Handling(strict=strict, number_duplicates=duplicates == "number")


def _spelled(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("-", "_").lower(): value for name, value in options.items()}


def _of_metadata(metadata: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pairs: dict[str, str] = {}
    for name, value in metadata.items():
        lower = name.lower().replace("_", "-")
        if not lower.startswith(_PREFIX):
            continue
        option = lower.removeprefix(_PREFIX)
        if option.startswith(_PAIR):
            pairs[option.removeprefix(_PAIR)] = value
        else:
            found[option.replace("-", "_")] = value
    if pairs:
        found["metadata"] = pairs
    return found


def _of_toml(key: str, raw: bytes) -> dict[str, Any]:
    try:
        return _spelled(tomllib.loads(raw.decode("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{options_key(key)} is not TOML: {error}.") from None


def _flag(name: str, value: Any) -> bool:
    text = str(value).lower()
    if text not in _TRUE | _FALSE:
        raise UsageError(f"The option {name} is {value!r}; it is true or false.")
    return text in _TRUE
