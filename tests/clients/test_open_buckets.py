"""Clients without any key, on a bucket that is open to all: as public data sets are read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gateway.keys import KeyStore
from gateway.rights import Limits, Right
from tests.support.clients import require_client
from tests.support.server import GatewayServer, clean_environment

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def open_bucket(root_server: GatewayServer, bucket: str) -> str:
    """A bucket with an object in it, which everybody may read and list."""
    boto3 = pytest.importorskip("boto3")
    endpoint = f"http://127.0.0.1:{root_server.port}"
    writer = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=root_server.access_key,
        aws_secret_access_key=root_server.secret,
    )
    writer.put_object(Bucket=bucket, Key="dir/k", Body=CONTENT)
    rights = frozenset({Right.READ, Right.LIST})
    KeyStore(root_server.data_dir).create_anonymous(Limits(rights, (bucket,)))
    return bucket


def test_boto3_unsigned(root_server: GatewayServer, open_bucket: str) -> None:
    boto3 = pytest.importorskip("boto3")
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import ClientError

    anybody = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{root_server.port}",
        region_name="us-east-1",
        config=Config(signature_version=UNSIGNED),
    )
    assert anybody.get_object(Bucket=open_bucket, Key="dir/k")["Body"].read() == CONTENT
    listed = anybody.list_objects_v2(Bucket=open_bucket)["Contents"]
    assert [entry["Key"] for entry in listed] == ["dir/k"]
    with pytest.raises(ClientError) as refused:
        anybody.put_object(Bucket=open_bucket, Key="new", Body=b"x")
    assert refused.value.response["Error"]["Code"] == "AccessDenied"


def test_pyarrow_anonymous(root_server: GatewayServer, open_bucket: str) -> None:
    fs = pytest.importorskip("pyarrow.fs")
    files = fs.S3FileSystem(
        anonymous=True,
        endpoint_override=f"127.0.0.1:{root_server.port}",
        scheme="http",
        region="us-east-1",
    )
    with files.open_input_file(f"{open_bucket}/dir/k") as file:
        assert file.read_at(300, 1000) == CONTENT[1000:1300]
    found = files.get_file_info(fs.FileSelector(open_bucket, recursive=True))
    assert f"{open_bucket}/dir/k" in {info.path for info in found}


def test_s3fs_anon(root_server: GatewayServer, open_bucket: str) -> None:
    s3fs = pytest.importorskip("s3fs")
    files = s3fs.S3FileSystem(anon=True, endpoint_url=f"http://127.0.0.1:{root_server.port}")
    assert files.cat_file(f"{open_bucket}/dir/k", start=5, end=9) == CONTENT[5:9]
    assert files.find(open_bucket) == [f"{open_bucket}/dir/k"]


def test_rclone_without_credentials(
    root_server: GatewayServer, open_bucket: str, tmp_path: Path
) -> None:
    rclone = require_client("rclone")
    remote = f":s3,provider=Other,endpoint='http://127.0.0.1:{root_server.port}':{open_bucket}"
    subprocess.run(
        [rclone, "copy", remote, str(tmp_path / "got"), "--config", str(tmp_path / "none")],
        env=clean_environment(),
        check=True,
        timeout=120,
    )
    assert (tmp_path / "got/dir/k").read_bytes() == CONTENT
