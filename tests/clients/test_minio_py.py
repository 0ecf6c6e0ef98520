"""minio-py with its default settings, on http and https."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import GatewayServer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

MIB = 1 << 20


@pytest.fixture
def client(either_server: GatewayServer) -> Any:
    minio = pytest.importorskip("minio")
    import urllib3

    trust = {"ca_certs": str(either_server.tls_cert)} if either_server.tls_cert else {}
    return minio.Minio(
        f"127.0.0.1:{either_server.port}",
        access_key=either_server.access_key,
        secret_key=either_server.secret,
        secure=either_server.tls_cert is not None,
        http_client=urllib3.PoolManager(retries=False, **trust),
    )


def read(client: Any, bucket: str, key: str, **options: Any) -> bytes:
    answer = client.get_object(bucket_name=bucket, object_name=key, **options)
    try:
        return bytes(answer.read())
    finally:
        answer.close()
        answer.release_conn()


def put(client: Any, bucket: str, key: str, content: bytes, **options: Any) -> Any:
    return client.put_object(
        bucket_name=bucket,
        object_name=key,
        data=io.BytesIO(content),
        length=len(content),
        **options,
    )


def test_buckets(client: Any, bucket: str) -> None:
    assert not client.bucket_exists(bucket_name=bucket)
    client.make_bucket(bucket_name=bucket)
    assert client.bucket_exists(bucket_name=bucket)
    assert bucket in [found.name for found in client.list_buckets()]


@pytest.mark.parametrize("size", [0, 1, 65067, 12 * MIB + 3])
def test_object_comes_back(client: Any, bucket: str, size: int) -> None:
    content = random.Random(size).randbytes(size)
    client.make_bucket(bucket_name=bucket)
    put(client, bucket, "k", content, part_size=5 * MIB, metadata={"who": "me"})
    assert read(client, bucket, "k") == content
    found = client.stat_object(bucket_name=bucket, object_name="k")
    assert (found.size, found.metadata["x-amz-meta-who"]) == (size, "me")


def test_stream_of_unknown_length(client: Any, bucket: str) -> None:
    content = random.Random(1).randbytes(11 * MIB)
    client.make_bucket(bucket_name=bucket)
    client.put_object(
        bucket_name=bucket,
        object_name="k",
        data=io.BytesIO(content),
        length=-1,
        part_size=5 * MIB,
    )
    assert read(client, bucket, "k") == content


def test_ranges_and_files(client: Any, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(b"0123456789")
    client.make_bucket(bucket_name=bucket)
    client.fput_object(bucket_name=bucket, object_name="k", file_path=str(tmp_path / "up"))
    assert read(client, bucket, "k", offset=2, length=3) == b"234"
    client.fget_object(bucket_name=bucket, object_name="k", file_path=str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == b"0123456789"


def test_listing_by_folder_and_in_depth(client: Any, bucket: str) -> None:
    client.make_bucket(bucket_name=bucket)
    names = ["a/1", "a/b/2", "top & <odd> %20+.txt"]
    for name in names:
        put(client, bucket, name, b"x")
    flat = client.list_objects(bucket_name=bucket, recursive=True)
    assert [item.object_name for item in flat] == names
    top = [(item.object_name, item.is_dir) for item in client.list_objects(bucket_name=bucket)]
    assert sorted(top) == [("a/", True), (names[2], False)]


def test_presigned_urls(client: Any, bucket: str) -> None:
    client.make_bucket(bucket_name=bucket)
    put(client, bucket, "a b", b"content")
    pool = client._http
    url = client.presigned_get_object(bucket_name=bucket, object_name="a b")
    assert pool.request("GET", url).data == b"content"
    url = client.presigned_put_object(bucket_name=bucket, object_name="new")
    assert pool.request("PUT", url, body=b"new").status == 200
    assert read(client, bucket, "new") == b"new"


def test_errors_and_deletes(client: Any, bucket: str) -> None:
    from minio.error import S3Error

    client.make_bucket(bucket_name=bucket)
    put(client, bucket, "k", b"x")
    with pytest.raises(S3Error, match="NoSuchKey"):
        client.stat_object(bucket_name=bucket, object_name="absent")
    with pytest.raises(S3Error, match="AccessDenied"):
        client.remove_object(bucket_name=bucket, object_name="k")
    assert read(client, bucket, "k") == b"x"
