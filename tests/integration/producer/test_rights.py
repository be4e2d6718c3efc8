"""The documents in ``deploy/s3`` are enough for what they are for, and for no more; judged by a policy simulation."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.integration.e2e.conftest import Command, Simulation, command, configure, simulate
from tests.integration.producer.rights import Rights, allowed
from tests.unit.producer.lines_for_tests import chat_line

__all__ = ["command", "simulate"]

DEPLOY = Path(__file__).parents[3] / "deploy" / "s3"
LINE, UPLOADER = "AKIALINE", "AKIAUPLOADER"


def policy(name: str, bucket: str) -> dict[str, Any]:
    text = (DEPLOY / name).read_text().replace("BUCKET", bucket).replace("PREFIX", "some/prefix")
    return json.loads(text)


@pytest.fixture
def rights(s3_server: str, s3_bucket: str) -> Iterator[Rights]:
    policies = {LINE: policy("line-policy.json", s3_bucket), UPLOADER: policy("uploader-policy.json", s3_bucket)}
    with Rights(s3_server, strict=False, policies=policies) as running:
        yield running


@pytest.fixture
def uploader(rights: Rights) -> Iterator[Any]:
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    client: Any = boto3.client(
        "s3",
        endpoint_url=rights.address,
        region_name="us-east-1",
        aws_access_key_id=UPLOADER,
        aws_secret_access_key="x",
        config=config,
    )
    yield client
    client.close()


def test_a_user_with_only_put_on_the_inbox_and_get_on_the_outbox_completes_the_whole_job(
    command: Command, simulate: Callable[..., Simulation], redis_url: str, rights: Rights, uploader: Any, s3_bucket: str
) -> None:
    """The line works under its own document, the uploader under theirs; neither is refused anything it needs."""
    simulation = simulate("--providers", "1", "--seed", "3")
    configure(command.folder, simulation, redis_url=redis_url, store=f"s3://{s3_bucket}/some/prefix")
    command.env |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    command.env |= {
        "AWS_ENDPOINT_URL_S3": rights.address,
        "AWS_ACCESS_KEY_ID": LINE,
        "SIM_KEY": next(iter(simulation.addresses.values()))["keys"]["main"],
    }
    with (command.folder / "bucketline.toml").open("a") as config:
        config.write("\n[inbox]\npoll_s = 0.2\nsettle_s = 0.0\nstatus_s = 0.2\n")
    line = command.start("work", "--inbox")
    try:
        lines = b"\n".join(chat_line(number) for number in range(20)) + b"\n"
        uploader.put_object(
            Bucket=s3_bucket, Key="some/prefix/inbox/x.jsonl", Body=lines, Metadata={"bucketline-priority": "7"}
        )
        uploader.put_object(Bucket=s3_bucket, Key="some/prefix/inbox/bad.jsonl", Body=b"no json\n")
        found = {
            name: _fetched(uploader, s3_bucket, f"some/prefix/outbox/{name}")
            for name in ("bad/rejected.json", "x/manifest.json", "x/output.jsonl", "x/status.json")
        }
    finally:
        line.send_signal(signal.SIGTERM)
        assert line.wait(timeout=60) == 0
    assert json.loads(found["x/manifest.json"])["counts"]["completed"] == 20
    assert found["x/output.jsonl"].count(b"\n") == 20
    assert [who for who, _, _ in rights.denied if who == LINE] == []
    assert command.run("doctor", code=None).stdout.count("writes, reads, lists and deletes") == 1


def _fetched(client: Any, bucket: str, key: str) -> bytes:
    """The object, once it is there; until then S3 says AccessDenied to who may not list."""
    ends_s = time.monotonic() + 40
    while True:
        try:
            data: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 403 or time.monotonic() > ends_s:
                raise
            time.sleep(0.1)
        else:
            return data


def test_an_uploader_can_do_nothing_else(uploader: Any, rights: Rights, s3_bucket: str, s3_client: Any) -> None:
    for key in ("batches/b/input.jsonl", "inbox/x.jsonl", "outbox/x/manifest.json"):
        s3_client.put_object(Bucket=s3_bucket, Key=f"some/prefix/{key}", Body=b"x")
    s3_client.put_object(Bucket=s3_bucket, Key="other/inbox/x.jsonl", Body=b"x")
    named = {"Bucket": s3_bucket}
    tries: list[Callable[[], Any]] = [
        lambda: uploader.get_object(**named, Key="some/prefix/inbox/x.jsonl"),
        lambda: uploader.get_object(**named, Key="some/prefix/batches/b/input.jsonl"),
        lambda: uploader.get_object(**named, Key="other/inbox/x.jsonl"),
        lambda: uploader.put_object(**named, Key="some/prefix/outbox/x/manifest.json", Body=b"x"),
        lambda: uploader.put_object(**named, Key="some/prefix/batches/b/batch.json", Body=b"x"),
        lambda: uploader.delete_object(**named, Key="some/prefix/inbox/x.jsonl"),
        lambda: uploader.list_objects_v2(**named, Prefix="some/prefix/inbox/"),
        lambda: uploader.copy_object(
            **named, Key="some/prefix/inbox/y.jsonl", CopySource=f"{s3_bucket}/some/prefix/batches/b/input.jsonl"
        ),
    ]
    for each in tries:
        with pytest.raises(ClientError, match="AccessDenied"):
            each()
    assert len(rights.denied) == len(tries)
    assert uploader.get_object(**named, Key="some/prefix/outbox/x/manifest.json")["Body"].read() == b"x"


def test_the_simulation_reads_policies_as_the_reference_says() -> None:
    line = policy("line-policy.json", "b")
    put = "s3:PutObject"
    assert allowed(line, put, "arn:aws:s3:::b/some/prefix/x", {})
    assert not allowed(line, put, "arn:aws:s3:::b/some/other", {})
    assert not allowed(line, "s3:DeleteBucket", "arn:aws:s3:::b", {})
    assert not allowed(line, "s3:ListBucket", "arn:aws:s3:::b", {"s3:prefix": "other/"})
    assert allowed(line, "s3:ListBucket", "arn:aws:s3:::b", {"s3:prefix": "some/prefix/inbox/"})
    denying = {"Statement": [*line["Statement"], {"Effect": "Deny", "Action": put, "Resource": "*"}]}
    assert not allowed(denying, put, "arn:aws:s3:::b/some/prefix/x", {})
