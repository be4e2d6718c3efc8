"""``bucketline run s3://…/x.jsonl -o s3://…/out/``: a bucket at both ends, this machine in between."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.e2e.conftest import Command, Simulation, configure
from tests.unit.producer.lines_for_tests import chat_line

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def ready(command: Command, simulate: Callable[..., Simulation], s3_bucket: str, s3_client: S3Client) -> Command:
    simulation = simulate("--providers", "1", "--seed", "3")
    configure(command.folder, simulation)
    command.env |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    command.env |= {
        "SIM_KEY": next(iter(simulation.addresses.values()))["keys"]["main"],
        "XDG_CACHE_HOME": str(command.folder / "cache"),
    }
    lines = b"\n".join(chat_line(number) for number in range(30)) + b"\n"
    s3_client.put_object(Bucket=s3_bucket, Key="in/x.jsonl", Body=lines)
    return command


def test_the_results_of_a_run_lie_in_the_bucket_and_nowhere_else(
    ready: Command, s3_bucket: str, s3_client: S3Client
) -> None:
    done = ready.run("run", f"s3://{s3_bucket}/in/x.jsonl", "-o", f"s3://{s3_bucket}/out/")
    listed = s3_client.list_objects_v2(Bucket=s3_bucket, Prefix="out/")["Contents"]
    assert {one["Key"] for one in listed} == {
        f"out/{name}" for name in ("output.jsonl", "errors.jsonl", "manifest.json", "manifest.md")
    }
    manifest = json.loads(s3_client.get_object(Bucket=s3_bucket, Key="out/manifest.json")["Body"].read())
    assert manifest["counts"]["completed"] == 30
    assert manifest["source"] == f"s3://{s3_bucket}/in/x.jsonl"
    assert f"s3://{s3_bucket}/out/output.jsonl" in done.stderr
    assert [path for path in (ready.folder / "cache").rglob("*") if path.is_file()] == []


def test_a_finished_run_into_a_bucket_is_neither_paid_again_nor_written_over(
    ready: Command, s3_bucket: str, s3_client: S3Client
) -> None:
    asked = ("run", f"s3://{s3_bucket}/in/x.jsonl", "-o", f"s3://{s3_bucket}/out/")
    ready.run(*asked)
    paid = s3_client.get_object(Bucket=s3_bucket, Key="out/manifest.json")["Body"].read()
    del ready.env["SIM_KEY"]  # whatever was sent now would fail

    again = ready.run(*asked, "--resume")
    assert "nothing was sent" in " ".join(again.stderr.split())
    assert "30 answered" in again.stderr
    over = ready.run(*asked, code=2)
    assert f"s3://{s3_bucket}/out/ holds the results of s3://{s3_bucket}/in/x.jsonl" in over.stderr
    assert "give another address" in over.stderr
    assert s3_client.get_object(Bucket=s3_bucket, Key="out/manifest.json")["Body"].read() == paid


def test_a_bucket_that_is_not_there_is_told_before_any_call(ready: Command, s3_bucket: str) -> None:
    """Not after three hours of paid calls."""
    done = ready.run("run", f"s3://{s3_bucket}/in/x.jsonl", "-o", "s3://no-such-bucket-anywhere/out/", code=4)
    assert "no-such-bucket-anywhere" in done.stderr
    assert not list(Path(ready.folder / "cache").rglob("batch.json"))
