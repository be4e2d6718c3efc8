"""The bad weather before the store, met by a real S3 client with a real store behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.replay.s3proxy import S3Proxy, operation

_OLD_STORE = {
    "refuse_headers": ["x-amz-checksum-*", "x-amz-sdk-checksum-algorithm", "x-amz-trailer"],
    "refuse_content_sha256": ["STREAMING-*"],
    "refuse_reply": {"status": 501, "code": "NotImplemented", "message": "not this header"},
    "omit_response_checksums": True,
}
_SLOW_DOWN = {"status": 503, "code": "SlowDown", "message": "less, please"}


class Through:
    """A client that goes through the weather, and one that does not."""

    def __init__(self, proxy: S3Proxy, direct: Any, bucket: str) -> None:
        self.proxy = proxy
        self.direct = direct
        self.bucket = bucket

    def client(self, **config: Any) -> Any:
        retries = {"total_max_attempts": 1, "mode": "standard"}
        return boto3.client("s3", endpoint_url=self.proxy.address, config=Config(retries=retries, **config))

    async def do(self, call: Callable[..., Any], **more: Any) -> Any:
        return await asyncio.to_thread(call, Bucket=self.bucket, **more)

    async def refusal(self, call: Callable[..., Any], **more: Any) -> tuple[int, str]:
        with pytest.raises(ClientError) as caught:
            await self.do(call, **more)
        answer = caught.value.response
        return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


@asynccontextmanager
async def through(weather: dict[str, Any], upstream: str, direct: Any, bucket: str) -> AsyncIterator[Through]:
    """A proxy with this weather before the store."""
    async with S3Proxy(weather, upstream) as proxy:
        yield Through(proxy, direct, bucket)


async def test_what_is_not_refused_passes_unchanged(s3_environment: str, s3_client: Any, s3_bucket: str) -> None:
    """Odd names, metadata, ranges, conditions, sizes of a HEAD: the store's answers, not ours."""
    key, data = "batches/a b+ü/x=1.jsonl", b'{"n": 1}\n' * 1000
    async with through({}, s3_environment, s3_client, s3_bucket) as it:
        client = it.client()
        await it.do(client.put_object, Key=key, Body=data, Metadata={"line": "1"})
        head = await it.do(client.head_object, Key=key)
        assert (head["ContentLength"], head["Metadata"]) == (len(data), {"line": "1"})
        part = await it.do(client.get_object, Key=key, Range="bytes=9-17")
        assert part["Body"].read() == data[9:18]
        assert (await it.refusal(client.put_object, Key=key, Body=b"", IfNoneMatch="*"))[0] == 412
        assert (await it.refusal(client.get_object, Key="nothing"))[1] == "NoSuchKey"
        listed = await it.do(client.list_objects_v2, Prefix="batches/a b+")
        assert [each["Key"] for each in listed["Contents"]] == [key]
        assert it.proxy.refused == {}
    assert s3_client.get_object(Bucket=s3_bucket, Key=key)["Body"].read() == data


async def test_an_old_store_refuses_the_checksums_of_new_clients(
    s3_environment: str, s3_client: Any, s3_bucket: str
) -> None:
    """The default client is refused as such stores refuse it; one that only sends what it must is not."""
    async with through(_OLD_STORE, s3_environment, s3_client, s3_bucket) as it:
        put = {"Key": "a.jsonl", "Body": b"x"}
        assert await it.refusal(it.client().put_object, **put) == (501, "NotImplemented")
        plain = it.client(request_checksum_calculation="when_required", response_checksum_validation="when_required")
        await it.do(plain.put_object, **put)
        assert it.proxy.refused == {"NotImplemented": 1}


async def test_response_checksums_can_be_left_out(s3_environment: str, s3_client: Any, s3_bucket: str) -> None:
    """The store behind has them; nobody sees them."""
    s3_client.put_object(Bucket=s3_bucket, Key="a", Body=b"x", ChecksumAlgorithm="SHA256")
    asked = {"Key": "a", "ChecksumMode": "ENABLED"}
    for weather, there in (({}, True), ({"omit_response_checksums": True}, False)):
        async with through(weather, s3_environment, s3_client, s3_bucket) as it:
            assert ("ChecksumSHA256" in await it.do(it.client().head_object, **asked)) is there


async def test_a_fault_hits_the_first_so_many_of_its_operation(
    s3_environment: str, s3_client: Any, s3_bucket: str
) -> None:
    """Other operations and excepted keys go through meanwhile and are not counted."""
    fault = {"op": "PutObject", "key": "*", "except_key": "inbox/*", "first_n": 2, "reply": _SLOW_DOWN}
    async with through({"faults": [fault]}, s3_environment, s3_client, s3_bucket) as it:
        client = it.client()
        await it.do(client.put_object, Key="inbox/a", Body=b"x")
        for _ in range(2):
            assert await it.refusal(client.put_object, Key="batches/a", Body=b"x") == (503, "SlowDown")
            await it.do(client.get_object, Key="inbox/a")
        await it.do(client.put_object, Key="batches/a", Body=b"x")
        assert it.proxy.refused == {"SlowDown": 2}


async def test_a_capped_page_goes_on_where_it_ended(s3_environment: str, s3_client: Any, s3_bucket: str) -> None:
    """Whoever does not follow the token sees only the beginning."""
    names = [f"inbox/{n}.jsonl" for n in range(5)]
    for name in names:
        s3_client.put_object(Bucket=s3_bucket, Key=name, Body=b"x")
    async with through({"max_list_keys": 2}, s3_environment, s3_client, s3_bucket) as it:
        client = it.client()
        first = await it.do(client.list_objects_v2, Prefix="inbox/", MaxKeys=1000)
        assert [each["Key"] for each in first["Contents"]] == names[:2]
        assert first["IsTruncated"]
        pages = client.get_paginator("list_objects_v2").paginate
        found = await it.do(lambda **more: [each["Key"] for page in pages(**more) for each in page["Contents"]])
        assert found == names


@pytest.mark.parametrize(
    ("method", "key", "query", "headers", "name"),
    [
        ("PUT", "a", {}, {}, "PutObject"),
        ("PUT", "a", {}, {"x-amz-copy-source": "/b/c"}, "CopyObject"),
        ("PUT", "a", {"partNumber": "1", "uploadId": "u"}, {}, "UploadPart"),
        ("POST", "a", {"uploads": ""}, {}, "CreateMultipartUpload"),
        ("POST", "a", {"uploadId": "u"}, {}, "CompleteMultipartUpload"),
        ("DELETE", "a", {"uploadId": "u"}, {}, "AbortMultipartUpload"),
        ("DELETE", "a", {}, {}, "DeleteObject"),
        ("GET", "a", {}, {}, "GetObject"),
        ("HEAD", "a", {}, {}, "HeadObject"),
        ("GET", "", {"list-type": "2"}, {}, "ListObjectsV2"),
        ("GET", "", {"prefix": "x"}, {}, "ListObjects"),
        ("POST", "", {"delete": ""}, {}, "DeleteObjects"),
        ("HEAD", "", {}, {}, "HeadBucket"),
    ],
)
def test_a_request_is_known_by_its_operation(
    method: str, key: str, query: dict[str, str], headers: dict[str, str], name: str
) -> None:
    """Cases name operations as the S3 API does."""
    assert operation(method, key, query, headers) == name
