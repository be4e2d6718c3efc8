"""What an ``s3://`` address says, and what follows from it for the calls.

Comes in: ``s3://bucket/prefix?option=value&…``. Goes out: ``S3Options``. Credentials, endpoint and region come from the
SDK's usual places (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL_S3``, profiles, roles) and never from the address; a wrong
address raises UsageError without repeating a secret that may stand in it.

| option         | meaning                                                              | absent                      |
| -------------- | -------------------------------------------------------------------- | --------------------------- |
| endpoint       | where the store is, instead of AWS_ENDPOINT_URL_S3                   | the SDK's                   |
| region         | the bucket's region                                                  | the SDK's                   |
| addressing     | path or virtual: where the bucket's name goes                        | path off AWS, else the SDK's |
| sse            | AES256, aws:kms or aws:kms:dsse                                      | the bucket's default        |
| sse_kms_key_id | the key for aws:kms                                                  | the account's               |
| checksums      | when_required or when_supported: the SDK's own checksums             | when_required off AWS       |
| patience_s     | how long a store that is away is waited for                          | 300                         |
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import parse_qsl

from bucketline.errors import UsageError

__all__ = ["S3Options", "is_aws", "read_s3_address"]

_CHOICES = {
    "addressing": ("path", "virtual"),
    "sse": ("AES256", "aws:kms", "aws:kms:dsse"),
    "checksums": ("when_required", "when_supported"),
}
_NAMES = ("endpoint", "region", "addressing", "sse", "sse_kms_key_id", "checksums", "patience_s")
_AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws")


@dataclass(frozen=True, slots=True)
class S3Options:
    """One bucket and a prefix in it, which is empty or ends in ``/``."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    addressing: Literal["path", "virtual"] | None = None
    sse: str | None = None
    sse_kms_key_id: str | None = None
    checksums: Literal["when_required", "when_supported"] | None = None
    patience_s: float | None = None

    @property
    def address(self) -> str:
        """For people: without options."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def encryption(self) -> dict[str, str]:
        """What every call that makes an object says."""
        said = {"ServerSideEncryption": self.sse, "SSEKMSKeyId": self.sse_kms_key_id}
        return {name: value for name, value in said.items() if value}


def is_aws(endpoint: str) -> bool:
    """Whether an endpoint is Amazon's own, where newer features may be relied upon."""
    host = endpoint.split("://", 1)[-1].split("/", 1)[0].rsplit(":", 1)[0]
    return host.endswith(_AWS_DOMAINS)


def read_s3_address(address: str) -> S3Options:
    """Take an address apart. Raises UsageError."""
    place, _, query = address.removeprefix("s3://").partition("?")
    bucket, _, prefix = place.partition("/")
    if "@" in bucket or ":" in bucket:
        raise UsageError("An s3:// address holds no keys and no port; set AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL_S3.")
    if not bucket:
        raise UsageError("The s3:// address names no bucket; write s3://bucket/prefix.")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in options.items():
        _check(name, value)
    prefix = prefix.rstrip("/") + "/" if prefix.strip("/") else ""
    return S3Options(
        bucket=bucket,
        prefix=prefix,
        endpoint=options.get("endpoint"),
        region=options.get("region"),
        addressing=cast('Literal["path", "virtual"] | None', options.get("addressing")),
        sse=options.get("sse"),
        sse_kms_key_id=options.get("sse_kms_key_id"),
        checksums=cast('Literal["when_required", "when_supported"] | None', options.get("checksums")),
        patience_s=float(options["patience_s"]) if "patience_s" in options else None,
    )


def _check(name: str, value: str) -> None:
    if name not in _NAMES:
        near = difflib.get_close_matches(name, _NAMES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_NAMES)}."
        raise UsageError(f"The store's address has an unknown option {name!r}; {hint}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise UsageError(f"The store's option {name} is {' or '.join(_CHOICES[name])}, not {value!r}.")
    if name == "patience_s" and not value.replace(".", "", 1).isdigit():
        raise UsageError(f"The store's option patience_s is a number of seconds, not {value!r}.")
