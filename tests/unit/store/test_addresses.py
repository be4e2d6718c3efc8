"""Addresses of stores: what they mean, and what is said when they mean nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bucketline.errors import UsageError
from bucketline.store.folder import FolderStore
from bucketline.store.open import open_object, open_store
from bucketline.store.s3 import S3Store
from bucketline.store.s3_options import is_aws, read_s3_address


def test_a_path_is_a_folder_and_s3_a_bucket() -> None:
    for address in ("some/folder", "/abs", "./odd:name", "file:///srv/a%20b"):
        assert isinstance(open_store(address), FolderStore)
        assert open_store(address).address == address
    store = open_store("s3://bucket/some/prefix/?region=eu-central-1")
    assert isinstance(store, S3Store)
    assert store.address == "s3://bucket/some/prefix"
    assert store.name("k") == "some/prefix/k"


def test_an_object_has_a_store_and_a_key() -> None:
    store, key = open_object("s3://bucket/in/x y%20.jsonl?region=r")
    assert (store.address, key) == ("s3://bucket", "in/x y%20.jsonl")
    for address in ("s3://bucket", "s3://bucket/", "https://host/x"):
        with pytest.raises(UsageError, match="s3://"):
            open_object(address)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("", "has no address"),
        ("gs://bucket", "gs:// is no address of a store"),
        ("s3:///prefix", "names no bucket"),
        ("s3://AKIAKEY:sEcReT@bucket/x", "holds no keys"),
        ("s3://bucket/x?regoin=eu", "did you mean 'region'"),
        ("s3://bucket/x?addressing=host", "path or virtual, not 'host'"),
        ("s3://bucket/x?sse=des", "AES256 or aws:kms"),
        ("s3://bucket/x?patience_s=long", "a number of seconds"),
    ],
)
def test_a_wrong_address_is_one_sentence_without_a_secret(address: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        open_store(address)
    assert "sEcReT" not in str(caught.value)


def test_options_never_show_in_what_people_see() -> None:
    options = read_s3_address("s3://bucket/p?sse=aws:kms&sse_kms_key_id=secret-ish&endpoint=http://u:pw@host")
    assert options.address == "s3://bucket/p"
    assert options.encryption() == {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "secret-ish"}


def test_amazons_own_endpoints_are_known() -> None:
    assert is_aws("https://s3.eu-central-1.amazonaws.com")
    assert is_aws("https://s3.cn-north-1.amazonaws.com.cn")
    assert is_aws("https://bucket.s3.dualstack.us-west-2.api.aws:443/x")
    assert not is_aws("http://127.0.0.1:9000")
    assert not is_aws("https://amazonaws.com.example.org")
    assert not is_aws("https://account.r2.cloudflarestorage.com")


def test_opening_a_store_imports_no_sdk() -> None:
    """`bucketline --help` and a folder store start without the third of a second that the SDK takes to load."""
    program = (
        "import sys; from bucketline.store import open_store; open_store('s3://b/p'); open_store('f');"
        "sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, cwd=sys.path[0] or None).returncode == 0
